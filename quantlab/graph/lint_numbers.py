"""Lint rules on the numbers of a Q or DQ: scale, zero point, axis and blocks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onnx import TensorProto

from quantlab.graph.finding import Finding, Severity, label
from quantlab.graph.lint_types import FOUR_BITS
from quantlab.graph.patterns import WEIGHTED, weight_axis
from quantlab.graph.qdq_view import QdqGraph, Step
from quantlab.graph.target import Target
from quantlab.graph.view import Shape, attribute, operator

_SMALLEST_NORMAL = float(np.finfo(np.float32).tiny)
_OPTIONAL_ZERO_POINT = (9, 0)  # the parser before takes three inputs only
_COMPUTED_SCALES = (11, 0)  # the headers before say: a build-time constant
_BLOCKS = (10, 0)
_BLOCK_TYPES = FOUR_BITS | {TensorProto.FLOAT8E4M3FN}
_AXIS_OF_ONNX = (11, 0)  # parsers up to 10.1 take axis 0 where none is given, TensorRT-RTX 1.7 takes ONNX's 1


def check_scale(step: Step, target: Target) -> Iterator[Finding]:
    """Check that the scale is constant, finite, positive and not so small that its inverse overflows."""
    if step.scale is None:
        fix = "Store the scale as an initializer."
        constant_only = target.tensorrt is not None and target.tensorrt < _COMPUTED_SCALES
        yield step_finding(
            "error" if constant_only else "warning", "scale-constant", step, "its scale is computed, not constant.", fix
        )
    elif not np.all(np.isfinite(step.scale) & (step.scale > 0)):
        worst = step.scale.ravel()[np.argmin(np.nan_to_num(step.scale.ravel(), nan=-np.inf, posinf=-np.inf))]
        message, fix = (
            f"its scale is {worst}; every one must be finite and > 0.",
            "Give dead channels any positive scale.",
        )
        yield step_finding("error", "scale-positive", step, message, fix)
    elif np.any(step.scale < _SMALLEST_NORMAL):
        message = f"its scale {step.scale.min()} is subnormal: GPUs may take it for 0."
        yield step_finding("warning", "scale-subnormal", step, message, "Give an all-zero tensor any larger scale.")


def check_zero_point(step: Step, target: Target) -> Iterator[Finding]:
    """Check that the zero point is what TensorRT takes: constant, 0, one for each scale."""
    if target.tensorrt is None:
        return
    given = len(step.node.input) > 2 and step.node.input[2] != ""
    if not given and target.tensorrt < _OPTIONAL_ZERO_POINT and step.scale is not None:
        message, fix = f"it has no zero point, which {target} wants.", "Store an INT8 zero point of 0."
        yield step_finding("error", "zero-point-absent", step, message, fix)
    elif step.zero_point is None and step.scale is not None and given:
        fix = "Store the zero point as an initializer."
        yield step_finding("error", "zero-point-constant", step, "its zero point is computed, not constant.", fix)
    elif step.zero_point is not None and np.any(step.zero_point != 0):
        message = "its zero point is not 0, which TensorRT's parser refuses."
        yield step_finding("error", "zero-point", step, message, "Calibrate symmetrically.")
    elif step.zero_point is not None and step.scale is not None and step.zero_point.size != step.scale.size:
        message = f"it has {step.scale.size} scales and {step.zero_point.size} zero points."
        yield step_finding("error", "zero-point-length", step, message, "Give one zero point for each scale.")


def check_channels(qdq: QdqGraph, step: Step, target: Target) -> Iterator[Finding]:
    """Check scales of which there are several: for constants only, along the axis of the operator's channels."""
    if step.axis is None or step.scale is None or step.dtype == np.int32:
        return
    shape = qdq.graph.shape(step.node.input[0])
    if not step.weight:
        message = f"it has {step.scale.size} scales along axis {step.axis}."
        yield step_finding("error", "per-channel-activation", step, message, "Use one scale for an activation.")
    elif shape is not None and not 0 <= step.axis < len(shape):
        message = f"its scales lie along axis {step.axis} of a tensor of rank {len(shape)}."
        yield step_finding("error", "axis", step, message, "Name the axis of the output channels.")
    elif step.blocked:
        yield from _blocks(step, shape or (), target)
    else:
        yield from _length(step, shape or (), target)
        if not step.quantizes:
            yield from _weight_axis(qdq, step, shape or (), target)


def _blocks(step: Step, shape: Shape, target: Target) -> Iterator[Finding]:
    assert step.scale is not None
    size, scales = int(attribute(step.node, "block_size", 0)), step.scale.shape
    if target.tensorrt is not None and target.tensorrt < _BLOCKS:
        message = f"its scales have {len(scales)} dimensions: {target} knows no blocks."
        yield step_finding("error", "block", step, message, "Give one scale a channel, or build with TensorRT 10.")
    elif size <= 0 or len(scales) != len(shape):
        message = f"its scales have {len(scales)} dimensions, but block_size is {size} and its tensor has {len(shape)}."
        yield step_finding("error", "scale-rank", step, message, "Give one scale a channel as a vector, or blocks.")
    elif any(
        n != (-(-int(m) // size) if i == step.axis else m) for i, (n, m) in enumerate(zip(scales, shape, strict=True))
    ):
        message = (
            f"its scales of shape {list(scales)} do not cover {list(shape)} in blocks of {size} along axis {step.axis}."
        )
        yield step_finding("error", "scale-length", step, message, "Give one scale for each block.")
    elif target.tensorrt is not None and step.element_type not in _BLOCK_TYPES:
        message = f"it has a scale for each block of {step.dtype}; TensorRT has blocks of INT4, FP4 and FP8 only."
        yield step_finding("warning", "block", step, message, "Give one scale a channel.")


def _length(step: Step, shape: Shape, target: Target) -> Iterator[Finding]:
    assert step.scale is not None
    assert step.axis is not None
    if step.axis < len(shape) and shape[step.axis] != step.scale.size:
        message = f"it has {step.scale.size} scales for axis {step.axis} of length {shape[step.axis]}."
        yield step_finding("error", "scale-length", step, message, "Give as many scales as there are channels.")
    older = target.tensorrt is not None and target.tensorrt < _AXIS_OF_ONNX
    if older and attribute(step.node, "axis") is None:
        message = "it has scales but names no axis: ONNX takes axis 1, TensorRT's parser up to 10.1 axis 0."
        yield step_finding("warning", "axis-absent", step, message, "Name the axis.")


def _weight_axis(qdq: QdqGraph, step: Step, shape: Shape, target: Target) -> Iterator[Finding]:
    for use in qdq.graph.consumers(step.node.output[0]):
        if operator(use.node) in WEIGHTED and use.input_index < 2:
            axis = weight_axis(use.node, use.input_index, shape, target)
            if axis != step.axis:
                wanted = "one scale for all of it" if axis is None else f"scales along axis {axis}"
                message = (
                    f"its scales lie along axis {step.axis}, but {use.node.op_type} '{label(use.node)}' wants {wanted} "
                    f"on {target}."
                )
                yield step_finding("error", "weight-axis", step, message, "Quantize the weight anew.")


def step_finding(severity: Severity, rule: str, step: Step, message: str, fix: str) -> Finding:
    """Return a finding at one Q or DQ."""
    return Finding(rule, severity, label(step.node), step.tensor, message, fix)
