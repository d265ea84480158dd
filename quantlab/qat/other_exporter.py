"""A trained module written by the other of torch's exporters, with the names it had in the first one's model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import onnx
from torch import fx, nn

from quantlab.errors import InputError
from quantlab.graph.model import Model, load_model
from quantlab.graph.patterns import WEIGHTED, weight_index
from quantlab.graph.placement import Place, WeightSite, place
from quantlab.graph.target import Target
from quantlab.graph.view import Graph, operator
from quantlab.qat.fake_quant import FakeQuantize
from quantlab.qat.follow import marked_again
from quantlab.qat.marks import Marked
from quantlab.qat.onnx_export import ExportOptions
from quantlab.qat.prepared import Prepared
from quantlab.qat.tracing import Edge


def through_other(prepared: Prepared, plain: nn.Module, options: ExportOptions) -> Model:
    """Return the trained module as the exporter of `options` writes it, normalised.

    Tensors that an edge of the traced graph carries, weighted nodes and their weights get the names they have in
    `prepared.float_model`; what the other exporter makes in other steps keeps its own.

    Raises
    ------
    InputError
        When the module is followed through its calls only, or torch's exporter fails.
    """
    if not isinstance(plain, fx.GraphModule):
        raise InputError(
            "A module that neither torch.fx nor torch.export follows can be exported with the exporter it was prepared with "
            f"only: exporter={prepared.options.exporter!r}."
        )
    marked = marked_again(plain, prepared.example, options)
    tensors, nodes = _names(Graph(prepared.float_model.proto), prepared.operands, marked)
    return load_model(_renamed(marked.model.proto, tensors, nodes))


def weights_of(prepared: Prepared, model: Model) -> Iterator[tuple[WeightSite, FakeQuantize]]:
    """Yield the places of weights in a model that `through_other` returned, with their quantizers."""
    graph = Graph(model.proto)
    by_node = {use[0]: q for site, q in prepared.own.weights.items() for use in site.uses}
    target, kept = Target.parse(prepared.options.target), prepared.placement.kept
    placement = place(graph, target, head=prepared.options.head, keep=kept)
    for site in (site for several in placement.weights.values() for site in several):
        quantizer = by_node.get(site.uses[0][0])
        if quantizer is not None:
            yield site, quantizer


def _names(reference: Graph, operands: Mapping[Place, Edge], marked: Marked) -> tuple[dict[str, str], dict[str, str]]:
    """Return new names of tensors and of nodes."""
    ours = {node.name: node for node in reference.nodes}
    by_edge: dict[Edge, list[Place]] = {}
    for found, edge in operands.items():
        by_edge.setdefault(edge, []).append(found)
    graph = Graph(marked.model.proto)
    theirs = {node.name: node for node in graph.nodes}
    fixed = {*graph.inputs, *graph.outputs}
    tensors: dict[str, str] = {}
    nodes: dict[str, str] = {}
    for (name, index), edge in marked.operands.items():
        for one, at in by_edge.get(edge, ()):
            tensor = theirs[name].input[index]
            if tensor not in fixed:
                tensors.setdefault(tensor, ours[one].input[at])
            if operator(theirs[name]) in WEIGHTED and operator(ours[one]) in WEIGHTED:
                nodes.setdefault(name, one)
                tensors |= _constants(graph, theirs[name], reference, ours[one])
    return tensors, nodes


def _constants(graph: Graph, node: onnx.NodeProto, reference: Graph, other: onnx.NodeProto) -> dict[str, str]:
    """Return the names of weight and bias."""
    found = {}
    mine, theirs = weight_index(graph, node), weight_index(reference, other)
    if mine is not None and theirs is not None:
        found[node.input[mine]] = other.input[theirs]
    if len(node.input) > 2 and len(other.input) > 2 and graph.is_constant(node.input[2]):
        found[node.input[2]] = other.input[2]
    return found


def _renamed(proto: onnx.ModelProto, tensors: Mapping[str, str], nodes: Mapping[str, str]) -> onnx.ModelProto:
    """Return a copy with new names, but for those that something else has already."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    graph = copy.graph
    taken = {name for node in graph.node for name in (*node.input, *node.output)}
    free: dict[str, str] = {}
    for old, new in tensors.items():
        if new not in taken:
            free[old] = new
            taken.add(new)
    names = {node.name for node in graph.node}
    for node in graph.node:
        node.input[:] = [free.get(name, name) for name in node.input]
        node.output[:] = [free.get(name, name) for name in node.output]
        if nodes.get(node.name, node.name) not in names:
            names.add(nodes[node.name])
            node.name = nodes[node.name]
    for value in (*graph.initializer, *graph.value_info):
        value.name = free.get(value.name, value.name)
    return copy
