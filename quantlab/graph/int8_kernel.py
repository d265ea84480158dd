"""The INT8 kernels that TensorRT makes of a Q/DQ model: a weighted operator between integers, and what its epilogue does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from quantlab.graph.qdq_view import QdqGraph, Step
from quantlab.graph.view import CAPTURED, Graph, Shape, attribute, operator
from quantlab.numerics.arrays import F32

LARGEST = 128
"""Magnitude of the largest INT8."""

_BIAS = {"Conv": 2, "ConvTranspose": 2, "Gemm": 2, "MatMul": None}  # the input that holds it


@dataclass(frozen=True, slots=True, eq=False)
class Operand:
    """An INT8 activation.

    Attributes
    ----------
    integers
        The tensor of integers.
    scale
        1 / (1 / s) in float32, as TensorRT keeps the scale s of a DequantizeLinear.
    pads
        Zeros that a Pad puts around it, as ONNX's attribute has them; empty for none.
    """

    integers: str
    scale: F32
    pads: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Weight:
    """An INT8 weight: the integers as float32, and scales that broadcast against the operator's output."""

    integers: F32
    scale: F32


@dataclass(frozen=True, slots=True, eq=False)
class Kernel:
    """A weighted operator on integers with its epilogue.

    Attributes
    ----------
    node
        The operator.
    x, w
        Its operands.
    bias
        Float32 that broadcasts against its output; None for none.
    residual
        What is added before the activation.
    bounds
        Of Relu or Clip, in float; infinite where there is none.
    step
        The scale of the QuantizeLinear at the end; None if the output stays float.
    output
        The tensor that the kernel writes: integers with a `step`, else float.
    replaces
        Outputs of all nodes that the kernel stands for.
    """

    node: onnx.NodeProto
    x: Operand
    w: Weight | Operand
    bias: F32 | None
    residual: Operand | None
    bounds: tuple[float, float]
    step: F32 | None
    output: str
    replaces: tuple[str, ...]


def kernel_of(qdq: QdqGraph, node: onnx.NodeProto) -> Kernel | str:
    """Return the kernel of a weighted operator, or the reason why it has none."""
    graph, steps = qdq.graph, {step.node.output[0]: step for step in qdq.steps}
    x = _padded(graph, steps, node) or _activation(steps.get(node.input[0]))
    if x is None:
        return "its input is no INT8 activation of one scale without zero point"
    w = _weight(graph, steps.get(node.input[1]), node) or _activation(steps.get(node.input[1]))
    if w is None:
        return "its second operand is no INT8 with one scale, or one an output channel, and without zero point"
    if operator(node) == "Gemm" and (attribute(node, "alpha", 1.0), attribute(node, "beta", 1.0)) != (1.0, 1.0):
        return "its alpha or beta is not 1"
    return _with_epilogue(graph, steps, node, x, w)


def _activation(step: Step | None) -> Operand | None:
    if step is None or step.quantizes or step.weight or not _symmetric(step) or step.axis is not None:
        return None
    return Operand(step.node.input[0], _kept(step).reshape(()))


def _symmetric(step: Step) -> bool:
    """Tell whether a step is of INT8 with known scales > 0, one each tensor or channel, and no zero point."""
    known = step.scale is not None and step.zero_point is not None and not step.blocked
    if not known or step.dtype != np.int8 or step.element_type != onnx.TensorProto.INT8:
        return False
    scale = np.asarray(step.scale)
    return scale.dtype == np.float32 and bool((np.isfinite(scale) & (scale > 0)).all() and not np.any(step.zero_point))


def _kept(step: Step) -> F32:
    scale, one = np.asarray(step.scale, np.float32), np.float32(1)
    with np.errstate(over="ignore", divide="ignore"):
        again = np.asarray(one / (one / scale), np.float32)
    return np.where(np.isfinite(again) & (again > 0), again, scale).astype(np.float32)


def _padded(graph: Graph, steps: Mapping[str, Step], node: onnx.NodeProto) -> Operand | None:
    """Return the operand of a Conv that a Pad of zeros fills up, which the Conv does as well."""
    if operator(node) != "Conv" or attribute(node, "auto_pad", b"NOTSET") != b"NOTSET":
        return None
    last = steps.get(node.input[0])
    tensor = node.input[0] if last is None else last.tensor
    pad = graph.producer(tensor)
    first = None if pad is None or operator(pad) != "Pad" else steps.get(pad.input[0])
    operand, pads = _activation(first), _zeros(graph, pad)
    if operand is None or first is None or pads is None:
        return None
    if last is not None and (
        _activation(last) is None or not np.array_equal(np.ravel(_kept(last)), np.ravel(_kept(first)))
    ):
        return None
    return Operand(operand.integers, operand.scale, pads)


def _zeros(graph: Graph, pad: onnx.NodeProto | None) -> tuple[int, ...] | None:
    """Return how many zeros a Pad adds to each spatial side; None if it does anything else, or is none."""
    if pad is None or len(pad.input) < 2 or any(pad.input[3:]) or attribute(pad, "mode", b"constant") != b"constant":
        return None
    pads = graph.constant(pad.input[1])
    value = graph.constant(pad.input[2]) if len(pad.input) > 2 and pad.input[2] else np.zeros(())
    if pads is None or value is None or np.any(value) or pads.size % 2 or (pads < 0).any():
        return None
    before, after = np.split(pads.astype(np.int64), 2)
    return None if before[:2].any() or after[:2].any() else (*before[2:].tolist(), *after[2:].tolist())


def _weight(graph: Graph, step: Step | None, node: onnx.NodeProto) -> Weight | None:
    if step is None or step.quantizes or not step.weight or not _symmetric(step):
        return None
    value, channels = graph.constant(step.tensor), None
    if value is None or value.ndim < 2:  # a MatMul sums over the only axis of a vector: it has no output channels
        return None
    if step.axis is not None:
        if step.axis != _output_axis(node, value.ndim):
            return None
        channels = [1] * value.ndim
        channels[step.axis] = -1
    if value.dtype != np.int8:
        if value.dtype != np.float32 or not np.isfinite(value).all():
            return None
        scale = np.asarray(step.scale)
        value = np.clip(np.rint(value / scale.reshape(channels or ())), -LARGEST, LARGEST - 1)
    width = 1 if step.axis is None else value.shape[step.axis]
    return Weight(value.astype(np.float32), _kept(step).reshape(_channels(node, width, value.ndim)))


def _output_axis(node: onnx.NodeProto, rank: int) -> int | None:
    kind = operator(node)
    if kind == "ConvTranspose":
        return 1 if attribute(node, "group", 1) == 1 else None
    if kind == "Gemm":
        return 0 if attribute(node, "transB", 0) else 1
    return 0 if kind == "Conv" else rank - 1


def _channels(node: onnx.NodeProto, width: int, rank: int) -> tuple[int, ...]:
    """Return the shape in which one value an output channel broadcasts against the output."""
    return (width, *(1 for _ in range(rank - 2))) if operator(node) in {"Conv", "ConvTranspose"} else (width,)


def _with_epilogue(
    graph: Graph, steps: Mapping[str, Step], node: onnx.NodeProto, x: Operand, w: Weight | Operand
) -> Kernel | str:
    output, replaces = node.output[0], [node.output[0]]
    given, bias = _bias(graph, node, w)
    if given and bias is None:
        return "its bias is no float32 constant of one value an output channel"
    after = _only_reader(graph, output)
    if not given and after is not None and operator(after) == "Add":
        bias = _constant_bias(graph, _other(after, output), node, w)
        if bias is not None:
            output = after.output[0]
            replaces.append(output)
    end = _end(graph, steps, output)
    if end is None:
        return Kernel(node, x, w, bias, None, (-np.inf, np.inf), None, output, tuple(replaces))
    passed, residual, bounds, step = end
    last = passed[-1]
    scale = np.asarray(step.scale, np.float32).reshape(())
    return Kernel(node, x, w, bias, residual, bounds, scale, last, (*replaces, *passed))


def _bias(graph: Graph, node: onnx.NodeProto, w: Weight | Operand) -> tuple[bool, F32 | None]:
    index = _BIAS[operator(node)]
    if index is None or len(node.input) <= index or not node.input[index]:
        return False, None
    return True, _constant_bias(graph, node.input[index], node, w)


def _constant_bias(graph: Graph, tensor: str, node: onnx.NodeProto, w: Weight | Operand) -> F32 | None:
    value = graph.constant(tensor)
    if value is None or value.dtype != np.float32 or not isinstance(w, Weight):
        return None
    axis = _output_axis(node, w.integers.ndim)
    if axis is None:  # a grouped ConvTranspose: each group has as many channels as the weight's axis 1
        axis, groups = 1, int(attribute(node, "group", 1))
    else:
        groups = 1
    shape = _channels(node, w.integers.shape[axis] * groups, w.integers.ndim)
    if value.size == 1 and value.ndim <= len(shape) + 1:
        return value.reshape(())
    if operator(node) in {"Conv", "ConvTranspose"} and tensor in node.input:
        return value.reshape(shape) if value.size == shape[0] else None
    inner: Shape = value.shape[1:] if value.ndim == len(shape) + 1 and value.shape[0] == 1 else value.shape
    return value.reshape(shape) if inner == shape else None


def _end(
    graph: Graph, steps: Mapping[str, Step], tensor: str
) -> tuple[tuple[str, ...], Operand | None, tuple[float, float], Step] | None:
    """Follow a kernel's output through [Add of another activation], [Relu or Clip] to Q.

    Returns the outputs passed, the residual, the bounds and the Q; None if the way does not end there.
    """
    passed, residual, bounds = list[str](), None, (-np.inf, np.inf)
    after = _only_reader(graph, tensor)
    if after is not None and operator(after) == "Add":
        residual = _activation(steps.get(_other(after, tensor)))
        if residual is None:
            return None
        tensor = after.output[0]
        passed.append(tensor)
        after = _only_reader(graph, tensor)
    found = None if after is None else _bounds(graph, after)
    if after is not None and found is not None and after.input[0] == tensor:
        bounds, tensor = found, after.output[0]
        passed.append(tensor)
        after = _only_reader(graph, tensor)
    step = None if after is None else steps.get(after.output[0])
    if step is None or not step.quantizes or step.tensor != tensor or not _symmetric(step) or step.axis is not None:
        return None
    return (*passed, step.node.output[0]), residual, bounds, step


def _only_reader(graph: Graph, tensor: str) -> onnx.NodeProto | None:
    uses = graph.consumers(tensor)
    alone = len(uses) == 1 and uses[0].input_index != CAPTURED and not graph.is_output(tensor)
    return uses[0].node if alone else None


def _other(add: onnx.NodeProto, tensor: str) -> str:
    return add.input[1] if add.input[0] == tensor else add.input[0]


def _bounds(graph: Graph, node: onnx.NodeProto) -> tuple[float, float] | None:
    if operator(node) == "Relu":
        return 0.0, np.inf
    if operator(node) != "Clip":
        return None
    found: list[Any] = [-np.inf, np.inf]
    for index, tensor in enumerate(node.input[1:3]):
        if tensor:
            value: NDArray[Any] | None = graph.constant(tensor)
            if value is None or value.size != 1 or np.isnan(value).any():
                return None
            found[index] = float(value.reshape(()))
    return found[0], found[1]
