"""What TensorRT would have run in INT8 with the cache (implicit) and does not with Q/DQ (explicit), and why."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import onnx

from quantlab.graph.model import Model
from quantlab.graph.normalise import normalise
from quantlab.graph.patterns import ACTIVATIONS, JOINS, WEIGHTED, Fusion, averages, fusion, moves, source, weight_index
from quantlab.graph.placement import Head, Placement, place
from quantlab.graph.target import Target
from quantlab.graph.view import Graph, operator

_WITH_KERNEL = (
    ACTIVATIONS | JOINS | {"AveragePool", "BatchNormalization", "Concat", "Div", "GlobalAveragePool", "MaxPool"}
)
"""Operators that are no weighted ones and that TensorRT ≤ 10 may run in INT8 without Q/DQ (its support matrix)."""


@dataclass(frozen=True, slots=True)
class CoverageRow:
    """One operator.

    Attributes
    ----------
    node, operator
        Its name and type.
    implicit, explicit
        Whether it may run in INT8 with the cache, and whether it does with Q/DQ.
    reason
        Why the two differ; empty where they do not.
    """

    node: str
    operator: str
    implicit: bool
    explicit: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Coverage:
    """A row for each operator that computes floats of the input, in graph order."""

    rows: tuple[CoverageRow, ...]
    target: str

    @property
    def lost(self) -> tuple[CoverageRow, ...]:
        """The operators that implicit quantization may run in INT8 and explicit does not."""
        return tuple(row for row in self.rows if row.implicit and not row.explicit)

    @property
    def counts(self) -> dict[str, int]:
        """Operators; those in INT8 on either road; and those lost."""
        return {
            "operators": len(self.rows),
            "implicit": sum(row.implicit for row in self.rows),
            "explicit": sum(row.explicit for row in self.rows),
            "lost": len(self.lost),
        }


def coverage(model: Model, scaled: Collection[str], *, target: Target, head: Head = "float") -> Coverage:
    """Compare both roads operator by operator, from the rules alone; no runtime is asked.

    Implicit quantization may choose an INT8 kernel where one exists and all that the kernel reads and writes has a
    scale; TensorRT measures and may decide otherwise, so `implicit` is an upper bound. Explicit quantization runs in INT8
    what the placement's Q/DQ surround.

    Parameters
    ----------
    model
        The float model.
    scaled
        The tensors that the cache has a scale for.
    target, head
        As for `quantize`.

    Raises
    ------
    InputError
        The model has Q/DQ, or cannot be normalised.
    """
    normal = normalise(model)
    graph = Graph(normal.model.proto)
    aliases = normal.all_aliases
    named = {aliases.get(name, name) for name in scaled}
    known = {t for t in graph.tensors() if t in named or source(graph, t) in named}
    lost = frozenset(t for t in place(graph, target, head=head).tensors if t not in known)
    explicit = _explicit(graph, place(graph, target, head=head, without=lost))
    implicit = _implicit(graph, known)
    floats = set(graph.float_activations())
    rows = []
    for node in graph.nodes:
        if floats.isdisjoint(node.output):
            continue
        one, (two, reason) = node.name in implicit, explicit.get(node.name, (False, "it has no Q/DQ"))
        rows.append(CoverageRow(node.name, operator(node), one, two, reason if one != two else ""))
    return Coverage(tuple(rows), str(target))


def _implicit(graph: Graph, known: Collection[str]) -> frozenset[str]:
    floats = set(graph.float_activations())
    found: set[str] = set()
    inside: set[str] = set()
    for node in graph.nodes:
        if operator(node) in WEIGHTED and weight_index(graph, node) is not None and node.name not in inside:
            kernel = fusion(graph, node)
            inside.update(n.name for n in kernel.nodes)
            borders = {t for n in kernel.nodes for t in (*n.input, *n.output) if t in floats} - set(kernel.inner)
            if _all_known(graph, borders, known):
                found.update(n.name for n in kernel.nodes)
    for node in graph.nodes:
        borders = {t for t in (*node.input, *node.output) if t in floats}
        kind = operator(node) in _WITH_KERNEL or moves(graph, node) or averages(graph, node)
        if kind and node.name not in inside and borders and _all_known(graph, borders, known):
            found.add(node.name)
    return frozenset(found)


def _all_known(graph: Graph, tensors: Collection[str], known: Collection[str]) -> bool:
    # An output of the network stays float, so its scale has no say.
    return all(t in known or (graph.is_output(t) and not graph.consumers(t)) for t in tensors)


def _explicit(graph: Graph, placement: Placement) -> dict[str, tuple[bool, str]]:
    found: dict[str, tuple[bool, str]] = {}
    weighted = {place_[0] for sites in placement.weights.values() for site in sites for place_ in site.uses}
    kernels = {node.name: fusion(graph, node) for node in graph.nodes if node.name in weighted}
    for kernel in kernels.values():
        found.update({n.name: (True, "") for n in kernel.nodes})
    _float_kernels(graph, placement, found)
    uses = {use for site in placement.activations.values() for use in site.uses}
    floats = set(graph.float_activations())
    for node in graph.nodes:
        if node.name in found:
            continue
        operands = [(node.name, i) for i, t in enumerate(node.input) if t in floats]
        reads = bool(operands) and all(operand in uses for operand in operands)
        writes = all(t in placement.activations for t in node.output if t in floats)
        if reads and writes:
            found[node.name] = True, ""
        else:
            found[node.name] = False, _reason(node, placement, reads=reads)
    return found


def _float_kernels(graph: Graph, placement: Placement, found: dict[str, tuple[bool, str]]) -> None:
    """Note for weighted operators that stay float, and what shares their kernels, why."""
    for node in graph.nodes:
        if operator(node) in WEIGHTED and node.name not in found:
            reason = placement.floats.get(node.name, "it has no Q/DQ")
            kernel: Fusion = fusion(graph, node)
            found.update({n.name: (False, reason) for n in kernel.nodes if n.name not in found})


def _reason(node: onnx.NodeProto, placement: Placement, *, reads: bool) -> str:
    floats: Mapping[str, str] = placement.floats
    tensors = node.output if reads else node.input
    for tensor in tensors:
        if tensor in floats:
            side = "output" if reads else "input"
            return f"its {side} '{tensor}' stays float: {floats[tensor]}"
    return "what it reads stays float here" if not reads else "nothing that reads it is INT8"
