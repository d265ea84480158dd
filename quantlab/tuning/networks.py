"""The two networks of a walk, FP32 and simulated INT8, and what is asked of them at each weighted operator."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import onnx

from quantlab.builder import QuantizeOptions
from quantlab.calibration.scale_table import ScaleTable
from quantlab.calibration.weight_methods import WeightMethod
from quantlab.graph.biases import Bias, biases, with_biases
from quantlab.graph.model import Model
from quantlab.graph.patterns import activation, moves, source
from quantlab.graph.placement import Placement, WeightSite, place
from quantlab.graph.qdq import insert_qdq
from quantlab.graph.site_params import missing
from quantlab.graph.target import Target
from quantlab.graph.view import Graph, operator
from quantlab.tuning.weighted import Weighted

_EVERYWHERE = (-np.inf, np.inf)


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One operator of the walk.

    Attributes
    ----------
    op
        The operator.
    bias
        Where its bias is; None: it can have none.
    target
        The FP32 tensor that holds W·x + b.
    operand
        Its input in the INT8 network: dequantized values.
    bare
        The same input before it is quantized, past the operators that move values.
    quantized
        The tensor whose scale decides over the operand.
    bounds
        Between which values the activation function behind it passes its input on.
    """

    op: Weighted
    bias: Bias | None
    target: str
    operand: str
    bare: str
    quantized: str
    bounds: tuple[float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Networks:
    """Both networks, the steps in graph order, and why other quantized operators are left out.

    Attributes
    ----------
    model
        The float model with a bias constant of its own at each operator that can have one.
    graph, simulated
        FP32; and the same with Q/DQ at the activations and at the weights of skipped operators; the other weights
        are still float.
    placement
        Where Q/DQ goes.
    weight_method
        Scales of weights without a row; None: of the largest magnitudes.
    """

    model: Model
    graph: Graph
    simulated: Graph
    placement: Placement
    weight_method: WeightMethod | None
    steps: tuple[Step, ...]
    skipped: Mapping[str, str]

    @classmethod
    def of(cls, model: Model, table: ScaleTable, options: QuantizeOptions) -> Networks:
        """Prepare both networks of a normalised model.

        Raises
        ------
        InputError
            The table lacks tensors or has rows that the target refuses.
        """
        places = biases(model).found
        model = with_biases(model, {name: places[name].value for name in _quantized(model, table, options, places)})
        places, graph = biases(model).found, Graph(model.proto)
        placement = _placement(graph, table, options)
        ops, skipped = _operators(graph, placement)
        others = MappingProxyType(_weights_of(placement, skipped))  # those that are corrected are given to Side.change
        chosen = replace(placement, weights=others)
        proto = insert_qdq(model, table, chosen, weight_method=options.weight_method).proto
        bare = _with_bare_operands(proto, graph, (op.node for op in ops))
        simulated = Graph(proto)
        nodes = {node.name: node for node in simulated.nodes}
        steps = []
        for op in ops:
            name, bias = op.node.name, places.get(op.node.name)
            target, operand = bias.output if bias else op.node.output[0], nodes[name].input[0]
            quantized = source(graph, op.node.input[0])
            steps.append(Step(op, bias, target, operand, bare[name], quantized, _bounds(graph, target)))
        method = options.weight_method
        return cls(model, graph, simulated, placement, method, tuple(steps), MappingProxyType(skipped))


def quantizers(networks: Networks, tensor: str) -> tuple[onnx.NodeProto, ...]:
    """Return the QuantizeLinear of a tensor and of those that share its scale; none if its scale is not its own."""
    placement, graph = networks.placement, networks.simulated
    site = placement.activations.get(tensor)
    family = _family(placement, tensor)
    tied = any(set(family) & set(group) and not set(group) <= set(family) for group in placement.groups)
    if site is None or site.shares or tied or any(placement.activations[name].output for name in family):
        return ()
    readers = (use.node for name in family for use in graph.consumers(name))
    return tuple(node for node in readers if operator(node) == "QuantizeLinear")


def readers(networks: Networks, tensor: str) -> int:
    """Return how many operands see the values of a tensor at its scale; operators that move values do not count."""
    graph, placement = networks.graph, networks.placement
    uses = {use for name in _family(placement, tensor) for use in placement.activations[name].uses}
    movers = {node.name for node in graph.nodes if moves(graph, node)}
    return sum(name not in movers for name, _ in uses)


def _family(placement: Placement, tensor: str) -> tuple[str, ...]:
    return tuple(name for name, site in placement.activations.items() if tensor in (name, site.shares))


def _placement(graph: Graph, table: ScaleTable, options: QuantizeOptions) -> Placement:
    """Return the placement as `quantize` makes it."""
    rows = {row.tensor: row for row in table.rows if row.role != "weight"}
    target, lost = Target.parse(options.target), frozenset[str]()
    placement = place(graph, target, head=options.head, keep=options.keep_float)
    while options.allow_missing and (absent := missing(rows, placement)):
        lost |= frozenset(absent)
        placement = place(graph, target, head=options.head, without=lost, keep=options.keep_float)
    return placement


def _quantized(model: Model, table: ScaleTable, options: QuantizeOptions, among: Mapping[str, Bias]) -> tuple[str, ...]:
    placement = _placement(Graph(model.proto), table, options)
    names = {name for sites in placement.weights.values() for site in sites for name, _ in site.uses}
    return tuple(name for name in among if name in names)


def _operators(graph: Graph, placement: Placement) -> tuple[list[Weighted], dict[str, str]]:
    """Return the operators that can be corrected, in graph order, and why the other quantized ones cannot."""
    axes = {use[0]: site.axis for sites in placement.weights.values() for site in sites for use in site.uses}
    found, skipped = [], {}
    for node in graph.nodes:
        if node.name not in axes:
            continue
        op = Weighted.of(graph, node)
        if isinstance(op, str):
            skipped[node.name] = op
        elif axes[node.name] != op.channel_axis:
            skipped[node.name] = "it has one scale for all channels"
        else:
            found.append(op)
    return found, skipped


def _weights_of(placement: Placement, nodes: Collection[str]) -> dict[str, tuple[WeightSite, ...]]:
    """Return the weight sites of these nodes alone."""
    kept = {
        name: tuple(replace(s, uses=tuple(use for use in s.uses if use[0] in nodes)) for s in sites)
        for name, sites in placement.weights.items()
    }
    some = {name: tuple(site for site in sites if site.uses) for name, sites in kept.items()}
    return {name: sites for name, sites in some.items() if sites}


def _bounds(graph: Graph, tensor: str) -> tuple[float, float]:
    nodes = activation(graph, tensor)
    if len(nodes) != 1 or operator(nodes[0]) not in {"Relu", "Clip"}:
        return _EVERYWHERE
    if operator(nodes[0]) == "Relu":
        return 0.0, np.inf
    limits = [graph.constant(name) if name else None for name in (*nodes[0].input[1:], "", "")]
    if any(name and limit is None for name, limit in zip(nodes[0].input[1:], limits, strict=False)):
        return _EVERYWHERE  # bounds that are computed
    low, high = (None if limit is None else float(limit) for limit in limits[:2])
    return (-np.inf if low is None else low), (np.inf if high is None else high)


def _with_bare_operands(proto: onnx.ModelProto, graph: Graph, nodes: Iterable[onnx.NodeProto]) -> dict[str, str]:
    """Add to `proto`, for each node, its input as it would be without quantization; return the names by node.

    Operators that only move values are repeated behind the float tensor.
    """
    taken, found, made = {t for node in proto.graph.node for t in node.output}, {}, dict[str, str]()
    for node in nodes:
        chain, tensor = [], node.input[0]
        while tensor != source(graph, node.input[0]):
            producer = graph.producer(tensor)
            assert producer is not None
            chain.append(producer)
            tensor = producer.input[0]
        for moving in reversed(chain):
            if moving.output[0] not in made:
                copy = onnx.NodeProto()
                copy.CopyFrom(moving)
                copy.name = ""
                copy.input[0] = made.get(moving.input[0], moving.input[0])
                copy.output[:] = [_new(f"{name}_bare", taken) if name else "" for name in moving.output]
                made |= dict(zip(moving.output, copy.output, strict=True))
                proto.graph.node.append(copy)
        found[node.name] = made.get(node.input[0], node.input[0])
    return found


def _new(wish: str, taken: set[str]) -> str:
    name, number = wish, 1
    while name in taken:
        name, number = f"{wish}_{number}", number + 1
    taken.add(name)
    return name
