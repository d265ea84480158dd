"""Lint rules on single operators: each Q and DQ by itself, and operators that hold integers of their own."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from quantlab.graph.finding import Finding, Severity, label
from quantlab.graph.lint_numbers import check_channels, check_scale, check_zero_point, step_finding
from quantlab.graph.lint_types import check_types
from quantlab.graph.patterns import moves, source
from quantlab.graph.qdq_view import QdqGraph, Step
from quantlab.graph.target import Target

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
    """Check scale, zero point, type, axis and neighbours of every Q and DQ."""
    for step in qdq.steps:
        yield from check_scale(step, target)
        yield from check_zero_point(step, target)
        yield from check_types(qdq, step, target)
        yield from check_channels(qdq, step, target)
        yield from _pair(qdq, step)
        yield from _neighbours(qdq, step)


def _pair(qdq: QdqGraph, step: Step) -> Iterator[Finding]:
    before = None if step.quantizes else qdq.before(step)
    if before is None or before.scale is None or step.scale is None:
        return
    same = np.array_equal(before.scale.ravel(), step.scale.ravel(), equal_nan=True)
    if not (same and before.axis == step.axis and before.element_type == step.element_type):
        what = "another scale" if not same else "another axis or integer type"
        message = f"it has {what} than '{label(before.node)}' before it: values come back changed."
        yield step_finding("warning", "pair", step, message, "Give Q and DQ the same scale, zero point and axis.")


def _neighbours(qdq: QdqGraph, step: Step) -> Iterator[Finding]:
    output = step.node.output[0]
    readers = [use.node for use in qdq.graph.consumers(output)]
    if not readers and not qdq.graph.is_output(output):
        yield step_finding("warning", "dead", step, "nothing reads its output.", "Remove it.")
    if step.quantizes:
        others = [node for node in readers if node.op_type != "DequantizeLinear"]
        for node in others:
            severity: Severity = "warning" if moves(qdq.graph, node) else "error"
            message = f"its integers go into {node.op_type} '{label(node)}' without DQ."
            yield step_finding(severity, "missing-dequantize", step, message, "Put a DequantizeLinear in front.")
        before = qdq.graph.producer(step.node.input[0])
        if before is not None and before.op_type == "DequantizeLinear":
            yield step_finding(
                "warning", "double", step, "it quantizes a tensor that was just dequantized.", "Keep one pair."
            )
    elif source(qdq.graph, step.tensor) in qdq.graph.inputs and qdq.before(step) is None:
        message = "it dequantizes integers that no Q of this model made."
        yield step_finding("note", "integer-input", step, message, "Put the Q into the model.")
