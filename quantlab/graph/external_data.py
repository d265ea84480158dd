"""Weights in files beside the model: checked before a byte is read, then loaded; and written."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import BinaryIO

import onnx

from quantlab.errors import InputError, MachineError
from quantlab.graph.stored_tensors import (
    SMALL,
    add_tensor,
    canonical_bytes,
    copy_fields,
    is_small,
    stored_bytes,
    stored_tensors,
)

_SHARED = 4
"""Tensors that may have the same bytes, on average."""

_PAGE = 4096  # offsets on page boundaries let a runtime map the file into memory


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the bytes of one tensor lie."""

    file: Path
    offset: int
    length: int


def load_external(proto: onnx.ModelProto, folder: Path | None) -> None:
    """Read all external data of `proto` into it, from files below `folder`.

    Every reference is checked before anything is read: a model from a stranger must not be able to make quantlab
    read `/etc/passwd` into a weight.

    Raises
    ------
    InputError
        A file is missing, too short or outside `folder` (absolute, `..`, a symbolic link leading out), the
        declared length does not fit the tensor, or `folder` is None and there is external data.
    """
    tensors = [t for t in stored_tensors(proto) if t.data_location == onnx.TensorProto.EXTERNAL]
    if tensors and folder is None:
        raise InputError(
            f"Tensor '{tensors[0].name}' and {len(tensors) - 1} more lie in external files, and a model given as "
            "an object has no folder to find them in: give the path of the model instead."
        )
    if folder is None:
        return
    places = [_place(tensor, folder) for tensor in tensors]
    _check_total(places, folder)
    with ExitStack() as stack:
        files = {p: stack.enter_context(p.open("rb")) for p in dict.fromkeys(place.file for place in places)}
        for tensor, place in zip(tensors, places, strict=True):
            _load(tensor, place, files[place.file])


def externalised(
    proto: onnx.ModelProto, file: BinaryIO, location: str, *, weights: Iterable[onnx.TensorProto] | None = None
) -> onnx.ModelProto:
    """Return the model with its large initializers, or these, written to `file` and referred to as `location`."""
    outside = onnx.ModelProto()
    copy_fields(outside, proto, but=("graph", "training_info"))
    copy_fields(outside.graph, proto.graph, but=("initializer",))
    for tensor in proto.graph.initializer if weights is None else weights:
        if is_small(tensor):
            add_tensor(outside.graph.initializer, tensor)
            continue
        file.write(b"\0" * (-file.tell() % _PAGE))
        offset, length = file.tell(), file.write(canonical_bytes(tensor))
        reference = outside.graph.initializer.add(
            name=tensor.name,
            data_type=tensor.data_type,
            dims=tensor.dims,
            data_location=onnx.TensorProto.EXTERNAL,
        )
        for key, value in (("location", location), ("offset", str(offset)), ("length", str(length))):
            reference.external_data.add(key=key, value=value)
    return outside


def _place(tensor: onnx.TensorProto, folder: Path) -> _Place:
    entries = {_text(entry.key): _text(entry.value) for entry in tensor.external_data}
    file = _inside(tensor, entries.get("location", ""), folder)
    needed = stored_bytes(tensor)
    offset = _number(tensor, "offset", entries.get("offset", "0"))
    length = _number(tensor, "length", entries.get("length", str(needed)))
    if length != needed:
        raise InputError(
            f"Tensor '{tensor.name}' declares {length} bytes of external data, but its shape {tuple(tensor.dims)} "
            f"and element type need {needed}: export the model again."
        )
    size = file.stat().st_size
    if offset + length > size:
        raise InputError(
            f"External data file '{file}' has {size} bytes, but tensor '{tensor.name}' needs bytes {offset} to "
            f"{offset + length}: the file is truncated or belongs to another model; download or export it again."
        )
    return _Place(file, offset, length)


def _check_total(places: list[_Place], folder: Path) -> None:
    """Refuse more bytes than the files have, but for weights that a few tensors share, or than the machine has."""
    asked = sum(place.length for place in places)
    held = sum(file.stat().st_size for file in {place.file for place in places})
    if asked > _SHARED * held + SMALL:
        raise InputError(
            f"The tensors in '{folder}' ask for {asked:,} bytes of external data, but the files have {held:,}: thousands of "
            "tensors share the same bytes, which no exporter does; export the model again."
        )
    if asked > machine_bytes() // 2:  # the runtime takes a copy
        raise MachineError(
            f"The weights take {asked:,} bytes, and twice that is needed; this machine has {machine_bytes():,}: take a "
            "larger one."
        )


def machine_bytes() -> int:
    """Return the bytes of memory that the machine has; where the system does not tell, more than any has."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 1 << 60


def _inside(tensor: onnx.TensorProto, location: str, folder: Path) -> Path:
    """Return the file that `location` names, which must lie in `folder` once all links are followed."""
    parts = {*PurePosixPath(location).parts, *PureWindowsPath(location).parts}
    absolute = PurePosixPath(location).is_absolute() or bool(PureWindowsPath(location).anchor)
    if not location or "\0" in location or absolute or ".." in parts:
        raise _outside(tensor, location)
    try:
        file = (folder / location).resolve()
        inside = file.is_relative_to(folder.resolve())
        regular, exists = file.is_file(), file.exists()
    except (OSError, RuntimeError) as error:  # an endless chain of links, a name that is too long
        raise _outside(tensor, location) from error
    if not inside:
        raise _outside(tensor, location)
    if not exists:
        raise InputError(
            f"External data file '{location}' of tensor '{tensor.name}' is missing from '{folder}': "
            "put it beside the model."
        )
    if not regular:
        raise InputError(
            f"External data '{location}' of tensor '{tensor.name}' in '{folder}' is not a regular file: "
            "put the weights file in its place."
        )
    return file


def _text(value: str | bytes) -> str:
    """Return a field that should be text: protobuf hands out bytes where they are no UTF-8."""
    return value if isinstance(value, str) else value.decode("utf-8", "backslashreplace")


def _outside(tensor: onnx.TensorProto, location: str) -> InputError:
    return InputError(
        f"Tensor '{tensor.name}' asks for external data at '{location}', which is not a file inside the model's "
        "folder; for safety nothing was read. Put the weights beside the model and refer to them by a relative path."
    )


def _number(tensor: onnx.TensorProto, key: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise InputError(
            f"Tensor '{tensor.name}' gives '{text}' as the {key} of its external data, which is not a whole number "
            "of bytes: export the model again."
        )
    return int(text)


def _load(tensor: onnx.TensorProto, place: _Place, file: BinaryIO) -> None:
    file.seek(place.offset)
    data = file.read(place.length)
    if len(data) != place.length:
        raise InputError(f"External data file '{place.file}' changed while it was read: run again when it is complete.")
    tensor.raw_data = data
    tensor.ClearField("external_data")
    tensor.ClearField("data_location")
