"""Runs a network piece by piece over samples that are kept: each piece starts from what earlier ones left in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from quantlab.engines.onnx_runtime import Network, OrtEngine
from quantlab.engines.ort_session import OrtOptions
from quantlab.graph.patterns import ACTIVATIONS, MOVES
from quantlab.graph.view import Graph, captured, operator
from quantlab.numerics.arrays import AnyArray, Tensors

SizeOf = Callable[[str], int]
"""Tensor → bytes a sample."""

_CHEAP = MOVES | ACTIVATIONS | {"QuantizeLinear", "DequantizeLinear", "Pad"}
"""Operators that may run twice: what they read is kept where it is smaller than what they write."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One piece of a network.

    Attributes
    ----------
    reads
        Tensors in memory that the piece starts from.
    nodes
        What it runs, in graph order.
    wanted
        Tensors that are asked for.
    keeps, drops
        Tensors that stay in memory after it, and those no later piece needs.
    """

    reads: tuple[str, ...]
    nodes: tuple[onnx.NodeProto, ...]
    wanted: tuple[str, ...]
    keeps: tuple[str, ...]
    drops: tuple[str, ...]


def pieces(graph: Graph, wanted: Sequence[tuple[str, ...]], size: SizeOf, largest: int) -> tuple[Piece, ...]:
    """Cut a graph so that the i-th piece delivers the tensors `wanted[i]`.

    What a later piece needs is kept if it has at most `largest` bytes a sample, and computed again otherwise, from
    what was kept before it.
    """
    kept, ran = set(graph.inputs), set[int]()
    found = []
    for i, targets in enumerate(wanted):
        reads, closure = _closure(graph, targets, kept)
        ran |= closure
        new = set() if i + 1 == len(wanted) else _boundary(graph, closure, ran, targets)
        keeps = {_cheapest(graph, t, closure, size) for t in new} - kept
        keeps = {t for t in keeps if graph.position(t) in closure and size(t) <= largest}
        after = kept | keeps
        later = [t for targets in wanted[i + 1 :] for t in targets]
        needed, _ = _closure(graph, later, after)
        nodes = tuple(graph.nodes[j] for j in sorted(closure))
        keeps &= needed
        found.append(Piece(tuple(sorted(reads)), nodes, targets, tuple(sorted(keeps)), tuple(sorted(kept - needed))))
        kept = after & needed
    return tuple(found)


def peak(graph: Graph, cut: Iterable[Piece], size: SizeOf) -> int:
    """Return the most bytes a sample that are in memory at once."""
    live = most = sum(size(t) for t in graph.inputs)
    for piece in cut:
        live += sum(size(t) for t in piece.keeps)
        most = max(most, live)
        live -= sum(size(t) for t in piece.drops)
    return most


class Side:
    """One of the two networks on the walk: its constants may change until the piece that reads them runs.

    Parameters
    ----------
    graph
        Its graph.
    cut
        Its pieces, run in this order.
    batches
        All samples; they stay in memory.
    options
        How ONNX Runtime runs it.
    """

    def __init__(self, graph: Graph, cut: Sequence[Piece], batches: Sequence[Tensors], options: OrtOptions) -> None:
        self._graph = graph
        self._pieces = iter(cut)
        self._options = options
        self._changed: dict[str, AnyArray] = {}
        self._live: list[dict[str, AnyArray]] = [dict(batch) for batch in batches]

    def change(self, constants: Mapping[str, AnyArray]) -> None:
        """Give constants new values in all pieces to come."""
        self._changed.update(constants)

    def advance(self) -> Iterator[Tensors]:
        """Run the next piece; yield the tensors wanted of it, batch by batch, to be copied where they are kept."""
        piece = next(self._pieces)
        fetched = tuple(dict.fromkeys(t for t in (*piece.wanted, *piece.keeps) if t not in piece.reads))
        engine = self._open(piece, fetched) if fetched else None
        for live in self._live:
            known = live | (dict(engine.run({t: live[t] for t in piece.reads})) if engine else {})
            live.update({t: known[t].copy() for t in piece.keeps})
            for tensor in piece.drops:
                del live[tensor]
            yield {t: known[t] for t in piece.wanted}  # last, since nobody need ask for what comes after the last batch

    def _open(self, piece: Piece, fetched: tuple[str, ...]) -> OrtEngine:
        names = dict.fromkeys(t for node in piece.nodes for t in (*node.input, *captured(node)))
        constants = [self._constant(t) for t in names if t and self._graph.is_constant(t)]
        inputs = [self._info(t, self._live[0][t].ndim) for t in piece.reads]
        outputs = [self._info(t, None) for t in fetched]
        graph = onnx.helper.make_graph(list(piece.nodes), "piece", inputs, outputs, constants)
        whole = self._graph.proto
        proto = onnx.helper.make_model(graph, opset_imports=whole.opset_import, ir_version=whole.ir_version)
        proto.functions.extend(whole.functions)
        return OrtEngine(Network(proto, "", "a piece of the model"), options=self._options)

    def _constant(self, name: str) -> onnx.TensorProto:
        value = self._changed.get(name)
        if value is None:
            value = self._graph.constant(name)
        return numpy_helper.from_array(np.asarray(value), name)

    def _info(self, name: str, rank: int | None) -> onnx.ValueInfoProto:
        shape = None if rank is None else [f"{name} {axis}" for axis in range(rank)]
        return onnx.helper.make_tensor_value_info(name, self._graph.element_type(name), shape)


def _closure(graph: Graph, targets: Iterable[str], kept: set[str]) -> tuple[set[str], set[int]]:
    """Return the kept tensors that the targets follow from, and the positions of the nodes between."""
    waiting, reads, nodes = list(targets), set[str](), set[int]()
    while waiting:
        tensor = waiting.pop()
        if tensor in kept:
            reads.add(tensor)
            continue
        position = graph.position(tensor)
        if position < 0 or position in nodes:
            continue
        nodes.add(position)
        node = graph.nodes[position]
        waiting += [t for t in (*node.input, *captured(node)) if t]
    return reads, nodes


def _boundary(graph: Graph, closure: set[int], ran: set[int], targets: Iterable[str]) -> set[str]:
    """Return the tensors of the piece that are read by nodes no piece has run."""
    outputs = {t for i in closure for t in graph.nodes[i].output if t}
    unread = {t for t in outputs if any(graph.position(_first(use.node)) not in ran for use in graph.consumers(t))}
    return unread | (set(targets) & outputs)


def _first(node: onnx.NodeProto) -> str:
    return next(t for t in node.output if t)


def _cheapest(graph: Graph, tensor: str, closure: set[int], size: SizeOf) -> str:
    """Return the smallest tensor from which `tensor` follows through cheap operators; itself, if it is."""
    best = tensor
    while graph.position(tensor) in closure:
        node = graph.nodes[graph.position(tensor)]
        data = [t for t in node.input if t and not graph.is_constant(t)]
        if operator(node) not in _CHEAP or len(data) != 1:
            break
        tensor = data[0]
        if size(tensor) < size(best):
            best = tensor
    return best


def tensor_sizes(graph: Graph, batch: Tensors, samples: int, options: OrtOptions) -> dict[str, int]:
    """Return the bytes a sample of every float activation, found by running one batch of `samples`."""
    network = Network(graph.proto, "", "the model")
    with OrtEngine(network, outputs=graph.float_activations(), options=options) as engine:
        return {name: -(-values.nbytes // samples) for name, values in engine.run(batch).items()}
