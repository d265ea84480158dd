"""INT4 in blocks: its integers and scales, two integers a byte as ONNX stores them, and the opset that has it."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from quantlab.calibration.scale_search import least_error_scales
from quantlab.errors import InputError
from quantlab.graph.model import Model
from quantlab.graph.opset import inlined
from quantlab.graph.stored_tensors import add_tensor, check_light, copy_fields, is_small, light_copy
from quantlab.numerics.arrays import F32

LOW, HIGH = -8, 7
OPSET = 21
"""The first opset whose DequantizeLinear reads INT4 and takes a scale a block."""

_INT4 = 22  # not named in every onnx that quantlab runs with
_LEAST_IR = 10


def quantize_blocks(weight: NDArray[Any], axis: int, size: int) -> tuple[NDArray[np.int8], F32]:
    """Return integers −8 … 7 in the weight's shape, and float32 scales with `shape[axis] / size` along the axis.

    Symmetric (zero point 0), each block of `size` neighbours along `axis` with the scale that
    `least_error_scales` finds; a block of zeros has the scale 1/127.

    Parameters
    ----------
    weight
        Finite; `size` divides its length along `axis`.
    axis
        From 0.
    """
    last = np.moveaxis(weight.astype(np.float32), axis, -1)
    blocks = last.reshape(*last.shape[:-1], last.shape[-1] // size, size)
    scales = least_error_scales(blocks.reshape(-1, size), LOW, HIGH).reshape(blocks.shape[:-1])
    integers = np.clip(np.rint(blocks / scales[..., None]), LOW, HIGH).astype(np.int8)
    return np.moveaxis(integers.reshape(last.shape), -1, axis), np.moveaxis(scales, -1, axis)


def int4_initializer(name: str, integers: NDArray[np.int8]) -> onnx.TensorProto:
    """Return integers −8 … 7 as an INT4 tensor: two a byte, the first in the low half; an odd end is filled up with 0."""
    halves = (np.ascontiguousarray(integers).ravel() & 0xF).astype(np.uint8)
    even = np.append(halves, np.zeros(halves.size % 2, np.uint8))
    packed = even[0::2] | (even[1::2] << 4)
    return onnx.TensorProto(name=name, data_type=_INT4, dims=integers.shape, raw_data=packed.tobytes())


def raised(model: Model) -> Model:
    """Return the model at opset 21 or above, with the digest of the one given; that one is not changed.

    Raises
    ------
    InputError
        ONNX's version converter does not manage it.
    """
    if model.opset >= OPSET:
        return model
    light, _ = inlined(light_copy(model.proto))
    try:
        new = onnx.version_converter.convert_version(light, OPSET)
        new.ir_version = max(light.ir_version, _LEAST_IR)
        checked = onnx.ModelProto()
        checked.CopyFrom(new)
        check_light(checked)
    except (onnx.version_converter.ConvertError, onnx.checker.ValidationError, RuntimeError, ValueError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(
            f"{model.name} has opset {model.opset}, INT4 in blocks needs {OPSET}, and ONNX cannot convert it ({reason}): "
            f"export it again with opset {OPSET} or above."
        ) from error
    return Model(_whole(new, model.proto), model.path, model.digest)


def _whole(light: onnx.ModelProto, original: onnx.ModelProto) -> onnx.ModelProto:
    """Put the large initializers, which a light copy declares as inputs, back."""
    large = [tensor for tensor in original.graph.initializer if not is_small(tensor)]
    declared = {t.name for t in large} - {i.name for i in original.graph.input}
    proto = onnx.ModelProto()
    copy_fields(proto, light, but=("graph", "metadata_props"))
    proto.metadata_props.extend(original.metadata_props)
    copy_fields(proto.graph, light.graph, but=("input",))
    proto.graph.input.extend(i for i in light.graph.input if i.name not in declared)
    for tensor in large:
        add_tensor(proto.graph.initializer, tensor)
    return proto
