"""Reading a model that has Q/DQ, whoever made it: its pairs, its float graph without them, its scales."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from quantlab.calibration.scale_table import Scale
from quantlab.errors import InputError
from quantlab.graph.patterns import source
from quantlab.graph.view import Graph, attribute
from quantlab.numerics.affine import LIMITS, IntegerType, QuantParams

_DEFAULT_AXIS = 1  # of both operators in ONNX


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One QuantizeLinear or DequantizeLinear.

    Attributes
    ----------
    node
        The node.
    tensor
        The float tensor whose values pass: the input of the pair's Q, or a stored integer constant.
    weight
        Whether `tensor` is a constant.
    scale, zero_point
        None if not constant; an absent zero point is 0.
    dtype
        Type of the integers; None if it cannot be told.
    axis
        Of scales with more than one element, from 0; None for one scale. An axis that the tensor lacks stands as given.
    element_type
        ONNX's number of the type of the integers (or FP8); UNDEFINED if it cannot be told.
    """

    node: onnx.NodeProto
    tensor: str
    weight: bool
    scale: NDArray[Any] | None
    zero_point: NDArray[Any] | None
    dtype: np.dtype[Any] | None
    axis: int | None
    element_type: int = onnx.TensorProto.UNDEFINED

    @property
    def blocked(self) -> bool:
        """True if one scale serves a block along the axis: scales have the rank of the tensor."""
        return self.scale is not None and self.scale.ndim > 1

    @property
    def quantizes(self) -> bool:
        """True for Q, False for DQ."""
        return self.node.op_type == "QuantizeLinear"


class QdqGraph:
    """Index of a model with Q/DQ.

    Attributes
    ----------
    graph
        The model as it is.
    plain
        The same nodes without Q/DQ: readers of a dequantized tensor read the float one. Stored integers stand
        as float constants of the same shape, all 0. Nodes have the outputs that they have in `graph`.
    steps
        Every Q and DQ of the main graph, in order.
    """

    def __init__(self, proto: onnx.ModelProto) -> None:
        self.graph = Graph(proto)
        self.steps = tuple(_steps(self.graph))
        self._by_output = {step.node.output[0]: step for step in self.steps}
        self.plain = Graph(_without_qdq(self.graph, self._by_output))

    def dequantized(self, node: onnx.NodeProto, index: int) -> Step | None:
        """Return the DQ in front of input `index` of a node of `plain`, or of what only moves its values there."""
        original = self.graph.producer(node.output[0])
        step = None if original is None else self._by_output.get(source(self.graph, original.input[index]))
        return step if step is not None and not step.quantizes else None

    def before(self, step: Step) -> Step | None:
        """Return the Q whose integers a DQ reads; None for stored or fed ones."""
        found = self._by_output.get(step.node.input[0])
        return found if found is not None and found.quantizes else None

    def quantized(self, tensor: str) -> Step | None:
        """Return the first Q that reads a tensor of `graph`."""
        nodes = (use.node for use in self.graph.consumers(tensor) if use.input_index == 0)
        return next((self._by_output[n.output[0]] for n in nodes if n.op_type == "QuantizeLinear"), None)


def read_scales(proto: onnx.ModelProto) -> tuple[Scale, ...]:
    """Return a row for every tensor that a model quantizes: what `insert_qdq` was given, names and bits.

    Activations are named after the input of Q, weights stored as integers after them, less "_quantized".

    Raises
    ------
    InputError
        A scale or zero point that is not constant, or integers other than INT8 and UINT8.
    """
    rows: dict[str, Scale] = {}
    qdq = QdqGraph(proto)
    for step in qdq.steps:
        name = _name(qdq.graph, step)
        if name in rows or step.dtype == np.int32:  # the second of a pair; a bias
            continue
        if step.scale is None or step.zero_point is None:
            raise InputError(f"Scale or zero point of '{name}' ('{step.node.name}') is computed, not constant.")
        if step.dtype is None or step.dtype.name not in LIMITS:
            raise InputError(f"'{name}' is quantized to {step.dtype}; only int8 and uint8 can be read.")
        shape = step.scale.shape if step.axis is not None else ()
        kind: IntegerType = "uint8" if step.dtype == np.uint8 else "int8"
        scale, zero = (a.reshape(shape) for a in np.broadcast_arrays(step.scale, step.zero_point))
        params = QuantParams(scale.astype(np.float32), zero.astype(np.int64), kind, step.axis)
        symmetric = bool(np.all(params.zero_point == (128 if kind == "uint8" else 0)))
        rows[name] = Scale.of(
            name,
            params,
            role="weight" if step.weight else "activation",
            scheme="symmetric" if symmetric else "affine",
            method="read from Q/DQ",
        )
    return tuple(rows.values())


def _name(graph: Graph, step: Step) -> str:
    """Return the tensor's name in the float model: INT8 weights and outputs had to give theirs away."""
    if step.weight and step.tensor == step.node.input[0] and not step.quantizes:
        return step.tensor.removesuffix("_quantized")
    output = step.tensor.removesuffix("_float")
    return output if output != step.tensor and graph.is_output(output) else step.tensor


def _steps(graph: Graph) -> Iterator[Step]:
    for node in graph.nodes:
        if node.op_type not in {"QuantizeLinear", "DequantizeLinear"}:
            continue
        tensor = _float_tensor(graph, node)
        scale = graph.constant(node.input[1])
        given = len(node.input) > 2 and node.input[2] != ""
        absent = None if scale is None else np.zeros(scale.shape, np.int64)
        zero_point = graph.constant(node.input[2]) if given else absent
        element_type = graph.element_type(node.input[2]) if given else _default_type(graph, node)
        yield Step(
            node,
            tensor,
            graph.is_constant(tensor),
            scale,
            zero_point,
            _dtype(element_type),
            None if scale is None or scale.size <= 1 else _axis(graph, node),
            element_type,
        )


def _float_tensor(graph: Graph, node: onnx.NodeProto) -> str:
    before = graph.producer(node.input[0])
    if node.op_type == "DequantizeLinear" and before is not None and before.op_type == "QuantizeLinear":
        return before.input[0]
    return node.input[0]


def _axis(graph: Graph, node: onnx.NodeProto) -> int:
    axis, shape = int(attribute(node, "axis", _DEFAULT_AXIS)), graph.shape(node.input[0])
    return axis % len(shape) if shape is not None and -len(shape) <= axis < len(shape) else axis


def _default_type(graph: Graph, node: onnx.NodeProto) -> int:
    if node.op_type == "DequantizeLinear":
        return graph.element_type(node.input[0])
    return int(attribute(node, "output_dtype", 0)) or onnx.TensorProto.UINT8


def _dtype(element_type: int) -> np.dtype[Any] | None:
    kind = element_type != onnx.TensorProto.UNDEFINED
    return onnx.helper.tensor_dtype_to_np_dtype(element_type) if kind else None


def _without_qdq(graph: Graph, steps: dict[str, Step]) -> onnx.ModelProto:
    alias: dict[str, str] = {}
    stored: list[onnx.TensorProto] = []
    for output, step in steps.items():
        integers = None if step.quantizes or step.tensor != step.node.input[0] else graph.constant(step.tensor)
        if integers is None:
            alias[output] = alias.get(step.tensor, step.tensor)
        else:
            stored.append(onnx.numpy_helper.from_array(np.zeros(integers.shape, np.float32), output))
    proto = onnx.ModelProto()
    proto.CopyFrom(graph.proto)
    del proto.graph.node[:]
    for node in graph.nodes:
        if node.op_type not in {"QuantizeLinear", "DequantizeLinear"}:
            proto.graph.node.append(node)
            copy = proto.graph.node[-1]
            copy.input[:] = [alias.get(name, name) for name in node.input]
    for output_info in proto.graph.output:
        output_info.name = alias.get(output_info.name, output_info.name)
    proto.graph.initializer.extend(stored)
    return proto
