"""Lint rules on element types: what a Q may read and write, and where a DQ's float type does not fit."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onnx import TensorProto

from quantlab.graph.finding import Finding, Severity, label
from quantlab.graph.patterns import JOINS, WEIGHTED
from quantlab.graph.qdq_view import QdqGraph, Step
from quantlab.graph.target import Target
from quantlab.graph.view import operator

_INT4, _FLOAT4 = 22, 23  # not named in every onnx that quantlab runs with
FOUR_BITS = frozenset({_INT4, _FLOAT4})

_FIRST_VERSION = {
    TensorProto.INT8: (8, 0),
    TensorProto.FLOAT8E4M3FN: (9, 0),
    _INT4: (10, 0),
    _FLOAT4: (10, 8),
}
"""TensorRT's versions that take the type in the ONNX operators, by its parser's list of operators."""

_OTHER_RULES = frozenset({TensorProto.UNDEFINED, TensorProto.UINT8, TensorProto.INT32})
_FLOATS = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE})
_ONE_TYPE = WEIGHTED | JOINS | {"Concat", "Div"}


def check_types(qdq: QdqGraph, step: Step, target: Target) -> Iterator[Finding]:
    """Check the integers' type for TensorRT, and float types for any runtime."""
    if target.tensorrt is not None:
        yield from _bias(step)
        yield from _uint8(step)
        yield from _integers(step, target)
        yield from _input(qdq, step)
    yield from _floats(qdq, step)


def _bias(step: Step) -> Iterator[Finding]:
    if step.element_type == TensorProto.INT32:
        yield _finding("error", "int32-bias", step, "it is an INT32 bias behind DQ.", "Keep biases in float.")


def _uint8(step: Step) -> Iterator[Finding]:
    if step.element_type != TensorProto.UINT8:
        return
    fix = "Use INT8 with scale amax/127."
    if not step.quantizes and step.tensor == step.node.input[0]:
        message = "its integers are stored or fed as UINT8, a type that TensorRT's Q/DQ lacks."
        yield _finding("error", "uint8", step, message, fix)
    elif step.zero_point is None or not np.any(step.zero_point != 0):
        message = "its integers are UINT8, which TensorRT reads as INT8 with the same scale: values above half the range clip."
        yield _finding("warning", "uint8", step, message, fix)


def _integers(step: Step, target: Target) -> Iterator[Finding]:
    kind, first = step.element_type, _FIRST_VERSION.get(step.element_type)
    if kind in _OTHER_RULES:
        return
    if first is None:
        message = f"its integers are {_name(kind)}, a type that TensorRT's Q/DQ lacks."
        yield _finding("error", "integer-type", step, message, "Use INT8.")
    elif target.tensorrt is not None and target.tensorrt < first:
        message = f"its integers are {_name(kind)}, which {target} cannot read."
        yield _finding("error", "integer-type", step, message, f"Use INT8, or TensorRT {first[0]}.{first[1]} or later.")
    elif kind == _INT4 and not step.weight:
        message = "an activation is quantized to INT4, which TensorRT keeps for weights."
        yield _finding("warning", "int4-activation", step, message, "Quantize activations to INT8, or not at all.")


def _input(qdq: QdqGraph, step: Step) -> Iterator[Finding]:
    kind = qdq.graph.element_type(step.node.input[0]) if step.quantizes else TensorProto.UNDEFINED
    if kind != TensorProto.UNDEFINED and kind not in _FLOATS:
        yield _finding("error", "float-input", step, f"it quantizes {_name(kind)}, not a float.", "Cast it to float.")


def _floats(qdq: QdqGraph, step: Step) -> Iterator[Finding]:
    """Find a DQ whose float type, that of its scale, differs from its neighbours'; ONNX wants one type in an operator."""
    own = qdq.graph.element_type(step.node.input[1])
    if own not in _FLOATS:
        return
    if step.quantizes:
        given = qdq.graph.element_type(step.node.input[0])
        if given in _FLOATS and given != own:
            message = f"its scale is {_name(own)} and its input {_name(given)}: ONNX has one type for both."
            yield _finding("warning", "scale-type", step, message, "Store the scale in the input's type.")
        return
    for use in qdq.graph.consumers(step.node.output[0]):
        kinds = {qdq.graph.element_type(t) for t in use.node.input if t} & _FLOATS
        if operator(use.node) in _ONE_TYPE and kinds - {own}:
            message = f"it gives {_name(own)}, as its scale is, but {use.node.op_type} '{label(use.node)}' reads other floats too."
            yield _finding("error", "mixed-types", step, message, "Store the scale in the type of the other inputs.")


def _name(kind: int) -> str:
    return TensorProto.DataType.Name(kind) if kind in TensorProto.DataType.values() else f"type {kind}"


def _finding(severity: Severity, rule: str, step: Step, message: str, fix: str) -> Finding:
    return Finding(rule, severity, label(step.node), step.tensor, message, fix)
