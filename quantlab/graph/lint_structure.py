"""Lint rules on placement: where Q/DQ stands in the way of a fusion, or is missing for one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx

from quantlab.graph.finding import Finding, Severity, label
from quantlab.graph.lint_types import FOUR_BITS
from quantlab.graph.patterns import WEIGHTED, Fusion, averages, fusion, moves
from quantlab.graph.qdq_view import QdqGraph, Step
from quantlab.graph.view import operator

_GATES = frozenset({"Sigmoid", "HardSigmoid", "Tanh", "Erf"})


def check_structure(qdq: QdqGraph) -> Iterator[Finding]:
    """Check against TensorRT's fusions: one pass over kernels, one over Concat and average pooling."""
    for node in qdq.plain.nodes:
        if operator(node) in WEIGHTED:
            yield from _weighted(qdq, node)
        elif operator(node) == "Concat":
            yield from _concat(qdq, node)
        elif averages(qdq.plain, node):
            yield from _pooling(qdq, node)


def check_for_ort(qdq: QdqGraph) -> Iterator[Finding]:
    """Check what keeps ONNX Runtime from its integer kernels."""
    for node in qdq.plain.nodes:
        if operator(node) in WEIGHTED:
            yield from _partly(qdq, node)
        if operator(node) == "Conv" and _quantized_operands(qdq, node) == {0, 1}:
            yield from _unfused(qdq, node)
    for step in qdq.steps:
        if step.quantizes and not step.weight and step.dtype == np.int8:
            message = "its activation is INT8; on x86, ONNX Runtime runs UINT8 with zero point 128 faster."
            yield _finding("int8-activation", "note", step.node, step.tensor, message, "Quantize for the target ort.")


def _weighted(qdq: QdqGraph, node: onnx.NodeProto) -> Iterator[Finding]:
    yield from _partly(qdq, node)
    if not _quantized_operands(qdq, node):
        return
    kernel = fusion(qdq.plain, node)
    if kernel.residual is not None:
        yield from _residual(qdq, kernel, kernel.residual.node, kernel.residual.input_index)
    add = None if kernel.residual is None else kernel.residual.node.output[0]
    found = (f for node in kernel.nodes[1:] if node.output[0] != add for f in _inside(qdq, kernel, node))
    yield from {finding.tensor: finding for finding in found}.values()


def _partly(qdq: QdqGraph, node: onnx.NodeProto) -> Iterator[Finding]:
    found = _quantized_operands(qdq, node)
    if _four_bit(qdq, node):
        return  # weights of 4 bits go with float activations
    for index in {0, 1} - found if found else ():
        message = f"input {index} is float while the other is quantized: it runs in float."
        yield _finding("partly-quantized", "warning", node, node.input[index], message, "Quantize both, or neither.")


def _quantized_operands(qdq: QdqGraph, node: onnx.NodeProto) -> set[int]:
    return {i for i in (0, 1) if qdq.dequantized(node, i) is not None}


def _four_bit(qdq: QdqGraph, node: onnx.NodeProto) -> bool:
    weights = (step for i in (0, 1) if (step := qdq.dequantized(node, i)) is not None and step.weight)
    return any(step.element_type in FOUR_BITS for step in weights)


def _inside(qdq: QdqGraph, kernel: Fusion, node: onnx.NodeProto) -> Iterator[Finding]:
    """Find Q/DQ on what `node` reads of the kernel's own tensors."""
    chain = " + ".join(n.op_type for n in kernel.nodes)
    for index, name in enumerate(node.input):
        step = qdq.dequantized(node, index) if name in kernel.inner else None
        if step is not None:
            before = qdq.plain.producer(name)
            gate = operator(node) == "Mul" and before is not None and operator(before) in _GATES
            message = f"Q/DQ on '{name}' splits {chain} of '{label(kernel.nodes[0])}', which is one kernel."
            fix = f"Quantize '{kernel.output}' instead."
            yield _finding("gate" if gate else "fusion", "warning", node, name, message, fix)


def _residual(qdq: QdqGraph, kernel: Fusion, add: onnx.NodeProto, index: int) -> Iterator[Finding]:
    own, other = qdq.dequantized(add, 1 - index), qdq.dequantized(add, index)
    if other is None and own is None:
        message = f"the residual input '{add.input[index]}' is float: the convolution must write float too."
        yield _finding("residual", "warning", add, add.input[index], message, "Quantize it.")
    if own is not None and other is not None:
        message = f"Q/DQ on '{own.tensor}' keeps the Add out of the kernel of '{label(kernel.nodes[0])}'."
        yield _finding("fused-branch", "warning", add, own.tensor, message, "Quantize the residual input only.")


def _concat(qdq: QdqGraph, node: onnx.NodeProto) -> Iterator[Finding]:
    steps = [qdq.dequantized(node, i) for i in range(len(node.input))]
    output = qdq.quantized(node.output[0])
    if output is None:
        return
    given = [step for step in steps if step is not None]
    if len(given) < len(steps):
        first = node.input[steps.index(None)]
        message = f"its output is quantized but '{first}' is float: it runs in float."
        yield _finding("concat", "warning", node, first, message, "Quantize all inputs, with the output's scale.")
    for step in given:
        if not _same_scale(step, output):
            message = f"'{step.tensor}' and the output have different scales: the input is rounded twice."
            yield _finding("concat", "warning", node, step.tensor, message, "Give them one scale, the widest.")


def _pooling(qdq: QdqGraph, node: onnx.NodeProto) -> Iterator[Finding]:
    before, after = qdq.dequantized(node, 0), _quantized_later(qdq, node.output[0])
    if before is None and after is not None:
        message = "its output is quantized and its input is not: it runs in float."
        yield _finding("pooling", "warning", node, node.input[0], message, "Quantize its input too.")
    if before is not None and after is None:
        message = "its input is quantized and its output is not: it runs in float."
        yield _finding("pooling", "note", node, node.output[0], message, "Quantize its output, if INT8 is wanted.")


def _quantized_later(qdq: QdqGraph, tensor: str) -> Step | None:
    step = qdq.quantized(tensor)
    for use in qdq.graph.consumers(tensor):
        if step is None and use.input_index == 0 and moves(qdq.graph, use.node):
            step = _quantized_later(qdq, use.node.output[0])
    return step


def _unfused(qdq: QdqGraph, node: onnx.NodeProto) -> Iterator[Finding]:
    uses = qdq.graph.consumers(node.output[0])
    if len(uses) == 1 and operator(uses[0].node) in {"Relu", "Clip"}:
        uses = qdq.graph.consumers(uses[0].node.output[0])
    if not uses or any(use.node.op_type != "QuantizeLinear" for use in uses):
        message = "its result is not quantized for every reader, so ONNX Runtime runs it in float."
        yield _finding("unfused", "warning", node, node.output[0], message, "Put Q/DQ straight after it.")


def _same_scale(one: Step, other: Step) -> bool:
    return one.scale is not None and other.scale is not None and np.array_equal(one.scale, other.scale)


def _finding(rule: str, severity: Severity, node: onnx.NodeProto, tensor: str, message: str, fix: str) -> Finding:
    return Finding(rule, severity, label(node), tensor, message, fix)
