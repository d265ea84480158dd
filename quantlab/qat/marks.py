"""Marks on the edges of a traced graph: which tensor of an ONNX model is which value of the graph."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import fx, nn

from quantlab.graph.model import Model, load_model
from quantlab.graph.normalise import normalise
from quantlab.qat.export_example import Example
from quantlab.qat.mark_operator import exported_unmarked
from quantlab.qat.onnx_export import ExportOptions
from quantlab.qat.tracing import Edge, edges, set_edges


@dataclass(frozen=True, slots=True)
class Marked:
    """A normalised ONNX model of a traced graph, and where the edges of the graph are in it.

    Attributes
    ----------
    model
        Without marks.
    operands
        (node, input index) of the model → the edge of the graph whose value it reads; the first input of a node that
        an edge goes to directly, without an ONNX node between.
    """

    model: Model
    operands: Mapping[tuple[str, int], Edge]


def marked_export(
    module: fx.GraphModule, example: Example, names: Collection[str], *, options: ExportOptions
) -> Marked:
    """Export a traced graph with a mark on every edge that carries one of the values `names`.

    Raises
    ------
    InputError, MachineError, UsageError
        As `quantlab.qat.export`.
    """
    return exported_with_marks(_with_marks(module, frozenset(names)), example, options=options)


def exported_with_marks(marked: nn.Module, example: Example, *, options: ExportOptions) -> Marked:
    """Export a module that marks its values itself; the text of a mark is «node:index» of an edge."""
    found = exported_unmarked(marked, example, options=options)
    model = normalise(load_model(found.proto)).model
    reads = {(node.name, i) for node in model.proto.graph.node for i in range(len(node.input))}
    return Marked(model, {place: _edge(text) for place, text in found.operands.items() if place in reads})


def _with_marks(module: fx.GraphModule, names: frozenset[str]) -> fx.GraphModule:
    """Return a copy that shares the parameters."""
    graph = copy.deepcopy(module.graph)
    for node in list(graph.nodes):
        changed = {}
        for edge, read in list(edges(node)):
            if read.name in names and node.op != "output":
                with graph.inserting_before(node):
                    text = f"{edge.node}:{edge.index}"
                    changed[edge.index] = graph.call_function(torch.ops.quantlab.mark.default, (read, text))
        if changed:
            set_edges(node, changed)
    marked = fx.GraphModule(module, graph)
    marked.training = module.training
    return marked


def _edge(text: str) -> Edge:
    name, _, index = text.rpartition(":")
    return Edge(name, int(index))
