"""The places of Q/DQ, found on the ONNX model, carried back to the edges of the traced graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from quantlab.graph.patterns import WEIGHTED, moves
from quantlab.graph.placement import Place, Placement, WeightSite
from quantlab.graph.view import Graph, operator
from quantlab.numerics.arrays import AnyArray
from quantlab.qat.marks import Marked
from quantlab.qat.matching import Alignment
from quantlab.qat.tracing import Edge

_READ_NO_VALUES = frozenset({"Shape", "Size"})


@dataclass(frozen=True, slots=True)
class ActivationEdges:
    """The edges that carry the dequantized value of one ONNX tensor."""

    tensor: str
    edges: tuple[Edge, ...]
    output: int | None = None


@dataclass(frozen=True, slots=True)
class WeightEdges:
    """The edges that carry the dequantized value of one ONNX weight.

    Attributes
    ----------
    site
        Of the placement.
    edges
        Where the traced graph reads it.
    axis
        The channels' axis of the value there; that of the site if ONNX stores it in the same way.
    """

    site: WeightSite
    edges: tuple[Edge, ...]
    axis: int | None


@dataclass(frozen=True, slots=True)
class Places:
    """Where quantizers sit in a traced graph, and the ONNX nodes and operands that have no counterpart there.

    Attributes
    ----------
    activations, weights
        In graph order.
    unmatched
        Node, or «tensor» at «node», → why nothing is quantized there.
    layers
        The weighted nodes among them.
    """

    activations: tuple[ActivationEdges, ...]
    weights: tuple[WeightEdges, ...]
    unmatched: Mapping[str, str]
    layers: frozenset[str]


@dataclass(frozen=True, slots=True)
class Traced:
    """What is known of a traced graph.

    Attributes
    ----------
    marked, graph
        Its ONNX model with the marks, and the index of that model.
    alignment
        How the reference stands to that model.
    constants
        The values that do not depend on the inputs, by the edge that reads them.
    readers
        The edges among them of each node.
    """

    marked: Marked
    graph: Graph
    alignment: Alignment
    constants: Mapping[Edge, AnyArray]
    readers: Mapping[str, tuple[Edge, ...]]

    def stored(self, place: Place) -> AnyArray | None:
        """Return the constant that the marked model has at one operand of the reference."""
        name = self.alignment.operands.get(place)
        return None if name is None else self.graph.constant(name)

    @property
    def operands(self) -> dict[Place, Edge]:
        """The operands of the reference that an edge goes to directly."""
        names = {theirs: ours for ours, theirs in self.alignment.nodes.items()}
        found = self.marked.operands.items()
        return {(names[node], index): edge for (node, index), edge in found if node in names}

    def edge(self, place: Place) -> Edge | None:
        """Return the edge at one operand of the reference."""
        node = self.alignment.nodes.get(place[0])
        return None if node is None else self.marked.operands.get((node, place[1]))


def carry(graph: Graph, placement: Placement, traced: Traced) -> Places:
    """Find the edges at which the traced graph reads what the placement quantizes.

    An operand counts as found if the edge there is read by no ONNX node that the placement leaves in float.
    """
    unmatched: dict[str, str] = {}
    kinds = {node.name: operator(node) for node in graph.nodes}
    layers: set[str] = set()

    def miss(place: Place, tensor: str, reason: str) -> None:
        if kinds[place[0]] in WEIGHTED:
            layers.add(place[0])
            unmatched[place[0]] = f"the {kinds[place[0]]} {reason}"
        else:
            unmatched[f"«{tensor}» at «{place[0]}»"] = f"the {kinds[place[0]]} {reason}"

    behind: dict[Edge, set[Place]] = {}
    for operand, read in traced.operands.items():
        behind.setdefault(read, set()).add(operand)
    activations = []
    passed = _passed_on(graph, placement)
    for site in placement.activations.values():
        found = []
        for use in site.uses:
            edge = traced.edge(use)
            if edge is None and (use in passed or kinds[use[0]] in _READ_NO_VALUES):
                continue
            if edge is None:
                miss(use, site.tensor, "lies inside an operator that the traced graph has as one")
            elif not behind[edge] <= set(site.uses):
                miss(use, site.tensor, "shares its operand with one that stays in float")
            else:
                found.append(edge)
        output = graph.outputs.index(site.tensor) if site.output else None
        activations.append(ActivationEdges(site.tensor, tuple(dict.fromkeys(found)), output))
    weights = tuple(_weight(site, traced, miss) for several in placement.weights.values() for site in several)
    return Places(tuple(activations), weights, unmatched, frozenset(layers))


def _passed_on(graph: Graph, placement: Placement) -> frozenset[Place]:
    """Return the operands of operators that only move values, whose result is quantized at the same scale for all readers.

    Rounding what was rounded at the same scale changes nothing, so one of the two quantizers is enough.
    """
    found: set[Place] = set()
    for node in reversed(graph.nodes):
        site = placement.activations.get(node.output[0])
        if site is None or site.shares is None or not moves(graph, node):
            continue
        uses = {(use.node.name, use.input_index) for use in graph.consumers(node.output[0])}
        if uses <= set(site.uses) and not graph.is_output(node.output[0]):
            found.add((node.name, 0))
    return frozenset(found)


def _weight(site: WeightSite, traced: Traced, miss: Callable[[Place, str, str], None]) -> WeightEdges:
    found: list[Edge] = []
    axis = site.axis
    for use in site.uses:
        other, value = traced.edge((use[0], 1 - use[1])), traced.stored(use)
        candidates = () if other is None or value is None else traced.readers.get(other.node, ())
        fits = [(edge, turned) for edge in candidates for turned in stands_for(traced.constants[edge], value)]
        if not fits:
            if other is not None:  # else the node is listed for its activation already
                miss(use, site.weight, "has a weight that the traced graph computes in another shape")
            continue
        edge, turned = fits[0]
        found.append(edge)
        axis = 1 - site.axis if turned and site.axis is not None else site.axis
    return WeightEdges(site, tuple(dict.fromkeys(found)), axis)


def stands_for(ours: AnyArray, stored: AnyArray | None) -> list[bool]:
    """Return [whether it is stored transposed] if an array of the traced graph is a weight of the model; else []."""
    if stored is None:
        return []
    if ours.shape == stored.shape and _close(ours, stored):
        return [False]
    return [True] if ours.ndim == 2 and ours.T.shape == stored.shape and _close(ours.T, stored) else []


def _close(one: AnyArray, other: AnyArray) -> bool:
    size = float(np.abs(other).max(initial=0.0))
    return bool(np.allclose(one, other, rtol=1e-4, atol=1e-5 * size))
