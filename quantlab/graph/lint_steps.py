"""Lint rules on single operators: each Q and DQ by itself, and operators that hold integers of their own."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from quantlab.graph.finding import Finding, label
from quantlab.graph.patterns import WEIGHTED, weight_axis
from quantlab.graph.qdq_view import QdqGraph, Step
from quantlab.graph.target import Target
from quantlab.graph.view import operator

_PER_CHANNEL_OPSET = 13
_INTEGER_OPERATORS = frozenset({"ConvInteger", "MatMulInteger", "DynamicQuantizeLinear"})


def check_quantized(qdq: QdqGraph) -> Iterator[Finding]:
    """Find a model without any Q/DQ, unless it holds integers in another form."""
    kinds = {node.op_type for node in qdq.graph.nodes}
    if not qdq.steps and not kinds & _INTEGER_OPERATORS and not any(kind.startswith("QLinear") for kind in kinds):
        message = "There is no Q/DQ in the model: all of it runs in float."
        yield Finding("no-qdq", "error", "", "", message, "Quantize it, or give the quantized model.")


def check_operators(qdq: QdqGraph, target: Target) -> Iterator[Finding]:
    """Find operators on integers, and an opset too old for scales a channel."""
    opset = next((o.version for o in qdq.graph.proto.opset_import if o.domain in {"", "ai.onnx"}), 0)
    if qdq.steps and opset < _PER_CHANNEL_OPSET:
        channels = any(step.axis is not None for step in qdq.steps)
        yield Finding(
            "opset",
            "error" if channels else "warning",
            "",
            "",
            f"Opset {opset} has no scales a channel{', but the model uses them' if channels else ''}.",
            f"Convert the model to opset {_PER_CHANNEL_OPSET} or later.",
        )
    for node in qdq.graph.nodes:
        if target.tensorrt is not None and (node.op_type.startswith("QLinear") or node.op_type in _INTEGER_OPERATORS):
            yield Finding(
                "integer-operator",
                "error",
                label(node),
                node.output[0],
                f"TensorRT has no {node.op_type}.",
                "Export with Q/DQ pairs around float operators instead.",
            )


def check_steps(qdq: QdqGraph, target: Target) -> Iterator[Finding]:
    """Check scale, zero point, axis and neighbours of every Q and DQ."""
    for step in qdq.steps:
        yield from _scale(step)
        if target.tensorrt is not None:
            yield from _zero_point(step)
            yield from _bias(step)
        yield from _channels(qdq, step, target)
        yield from _neighbours(qdq, step)


def _scale(step: Step) -> Iterator[Finding]:
    if step.scale is None:
        fix = "Store the scale as an initializer."
        yield _finding("scale-constant", step, "its scale is computed, not constant.", fix)
    elif not np.all(np.isfinite(step.scale) & (step.scale > 0)):
        worst = step.scale.ravel()[np.argmin(np.nan_to_num(step.scale.ravel(), nan=-np.inf, posinf=-np.inf))]
        fix = "Give dead channels and all-zero tensors any positive scale."
        yield _finding("scale-positive", step, f"its scale is {worst}; every one must be finite and > 0.", fix)


def _zero_point(step: Step) -> Iterator[Finding]:
    if step.zero_point is None:
        fix = "Store the zero point as an initializer."
        yield _finding("zero-point-constant", step, "its zero point is computed, not constant.", fix)
    elif np.any(step.zero_point != 0):
        fix = "Calibrate symmetrically."
        yield _finding("zero-point", step, "its zero point is not 0, which TensorRT's parser refuses.", fix)
    elif step.dtype == np.uint8:
        yield Finding(
            "uint8",
            "warning",
            label(step.node),
            step.tensor,
            "its zero point is UINT8, which TensorRT reads as INT8 with the same scale: values above half the range clip.",
            "Use INT8 with scale amax/127.",
        )


def _bias(step: Step) -> Iterator[Finding]:
    if step.dtype == np.int32:
        yield _finding("int32-bias", step, "it is an INT32 bias behind DQ.", "Keep biases in float.")


def _channels(qdq: QdqGraph, step: Step, target: Target) -> Iterator[Finding]:
    if step.axis is None or step.scale is None or step.dtype == np.int32:
        return
    if not step.weight:
        fix = "Use one scale for an activation."
        yield _finding("per-channel-activation", step, f"it has {step.scale.size} scales along axis {step.axis}.", fix)
        return
    shape = qdq.graph.shape(step.node.input[0]) or ()
    if step.axis < len(shape) and shape[step.axis] != step.scale.size:
        message = f"it has {step.scale.size} scales for axis {step.axis} of length {shape[step.axis]}."
        yield _finding("scale-length", step, message, "Give as many scales as there are channels.")
    if step.quantizes:
        return
    for use in qdq.graph.consumers(step.node.output[0]):
        if operator(use.node) in WEIGHTED and use.input_index < 2:
            axis = weight_axis(use.node, use.input_index, shape, target)
            if axis != step.axis:
                wanted = "one scale for all of it" if axis is None else f"scales along axis {axis}"
                message = (
                    f"its scales lie along axis {step.axis}, but {use.node.op_type} '{label(use.node)}' wants {wanted}"
                )
                yield _finding("weight-axis", step, f"{message} on {target}.", "Quantize the weight anew.")


def _neighbours(qdq: QdqGraph, step: Step) -> Iterator[Finding]:
    output = step.node.output[0]
    readers = [use.node for use in qdq.graph.consumers(output)]
    if not readers and not qdq.graph.is_output(output):
        yield _warning("dead", step, "nothing reads its output.", "Remove it.")
    if step.quantizes:
        others = [node for node in readers if node.op_type != "DequantizeLinear"]
        for node in others:
            message = f"its integers go into {node.op_type} '{label(node)}' without DQ."
            yield _finding("missing-dequantize", step, message, "Put a DequantizeLinear in front.")
        before = qdq.graph.producer(step.node.input[0])
        if before is not None and before.op_type == "DequantizeLinear":
            yield _warning("double", step, "it quantizes a tensor that was just dequantized.", "Keep one pair.")
    elif step.tensor == step.node.input[0] and not step.weight:
        yield Finding(
            "integer-input",
            "note",
            label(step.node),
            step.tensor,
            "it dequantizes integers that no Q of this model made.",
            "Put the Q into the model.",
        )


def _finding(rule: str, step: Step, message: str, fix: str) -> Finding:
    return Finding(rule, "error", label(step.node), step.tensor, message, fix)


def _warning(rule: str, step: Step, message: str, fix: str) -> Finding:
    return Finding(rule, "warning", label(step.node), step.tensor, message, fix)
