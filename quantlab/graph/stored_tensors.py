"""Every tensor that a model stores: its size, its bytes in one canonical form, and copies around it.

Protobuf serializes at most 2 GiB at a time. Nothing here serializes a model together with its weights; tensors
are copied one by one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from typing import Any, TypeAlias

import numpy as np
import onnx

from quantlab.errors import InputError

Message: TypeAlias = Any
"""Any protobuf message of ONNX; protobuf publishes no types for their common parent."""

PROTOBUF_LIMIT = 2**31 - 1
SMALL = 1024
"""Bytes up to which a tensor counts as small: it stays inside light copies, so shapes and axes can be read."""

_OVERHEAD = 256  # bytes that protobuf may add to a tensor's data, name and shape included

_SUB_BYTE_BITS = {
    "INT2": 2,
    "UINT2": 2,
    "INT4": 4,
    "UINT4": 4,
    "FLOAT4E2M1": 4,
    "FLOAT6E2M3": 6,
    "FLOAT6E3M2": 6,
}


def stored_tensors(message: Message) -> Iterator[onnx.TensorProto]:
    """Yield every tensor below `message`: initializers, attributes, sparse parts, bodies, local functions."""
    if isinstance(message, onnx.TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for child in value if _repeated(message, field.name) else (value,):
                yield from stored_tensors(child)


def stored_bytes(tensor: onnx.TensorProto) -> int:
    """Return the size that shape and element type ask for, whether or not the data is there.

    Raises
    ------
    InputError
        The element type is unknown, or has no fixed size (strings).
    """
    kind = tensor.data_type
    if kind == onnx.TensorProto.STRING or kind not in onnx.TensorProto.DataType.values() or not kind:
        raise InputError(
            f"Tensor '{tensor.name}' has the element type {kind}, which has no fixed size or is unknown to "
            f"onnx {onnx.__version__}: export the model with a supported type, or update onnx."
        )
    if any(dim < 0 for dim in tensor.dims):
        raise InputError(
            f"Tensor '{tensor.name}' has the impossible shape {tuple(tensor.dims)}: export the model again."
        )
    return (math.prod(tensor.dims) * _bits(kind) + 7) // 8


def serialized_bytes(proto: onnx.ModelProto) -> int:
    """Return how many bytes a model takes as one message, rather too many, without serializing its weights.

    `ByteSize` of protobuf makes the message in memory to know its size.

    Raises
    ------
    InputError
        As `stored_bytes`.
    """
    sized = (t for t in proto.graph.initializer if t.data_type != onnx.TensorProto.STRING)
    return int(light_copy(proto).ByteSize()) + sum(stored_bytes(t) + _OVERHEAD for t in sized)


def is_heavy(proto: onnx.ModelProto) -> bool:
    """Tell whether a model is more than protobuf can serialize, so that its weights have to lie in a file beside it."""
    return serialized_bytes(proto) > PROTOBUF_LIMIT


def canonical_bytes(tensor: onnx.TensorProto) -> bytes:
    """Return the values as `raw_data` would hold them (little-endian), however the tensor stores them.

    Raises
    ------
    InputError
        The tensor holds more or fewer bytes than its shape and element type ask for.
    """
    if tensor.data_type == onnx.TensorProto.STRING:
        return b"".join(len(text).to_bytes(8, "little") + text for text in tensor.string_data)
    needed = stored_bytes(tensor)
    data = tensor.raw_data or _typed_bytes(tensor)
    if len(data) != needed:
        raise InputError(
            f"Tensor '{tensor.name}' holds {len(data)} bytes, but its shape {tuple(tensor.dims)} and element type "
            f"need {needed}: the model is damaged; export or download it again."
        )
    return data


def is_small(tensor: onnx.TensorProto) -> bool:
    """Tell whether a light copy keeps this tensor; strings count as small."""
    return tensor.data_type == onnx.TensorProto.STRING or stored_bytes(tensor) <= SMALL


def add_tensor(container: Any, tensor: onnx.TensorProto) -> onnx.TensorProto:
    """Append a copy of `tensor` to a repeated field without serializing it, and return the copy."""
    copy: onnx.TensorProto = container.add()
    copy_fields(copy, tensor)
    return copy


def copy_fields(target: Message, source: Message, *, but: Collection[str] = ()) -> None:
    """Copy the fields of one message to another of the same type, except those named in `but`."""
    for field, value in source.ListFields():
        if field.name in but:
            continue
        if _repeated(source, field.name):
            getattr(target, field.name).extend(value)
        elif field.message_type is not None:
            getattr(target, field.name).CopyFrom(value)
        else:
            setattr(target, field.name, value)


def rebuilt(
    message: Message, replace: Callable[[onnx.TensorProto], onnx.TensorProto], *, but: Collection[str] = ()
) -> Any:
    """Copy `message`, each tensor below it replaced; fields in `but` and empty strings are left out.

    Parameters
    ----------
    message
        A model, graph, node or any other ONNX message.
    replace
        Gives the tensor to put in the place of one found.
    but
        Full names of fields to leave out, as "onnx.NodeProto.doc_string".
    """
    if isinstance(message, onnx.TensorProto):
        return replace(message)
    copy = type(message)()
    for field, value in message.ListFields():
        if field.full_name in but or (isinstance(value, str | bytes) and not value):
            continue
        if _repeated(message, field.name):
            parts = (rebuilt(v, replace, but=but) for v in value) if field.message_type else value
            getattr(copy, field.name).extend(parts)
        elif field.message_type is not None:
            getattr(copy, field.name).CopyFrom(rebuilt(value, replace, but=but))
        else:
            setattr(copy, field.name, value)
    return copy


def light_copy(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with its large initializers declared as inputs of their type and shape instead.

    Enough for the checker, shape inference, the inliner and the version converter, which all serialize.
    """
    light = onnx.ModelProto()
    copy_fields(light, proto, but=("graph", "training_info"))
    copy_fields(light.graph, proto.graph, but=("initializer",))
    declared = {i.name for i in proto.graph.input}
    for tensor in proto.graph.initializer:
        if is_small(tensor):
            add_tensor(light.graph.initializer, tensor)
        elif tensor.name not in declared:
            info = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            light.graph.input.append(info)
    return light


def check_light(light: onnx.ModelProto) -> None:
    """Run the ONNX checker on a light copy, which may get empty shapes where outputs have none.

    The checker asks for a shape on inputs and outputs, runtimes do not.

    Raises
    ------
    onnx.checker.ValidationError
        The model is not valid.
    """
    for info in (*light.graph.input, *light.graph.output):
        if info.type.HasField("tensor_type") and not info.type.tensor_type.HasField("shape"):
            info.type.tensor_type.shape.SetInParent()
    onnx.checker.check_model(light)


def _repeated(message: Message, name: str) -> bool:
    return hasattr(getattr(message, name), "extend")


def _bits(kind: int) -> int:
    name = onnx.TensorProto.DataType.Name(kind)
    return _SUB_BYTE_BITS.get(name) or 8 * onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize


def _typed_bytes(tensor: onnx.TensorProto) -> bytes:
    field = onnx.helper.tensor_dtype_to_field(tensor.data_type)
    values = np.array(getattr(tensor, field))
    if field == "float_data":
        return values.astype("<f4").tobytes()
    if field == "double_data":
        return values.astype("<f8").tobytes()
    width = max(1, _bits(tensor.data_type) // 8)
    return values.astype(np.int64 if field != "uint64_data" else np.uint64).astype(f"<u{width}").tobytes()
