"""A model as quantlab holds it, read from a file with every check made first, and written whole or not at all."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from quantlab.atomic import atomic_path
from quantlab.errors import InputError, MachineError
from quantlab.graph.digest import digest
from quantlab.graph.external_data import externalised, load_external
from quantlab.graph.size_limits import refuse_too_many
from quantlab.graph.stored_tensors import (
    PROTOBUF_LIMIT,
    check_light,
    light_copy,
    serialized_bytes,
    stored_bytes,
    stored_tensors,
)
from quantlab.graph.view import Graph, bodies
from quantlab.graph.wire import MOST_MESSAGES, has_too_many, is_cut_short, looks_like_onnx
from quantlab.numerics.markup import card

OLDEST_OPSET, NEWEST_OPSET = 11, 23


@dataclass(frozen=True, slots=True)
class Model:
    """An ONNX model with all its weights in memory. Two models are equal if they compute the same: by digest.

    `proto` is shared, not copied: nobody changes it. `path` is where it was read from, None for an object.
    """

    proto: onnx.ModelProto = field(repr=False, compare=False)
    path: Path | None = field(compare=False)
    digest: str

    @property
    def name(self) -> str:
        """What to call the model: its file's name, else its graph's, else "model"."""
        return self.path.name if self.path else self.proto.graph.name or "model"

    def _repr_html_(self) -> str:
        facts = {"operators": len(self.proto.graph.node), "opset": self.opset, "digest": self.digest[:22]}
        return card("Model", facts, name=self.name)

    @property
    def opset(self) -> int:
        """Version of the standard ONNX operators that the model uses."""
        return opset_of(self.proto)


def load_model(source: str | os.PathLike[str] | onnx.ModelProto | Model) -> Model:
    """Read a model and check it.

    Parameters
    ----------
    source
        The path of an ONNX file, a `ModelProto` (which the result then shares; external data in a file cannot be
        found), or a `Model` (returned as it is).

    Raises
    ------
    InputError
        No such file, a folder, not ONNX, truncated, an empty graph, an opset outside 11 to 23, external data
        missing, too short or outside the model's folder, or a graph that the ONNX checker refuses.
    MachineError
        The file may not be read.
    """
    if isinstance(source, Model):
        return source
    if isinstance(source, onnx.ModelProto):
        proto, path = source, None
    else:
        path = Path(source)
        proto = _read(path)
    what = f"'{path}'" if path else "The model"
    try:
        _check_content(proto, what)
        load_external(proto, path.parent if path else None)
        _check_graph(proto, what)
        return Model(proto, path, digest(proto))
    except UnicodeDecodeError as error:  # protobuf notices only when a name is read
        raise InputError(f"{what} holds names that are not text: download or export it again.") from error


def write_model(
    model: onnx.ModelProto | Model,
    path: str | os.PathLike[str],
    *,
    external: bool = False,
    limit: int = PROTOBUF_LIMIT,
) -> Path:
    """Write a model whole or not at all; return its path.

    A model above `limit` bytes (protobuf's own limit), or any with `external`, gets its large initializers in
    `<name>.data` beside it, also written whole and renamed just before the model itself is.

    Raises
    ------
    InputError
        `path` is a folder, or more than `limit` bytes lie in constants inside nodes.
    MachineError
        No space, no permission.
    """
    proto = model.proto if isinstance(model, Model) else model
    target = Path(path)
    _refuse_heavy_nodes(light_copy(proto), limit)
    if not external and serialized_bytes(proto) <= limit:
        with atomic_path(target) as temporary:
            temporary.write_bytes(proto.SerializeToString())
        return target
    data = target.with_name(f"{target.name}.data")
    with atomic_path(target) as temporary, atomic_path(data) as temporary_data:
        with temporary_data.open("wb") as file:
            outside = externalised(proto, file, data.name)
        temporary.write_bytes(outside.SerializeToString())
    return target


def opset_of(proto: onnx.ModelProto) -> int:
    """Return the version of the standard operator set, 0 if the model imports none."""
    return max((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), default=0)


def _read(path: Path) -> onnx.ModelProto:
    data = _bytes(path)
    if data.startswith(b"version https://git-lfs"):
        raise InputError(f"'{path}' is a Git LFS pointer, not the model itself: run `git lfs pull` to fetch it.")
    if not looks_like_onnx(data):
        raise InputError(f"'{path}' is not an ONNX model: give the path of an .onnx file.")
    if is_cut_short(data):
        raise InputError(f"'{path}' is truncated ({len(data)} bytes): download or export it again.")
    if has_too_many(data):
        raise InputError(f"'{path}' holds more than {MOST_MESSAGES:,} parts, which no network has: export it again.")
    try:
        return onnx.ModelProto.FromString(data)
    except DecodeError as error:
        raise InputError(f"'{path}' is not a readable ONNX model: download or export it again.") from error


def _bytes(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise InputError(f"'{path}' is a folder: give the path of an .onnx file.")
        if not path.exists():
            raise InputError(f"There is no file '{path}': check the path of the model.")
        if not path.is_file():
            raise InputError(f"'{path}' is not a regular file: give the path of an .onnx file.")
        if path.stat().st_size > PROTOBUF_LIMIT:
            raise InputError(
                f"'{path}' is larger than 2 GiB, which no ONNX reader can load: save it with external data."
            )
        return path.read_bytes()
    except PermissionError as error:
        raise MachineError(f"'{path}' may not be read: change its permissions.") from error
    except (ValueError, OSError) as error:
        raise InputError(f"'{path}' cannot be read ({error}): check the path of the model.") from error


def _check_content(proto: onnx.ModelProto, what: str) -> None:
    if not proto.graph.node or not proto.graph.output:
        missing = "nodes" if not proto.graph.node else "outputs"
        raise InputError(f"{what} has a graph without {missing}, so there is nothing to compute: export it again.")
    version = opset_of(proto)
    if not OLDEST_OPSET <= version <= NEWEST_OPSET:
        has = f"uses ONNX opset {version}" if version else "does not say which ONNX opset it uses"
        raise InputError(
            f"{what} {has}, and quantlab reads {OLDEST_OPSET} to {NEWEST_OPSET}: export it with an opset in "
            "between, or convert it with onnx.version_converter."
        )
    refuse_too_many(proto)


def _check_graph(proto: onnx.ModelProto, what: str) -> None:
    light = light_copy(proto)
    if _heavy(light):
        return  # constants inside nodes beyond what the checker can serialize
    _check_every_input_is_written(light, what)
    _check_declared_types(light.graph, what)
    _check_attributes(light.graph, what)
    reason = _refused(light)
    if "topologically sorted" in reason:  # runtimes do not ask for an order
        nodes = [*Graph(light).nodes]
        del light.graph.node[:]
        light.graph.node.extend(nodes)
        reason = _refused(light)
    if reason:
        raise InputError(f"{what} is not a valid ONNX model ({reason}): export it again.")


def _refused(light: onnx.ModelProto) -> str:
    """Return why the ONNX checker refuses a model, in one line; empty if it does not."""
    try:
        check_light(light)
    except onnx.checker.ValidationError as error:
        return next(iter(str(error).strip().splitlines()), type(error).__name__)
    return ""


def _check_every_input_is_written(light: onnx.ModelProto, what: str) -> None:
    graph = light.graph
    known = {i.name for i in (*graph.input, *graph.initializer)} | {s.values.name for s in graph.sparse_initializer}
    known.update(name for node in graph.node for name in node.output)
    for node in graph.node:
        for name in node.input:
            if name and name not in known:
                raise InputError(
                    f"{what} is not a valid ONNX model (node '{node.name}' of type {node.op_type} reads tensor "
                    f"'{name}', which nothing writes): export it again."
                )
    for output in graph.output:
        if output.name not in known:
            raise InputError(
                f"{what} is not a valid ONNX model (nothing writes its output '{output.name}'): export it again."
            )


def _check_declared_types(graph: onnx.GraphProto, what: str) -> None:
    """Refuse element types that ONNX does not have, in bodies too: shape inference breaks on them."""
    for info in (*graph.input, *graph.output, *graph.value_info):
        if info.type.tensor_type.elem_type not in onnx.TensorProto.DataType.values():
            raise InputError(
                f"{what} is not a valid ONNX model (tensor '{info.name}' has the element type "
                f"{info.type.tensor_type.elem_type}, which is unknown to onnx {onnx.__version__}): export it again."
            )
    for node in graph.node:
        for body in bodies(node):
            _check_declared_types(body, what)


def _check_attributes(graph: onnx.GraphProto, what: str) -> None:
    """Refuse attributes that stand for an argument of a function where there is no function."""
    for node in graph.node:
        named = next((a.ref_attr_name for a in node.attribute if a.ref_attr_name), None)
        if named is not None:
            raise InputError(
                f"{what} is not a valid ONNX model (node '{node.name}' of type {node.op_type} refers to the attribute "
                f"'{named}' of a function, but is in none): export it again."
            )
        for body in bodies(node):
            _check_attributes(body, what)


def _refuse_heavy_nodes(light: onnx.ModelProto, limit: int) -> None:
    if _heavy(light, limit):
        raise InputError(
            f"More than {limit} bytes lie in constants inside nodes, which an ONNX file cannot hold: "
            "normalise the model first, which makes initializers of them."
        )


def _heavy(light: onnx.ModelProto, limit: int = PROTOBUF_LIMIT) -> bool:
    tensors = (t for t in stored_tensors(light) if t.data_type != onnx.TensorProto.STRING)
    return sum(map(stored_bytes, tensors)) > limit
