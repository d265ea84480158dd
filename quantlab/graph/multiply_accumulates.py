"""How many multiply-accumulates each weighted node does, and which share of them runs on integers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from types import MappingProxyType

import onnx

from quantlab.errors import UsageError
from quantlab.graph.model import Model
from quantlab.graph.patterns import WEIGHTED, weight_index
from quantlab.graph.placement import Placement, activation_operands
from quantlab.graph.qdq_view import QdqGraph
from quantlab.graph.stored_tensors import light_copy
from quantlab.graph.view import Graph, Shape, attribute, operator

_INTEGER = frozenset({"ConvInteger", "MatMulInteger"})
_COUNTED = WEIGHTED | _INTEGER
_BATCHES = (2, 3)


@dataclass(frozen=True, slots=True)
class MultiplyAccumulates:
    """What a model's matrix products and convolutions cost.

    Attributes
    ----------
    by_node
        Node → multiply-accumulates for a batch of 1, in graph order; additions of a bias are not counted.
    unknown
        Node → why its number is not known.
    """

    by_node: Mapping[str, int]
    unknown: Mapping[str, str]

    @property
    def total(self) -> int:
        """Sum over the nodes whose number is known."""
        return sum(self.by_node.values())


def multiply_accumulates(model: Model, shapes: Mapping[str, Sequence[int]] | None = None) -> MultiplyAccumulates:
    """Count the multiply-accumulates of Conv, ConvTranspose, Gemm and MatMul (ConvInteger, MatMulInteger) in the main graph.

    Every input position is counted as the operator's definition has it, those in the padding too: the way published
    figures count. A first axis of open size counts as 1, a fixed one as it is.

    Parameters
    ----------
    model
        A normalised model; nodes have names.
    shapes
        Input → shape, for open axes other than the first: a sample batch's `{name: array.shape}`.

    Raises
    ------
    UsageError
        A shape for an input that the model lacks, or one that does not fit it.
    """
    graph = Graph(model.proto)
    # Two sizes, as the number is a line in the batch; 1 itself is of no use: inference gives up where 1 meets an open axis.
    shaped = [Graph(_with_shapes(model.proto, graph, shapes or {}, batch)) for batch in _BATCHES]
    known: dict[str, int] = {}
    unknown: dict[str, str] = {}
    for node in graph.nodes:
        if operator(node) in _COUNTED:
            two, three = (_count(one, node) for one in shaped)
            if isinstance(two, str) or isinstance(three, str):
                unknown[node.name] = two if isinstance(two, str) else str(three)
            else:
                known[node.name] = 2 * two - three
    return MultiplyAccumulates(MappingProxyType(known), MappingProxyType(unknown))


def int8_coverage(counts: MultiplyAccumulates, integer: Collection[str]) -> float:
    """Return the share (0 … 1) of the known multiply-accumulates that these nodes do; 0 where there are none."""
    done = sum(count for name, count in counts.by_node.items() if name in integer)
    return done / counts.total if counts.total else 0.0


def integer_nodes(of: Placement | Model, graph: Graph | None = None) -> frozenset[str]:
    """Return the weighted nodes whose operands are all quantized.

    Parameters
    ----------
    of
        A placement, with the graph that it was made for; or a quantized model: one with Q/DQ, or with integer
        operators. A node whose weight alone is behind DQ computes in float.
    graph
        Of the placement.

    Raises
    ------
    UsageError
        A placement without its graph.
    """
    if isinstance(of, Placement):
        if graph is None:
            raise UsageError("Give the graph that the placement was made for, beside the placement.")
        return _placed(graph, of)
    qdq = QdqGraph(of.proto)
    behind = {
        node.name
        for node in qdq.plain.nodes
        if operator(node) in WEIGHTED and all(qdq.dequantized(node, i) is not None for i in (0, 1))
    }
    return frozenset(behind | {node.name for node in qdq.graph.nodes if operator(node) in _INTEGER})


def _placed(graph: Graph, placement: Placement) -> frozenset[str]:
    sites = [site.uses for site in placement.activations.values()]
    sites += [site.uses for several in placement.weights.values() for site in several]
    quantized = {place for uses in sites for place in uses}
    found = set()
    for node in graph.nodes:
        if operator(node) in WEIGHTED:
            weight = weight_index(graph, node)
            operands = {*activation_operands(graph, node), *(() if weight is None else (weight,))}
            if all((node.name, i) in quantized for i in operands):
                found.add(node.name)
    return frozenset(found)


def _with_shapes(
    proto: onnx.ModelProto, graph: Graph, shapes: Mapping[str, Sequence[int]], batch: int
) -> onnx.ModelProto:
    """Return a light copy whose open input axes are fixed as far as known, and which claims no inner shape."""
    strangers = sorted(set(shapes) - set(graph.inputs))
    if strangers:
        raise UsageError(f"The model has no input «{strangers[0]}»; it has {', '.join(map(repr, graph.inputs))}.")
    light = light_copy(proto)
    del light.graph.value_info[:]
    for output in light.graph.output:
        output.type.tensor_type.ClearField("shape")
    sizes: dict[str, int] = {}
    for info in light.graph.input:
        if info.name in graph.inputs:
            sizes |= _fix(info, shapes.get(info.name), batch)
    for info in light.graph.input:  # an axis of the same name has the same size
        for dim in info.type.tensor_type.shape.dim:
            if dim.dim_param in sizes:
                dim.dim_value = sizes[dim.dim_param]
    return light


def _fix(info: onnx.ValueInfoProto, given: Sequence[int] | None, batch: int) -> dict[str, int]:
    shape = info.type.tensor_type
    if given is not None and not shape.HasField("shape"):
        shape.shape.dim.extend(onnx.TensorShapeProto.Dimension() for _ in given)
    dims = shape.shape.dim
    if given is not None and len(given) != len(dims):
        raise UsageError(f"Input «{info.name}» has {len(dims)} axes, not the {len(given)} of {list(given)}.")
    named = {}
    for axis, dim in enumerate(dims):
        size = None if given is None else int(given[axis])
        if dim.HasField("dim_value"):
            if axis and size is not None and size != dim.dim_value:
                raise UsageError(f"Axis {axis} of input «{info.name}» is {dim.dim_value}, not {size}.")
            continue
        size = batch if axis == 0 else size
        if size is not None:
            if dim.dim_param:
                named[dim.dim_param] = size
            dim.dim_value = size
    return named


def _count(graph: Graph, node: onnx.NodeProto) -> int | str:
    """Return the number, or why it is not known."""
    convolution = operator(node) in {"Conv", "ConvTranspose", "ConvInteger"}
    # Each value of a ConvTranspose's input meets its share of the kernel; elsewhere each of the output has one sum.
    sized = node.input[0] if operator(node) == "ConvTranspose" else node.output[0]
    summed = node.input[1] if convolution else node.input[0]
    found = []
    for name in (sized, summed):
        sizes = _sizes(graph.shape(name))
        if sizes is None:
            return f"the shape of '{name}' is not known: {_shown(graph.shape(name))}"
        found.append(sizes)
    values, other = found
    return prod(values) * (prod(other[1:]) if convolution else other[_summed_axis(node)])


def _sizes(shape: Shape | None) -> tuple[int, ...] | None:
    sizes = tuple(size for size in shape or () if isinstance(size, int))
    return sizes if shape is not None and len(sizes) == len(shape) else None


def _shown(shape: Shape | None) -> str:
    return "not even its rank" if shape is None else f"{list(shape)}; give the shapes of the inputs"


def _summed_axis(node: onnx.NodeProto) -> int:
    return 0 if operator(node) == "Gemm" and attribute(node, "transA", 0) else -1
