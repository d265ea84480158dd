"""A checkpoint of pytorch-quantization or ModelOpt as a file: read without running anything in it, and taken apart."""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from quantlab.errors import InputError
from quantlab.numerics.arrays import F32
from quantlab.qat.amax import Kind, Quantizer
from quantlab.storage.text import check_file

EXACT = "quantlab_scale"
"""Key, in the metadata of a state_dict, of the scales that quantlab wrote an amax for."""

_WHAT = "a checkpoint (state_dict) of pytorch-quantization or ModelOpt"
_BUFFER = re.compile(
    r"(?P<name>(?:.*\.)?[^.]*quantizer[^.]*(?:\.\d+)?)\."
    r"(?P<buffer>_amax|_pre_quant_scale|_bias_value|_scale|_double_scale|clip\.clip_value_(?:min|max))",
    re.DOTALL,
)
_KINDS: Mapping[str, Kind] = {"input_quantizer": "input", "output_quantizer": "output", "weight_quantizer": "weight"}
_WRAPPERS = ("module.", "_orig_mod.")  # of DistributedDataParallel and torch.compile
_HOLDERS = ("model_state_dict", "state_dict", "model", "net", "ema", "model_ema")
_MOST_AMAX = 1 << 24  # no layer has as many channels
_LONGEST_NAME = 1000
_ROOM, _SLACK = 1 << 20, 4  # bytes that an archive may unpack to: a megabyte, and four times its size


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint, taken apart.

    Attributes
    ----------
    quantizers
        In the order of the file.
    weights
        All other tensors, by their names in the network.
    """

    quantizers: tuple[Quantizer, ...]
    weights: Mapping[str, Tensor]


def load_checkpoint(given: str | PathLike[str] | Mapping[str, Any]) -> Checkpoint:
    """Read a checkpoint: a file of `torch.save` or `mto.save`, or the object that was in it.

    The state_dict may lie under a key, as «state_dict» or «model», and its names may begin as those of
    DistributedDataParallel or torch.compile do.

    Raises
    ------
    InputError
        No such file, one that is no checkpoint or would run code, a state_dict without quantizers, or an amax that is
        no tensor of numbers.
    """
    where = "The state_dict" if isinstance(given, Mapping) else f"'{Path(given)}'"
    content = given if isinstance(given, Mapping) else _read(Path(given))
    state = _state_dict(content)
    if state is None:
        raise InputError(f"{where} holds no quantizer (a name that ends in «quantizer._amax»): give {_WHAT}.")
    known = _known(content.get("modelopt_state"))
    metadata = getattr(state, "_metadata", None)
    metadata = metadata if isinstance(metadata, Mapping) else {}
    prefix = _prefix(state)
    weights: dict[str, Tensor] = {}
    buffers: dict[str, dict[str, Tensor]] = {}
    for key, value in state.items():
        if not isinstance(key, str) or not _is_plain(value):
            continue
        name = key.removeprefix(prefix)
        part = _part(name)
        if part is None:
            weights[name] = value
        else:
            buffers.setdefault(part["name"], {})[part["buffer"]] = value
    quantizers = tuple(
        quantizer_of(name, found, known.get(name, {}), metadata.get(prefix + name)) for name, found in buffers.items()
    )
    return Checkpoint(quantizers, weights)


def shown(name: str) -> str:
    """Return a name from a file as a message can hold it: what does not print is escaped, what is long cut."""
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name[:200])
    return text + ("…" if len(name) > 200 else "")


def _read(path: Path) -> Mapping[str, Any]:
    check_file(path, _WHAT)
    _check_size(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of formats that are older than the file's reader
            content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror or error}; it should be {_WHAT}.") from error
    except Exception as error:  # torch raises errors of a dozen kinds for what it cannot read
        if "unsupported global" in str(error).lower():
            raise InputError(
                f"'{path}' holds more than tensors, and nothing in it is run: save model.state_dict() alone."
            ) from error
        raise InputError(f"'{path}' is not {_WHAT}: give a file of torch.save or mto.save.") from error
    if not isinstance(content, Mapping):
        raise InputError(f"'{path}' holds a {type(content).__name__}, not {_WHAT}.")
    return content


def _check_size(path: Path) -> None:
    """Refuse an archive that grows when it is read: torch stores tensors as they are."""
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise InputError(f"'{path}' is a damaged archive, not {_WHAT}.") from error
    size = path.stat().st_size
    if unpacked > _SLACK * size + _ROOM:
        raise InputError(f"'{path}' has {size:,} bytes and unpacks to {unpacked:,}: it is not {_WHAT}.")


def _state_dict(content: Mapping[Any, Any]) -> Mapping[str, Any] | None:
    """Return the mapping with quantizers in it: the content itself, or what lies under one of its keys."""
    holders = [content.get(key) for key in _HOLDERS] + list(content.values())
    for state in (content, *holders):
        if isinstance(state, Mapping) and any(_is_amax(key) for key in state):
            return state
    return None


def _is_amax(key: object) -> bool:
    part = _part(key) if isinstance(key, str) else None
    return part is not None and (part["buffer"] == "_amax" or part["buffer"].startswith("clip."))


def _part(name: str) -> re.Match[str] | None:
    """Return the parts of the name of a quantizer's buffer; None for other names."""
    return _BUFFER.fullmatch(name) if len(name) <= _LONGEST_NAME else None


def _prefix(state: Mapping[str, Any]) -> str:
    prefix = ""
    names = [key for key in state if isinstance(key, str)]
    while (more := next((w for w in _WRAPPERS if all(n.startswith(prefix + w) for n in names)), None)) is not None:
        prefix += more
    return prefix


def _is_plain(value: object) -> bool:
    return isinstance(value, Tensor) and value.layout == torch.strided and not value.is_quantized and not value.is_meta


def _known(state: object) -> dict[str, Mapping[str, Any]]:
    """Return the attributes that ModelOpt keeps of its quantizers, the last mode's last; empty where there are none."""
    found: dict[str, Mapping[str, Any]] = {}
    modes = state.get("modelopt_state_dict") if isinstance(state, Mapping) else None
    for mode in modes if isinstance(modes, list) else ():
        inner = mode[1] if isinstance(mode, tuple) and len(mode) == 2 else None
        for key in ("metadata", "quantizer_state"):
            inner = inner.get(key) if isinstance(inner, Mapping) else None
        for name, attributes in inner.items() if isinstance(inner, Mapping) else ():
            found |= {name: attributes} if isinstance(name, str) and isinstance(attributes, Mapping) else {}
    return found


def quantizer_of(
    name: str, buffers: Mapping[str, Tensor], known: Mapping[str, Any], metadata: object = None
) -> Quantizer:
    """Return the quantizer at a path of a network.

    Parameters
    ----------
    name
        Its path; the last part tells what it quantizes.
    buffers
        Its state, as far as the file or the module has it.
    known
        Its attributes by the names that both libraries give them (`_num_bits`, `_unsigned`, …), as far as known.
    metadata
        What the state_dict's metadata say of it.

    Raises
    ------
    InputError
        An amax that is no tensor of numbers.
    """
    module, _, last = name.rpartition(".")
    if last.isdigit():  # one of a list, as recurrent layers have
        module, _, last = module.rpartition(".")
    kind = _KINDS.get(last.removeprefix("_"), "module")
    refusal = _refusal(buffers, known)
    given = _learned(buffers)
    given = buffers.get("_amax") if given is None else given
    amax = np.zeros((), np.float32) if refusal is not None and given is None else _array(name, given)
    return Quantizer(
        shown(name),
        name if kind == "module" else module,
        kind,
        amax,
        unsigned=known.get("_unsigned") is True,
        refusal=refusal,
        exact=_exact(metadata),
    )


def _array(name: str, value: Tensor | None) -> F32:
    if value is None or not value.is_floating_point() or not 0 < value.numel() <= _MOST_AMAX:
        found = "nothing" if value is None else f"{value.dtype}, shape {list(value.shape)}"
        raise InputError(f"The amax of quantizer «{shown(name)}» is no tensor of float numbers but {found}.")
    return value.detach().to("cpu", torch.float32).contiguous().numpy()


def _learned(buffers: Mapping[str, Tensor]) -> Tensor | None:
    """Return the amax of a quantizer that learns where it clips; that is the one which counts there."""
    low, high = _clips(buffers)
    if low is None or high is None or low.shape != high.shape:
        return None
    return torch.maximum(-low.detach(), high.detach())


def _clips(buffers: Mapping[str, Tensor]) -> tuple[Tensor | None, Tensor | None]:
    """Return the ends of a range that was learned, each where it is of float numbers."""
    low, high = (buffers.get(f"clip.clip_value_{end}") for end in ("min", "max"))
    return (
        low if low is not None and low.is_floating_point() else None,
        high if high is not None and high.is_floating_point() else None,
    )


def _refusal(buffers: Mapping[str, Tensor], known: Mapping[str, Any]) -> str | None:
    low, high = _clips(buffers)
    if low is not None and high is not None and not torch.equal(-low, high):
        return "it learned a range that is not symmetric about 0, and integers about 0 clip elsewhere"
    if "_pre_quant_scale" in buffers:
        return "it multiplies its tensor first (SmoothQuant or AWQ): fold _pre_quant_scale into the float weights"
    if "_bias_value" in buffers:
        return "it subtracts an offset first, which symmetric INT8 cannot"
    bits = known.get("_num_bits", 8)
    if bits != 8:
        return f"it has {bits} bits, and INT8 has 8"
    if known.get("_block_sizes") is not None:
        return "it has a scale a block, for which there is no INT8 kernel"
    if known.get("_disabled") is True:
        return "it is switched off"
    return (
        None
        if "_amax" in buffers or (low is not None and high is not None)
        else "it has no amax: it was never calibrated"
    )


def _exact(metadata: object) -> F32 | None:
    kept = metadata.get(EXACT) if isinstance(metadata, Mapping) else None
    if not _is_plain(kept) or kept.dtype != torch.float32 or not 0 < kept.numel() <= _MOST_AMAX:  # type: ignore[union-attr]
        return None
    return kept.detach().cpu().contiguous().numpy()  # type: ignore[union-attr]
