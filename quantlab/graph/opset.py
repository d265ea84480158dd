"""Raise a model to an operator set that has what Q/DQ needs, and bring its local functions into the graph."""

from __future__ import annotations

import onnx
import onnx.inliner
import onnx.shape_inference
import onnx.version_converter

from quantlab.errors import InputError
from quantlab.graph.model import opset_of
from quantlab.graph.size_limits import refuse_too_many
from quantlab.graph.stored_tensors import check_light

PER_AXIS_OPSET = 13
"""The first operator set whose QuantizeLinear and DequantizeLinear take a scale per channel."""

_FAILURES = (
    onnx.version_converter.ConvertError,
    onnx.checker.ValidationError,
    onnx.shape_inference.InferenceError,
    RuntimeError,
    ValueError,
)


def raised(light: onnx.ModelProto) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """Return a light copy at opset 13 or above, and notes for the user.

    Raises
    ------
    InputError
        ONNX's version converter does not manage it.
    """
    old = opset_of(light)
    if old >= PER_AXIS_OPSET:
        return light, ()
    try:
        new = onnx.version_converter.convert_version(light, PER_AXIS_OPSET)
        new.ir_version = max(light.ir_version, _least_ir_version(PER_AXIS_OPSET))
        checked = onnx.ModelProto()
        checked.CopyFrom(new)
        check_light(checked)
    except _FAILURES as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(
            f"The model uses opset {old}, quantization needs {PER_AXIS_OPSET}, and ONNX cannot convert it ({reason}): "
            f"export it again with opset {PER_AXIS_OPSET} or above."
        ) from error
    known = {name for node in light.graph.node for name in node.output}
    added = [name for node in new.graph.node for name in node.output if name not in known]
    note = f"Converted from opset {old} to {PER_AXIS_OPSET}"
    return new, (f"{note}; {len(added)} helper tensors were added." if added else f"{note}.",)


def inlined(light: onnx.ModelProto) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """Return a light copy with calls of its local functions replaced by their nodes, and notes for the user.

    Raises
    ------
    InputError
        When that would be more nodes than any network has.
    """
    if not light.functions:
        return light, ()
    refuse_too_many(light)
    new = onnx.inliner.inline_local_functions(light, convert_version=True)
    left = len(new.functions)
    note = f"{len(light.functions) - left} local functions were inlined"
    return new, (f"{note}; {left} could not be and stay in float." if left else f"{note}.",)


def _least_ir_version(opset: int) -> int:
    versions: dict[tuple[str, int], int] = onnx.helper.OP_SET_ID_VERSION_MAP
    return versions[("ai.onnx", opset)]
