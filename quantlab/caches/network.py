"""What a network says about its calibration cache: which tensors need a scale, hold the same values, or have a bound."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import onnx

from quantlab.caches.tensors import CacheTensors, observable
from quantlab.graph.model import Model
from quantlab.graph.normalise import normalise
from quantlab.graph.patterns import WEIGHTED, averages, fusion, moves, source
from quantlab.graph.placement import place
from quantlab.graph.target import Target
from quantlab.graph.view import Graph, operator

_IMPLICIT = Target((8, 6))
_UP_TO_ONE = frozenset({"Cos", "Erf", "HardSigmoid", "Sigmoid", "Sin", "Softmax", "Softsign", "Tanh"})


@dataclass(frozen=True, slots=True)
class CacheNetwork:
    """A float model as the reader of a calibration cache.

    Attributes
    ----------
    graph
        The normalised model.
    tensors
        What TensorRT looks up, and other names of it.
    known
        Every name that the user's file has, constants included: calibrators before fusion write keys for all.
    aliases
        The user's name of a tensor that normalising removed → the tensor that holds its values.
    needed
        Tensors at the borders of INT8 kernels; without a scale there, the kernel runs in float.
    inner
        Tensors inside one kernel, whose scale nobody reads.
    bounds
        Tensor → magnitude that its values cannot exceed, where the operators tell.
    """

    graph: Graph
    tensors: CacheTensors
    known: frozenset[str]
    aliases: Mapping[str, str]
    needed: frozenset[str]
    inner: frozenset[str]
    bounds: Mapping[str, float]

    @classmethod
    def of(cls, model: Model) -> CacheNetwork:
        """Read a float model.

        Raises
        ------
        InputError
            The model has Q/DQ, or cannot be normalised.
        """
        normal = normalise(model)
        graph = Graph(normal.model.proto)
        placement = place(graph, _IMPLICIT, head="int8")
        kernels = [fusion(graph, node) for node in graph.nodes if operator(node) in WEIGHTED]
        names = frozenset((*_names(model.proto.graph), *graph.tensors(), *graph.initializers))
        return cls(
            graph,
            observable(graph, normal.all_aliases),
            names,
            MappingProxyType(normal.all_aliases),
            frozenset(placement.activations),
            frozenset(t for kernel in kernels for t in kernel.inner),
            MappingProxyType(_bounds(graph)),
        )

    def scales(self, scales: Mapping[str, float]) -> dict[str, float]:
        """Return the scales by the names of `graph`, under whatever name of a tensor the cache has them."""
        found = {name: scale for name, scale in scales.items() if name not in self.aliases}
        for name, scale in scales.items():
            found.setdefault(self.aliases.get(name, name), scale)
        return found

    def passes(self) -> Iterator[tuple[onnx.NodeProto, str, str]]:
        """Yield (node, tensor, tensor) for all operators whose output holds nothing but values of the input."""
        for node in self.graph.nodes:
            if node.input and moves(self.graph, node):
                yield from ((node, node.input[0], output) for output in node.output if self._is_float(output))

    def joins(self) -> Iterator[tuple[onnx.NodeProto, str, str]]:
        """Yield (node, input, output) for each input of a Concat that is no constant."""
        for node in self.graph.nodes:
            if operator(node) == "Concat" and self._is_float(node.output[0]):
                yield from ((node, t, node.output[0]) for t in node.input if not self.graph.is_constant(t))

    def root(self, tensor: str) -> str:
        """Return the tensor whose values `tensor` holds, up through operators that only move them."""
        return source(self.graph, tensor)

    def _is_float(self, tensor: str) -> bool:
        return tensor in self.tensors.tensors


def _names(graph: onnx.GraphProto) -> Iterator[str]:
    yield from (value.name for value in (*graph.input, *graph.initializer, *graph.output))
    yield from (name for node in graph.node for name in node.output if name)


def _bounds(graph: Graph) -> dict[str, float]:
    found: dict[str, float] = {}
    for node in graph.nodes:
        bound = _bound(graph, node, found)
        if bound is not None and 0 < bound < float("inf"):
            found |= dict.fromkeys((name for name in node.output if name), bound)
    return found


def _bound(graph: Graph, node: onnx.NodeProto, known: Mapping[str, float]) -> float | None:
    kind = operator(node)
    if kind in _UP_TO_ONE:
        return 1.0
    if not node.input:
        return None
    if kind == "Clip":
        return _clip(graph, node)
    if kind == "Concat":
        bounds = [known.get(name) for name in node.input]
        return max(b for b in bounds if b is not None) if bounds and None not in bounds else None
    if moves(graph, node) or averages(graph, node) or kind in ("Relu", "LeakyRelu"):
        return known.get(node.input[0])
    return None


def _clip(graph: Graph, node: onnx.NodeProto) -> float | None:
    limits = [graph.constant(name) for name in node.input[1:3] if name]
    if len(limits) < 2 or any(limit is None or limit.size != 1 for limit in limits):
        return None
    return max(abs(float(limit.reshape(()))) for limit in limits if limit is not None)
