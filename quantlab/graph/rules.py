"""The rules by which activations get Q/DQ, per runtime: a mark on each tensor, made in a few passes."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import numpy as np
import onnx

from quantlab.graph.patterns import JOINS, Fusion, averages, leak_behind, moves, source
from quantlab.graph.target import Target
from quantlab.graph.view import Graph, Use, attribute, operator

_ORT_JOINS = frozenset({"Add", "Mul"})


@dataclass(slots=True)
class Mark:
    """What is known so far of one tensor's Q/DQ; `Site` says what the fields mean."""

    uses: set[tuple[str, int]] = field(default_factory=set)
    output: bool = False
    shares: str | None = None
    unless_within: tuple[float, float] | None = None


class Marking:
    """The marks while the rules run.

    `target`: for TensorRT inputs and output of a Concat get one scale, so that it copies integers; ONNX Runtime
    rescales there, and merges a Pad into the convolution behind it, unless Q/DQ comes between.
    `without`: tensors that get no mark, nor do those that only hold their values.
    """

    def __init__(self, graph: Graph, target: Target, *, without: Collection[str]) -> None:
        self.graph = graph
        self.marks: dict[str, Mark] = {}
        self._tensorrt = target.tensorrt is not None
        self._without = without
        self._leader: dict[str, str] = {}

    def demand(self, tensor: str, use: tuple[str, int]) -> None:
        """Quantize `tensor` for one operand, and what its producer needs then to work on integers too.

        Operators that only move values get their input quantized with the same scale; a Concat its inputs;
        average pooling its input (both sides, or it runs in float).
        """
        waiting = [(tensor, use)]
        while waiting:
            name, place = waiting.pop()
            if not self._possible(name):
                continue
            node = self.graph.producer(name)
            if node is not None and not self._tensorrt and _pads_convolution(self.graph, node):
                waiting.append((node.input[0], (node.name, 0)))
                continue
            new = name not in self.marks
            self.marks.setdefault(name, Mark()).uses.add(place)
            if not new or node is None:
                continue
            if moves(self.graph, node):
                origin = source(self.graph, name)
                self.marks[name].shares = origin
                self._unite(origin, name)
                waiting.append((node.input[0], (node.name, 0)))
            elif operator(node) == "Concat" and all(self._possible(t) for t in node.input):
                waiting += [(t, (node.name, i)) for i, t in enumerate(node.input)]
                if self._tensorrt:
                    for t in node.input:
                        self._unite(name, source(self.graph, t))
            elif averages(self.graph, node):
                waiting.append((node.input[0], (node.name, 0)))

    def demand_all(self, tensor: str) -> None:
        """Quantize `tensor` for every reader and as an output: the float value vanishes from the graph."""
        for use in self.graph.consumers(tensor):
            if use.input_index >= 0:
                self.demand(tensor, (use.node.name, use.input_index))
        if self.graph.is_output(tensor) and self._possible(tensor):
            self.marks.setdefault(tensor, Mark()).output = True

    def share(self, tensor: str, use: Use, origin: str, unless_within: tuple[float, float] | None = None) -> None:
        """Quantize `tensor` for one operand with the scale of `origin`."""
        place = (use.node.name, use.input_index)
        self.marks[tensor] = Mark({place}, shares=origin, unless_within=unless_within)
        self._unite(origin, tensor)

    def groups(self) -> tuple[tuple[str, ...], ...]:
        """Return the tensors with one scale, groups of at least two, in graph order."""
        found: dict[str, list[str]] = {}
        for tensor in self.graph.tensors():
            if tensor in self.marks and tensor in self._leader:
                found.setdefault(self._find(tensor), []).append(tensor)
        return tuple(tuple(members) for members in found.values() if len(members) > 1)

    def _possible(self, tensor: str) -> bool:
        return not self.graph.is_constant(tensor) and source(self.graph, tensor) not in self._without

    def _find(self, tensor: str) -> str:
        while (parent := self._leader.get(tensor, tensor)) != tensor:
            tensor = parent
        return tensor

    def _unite(self, one: str, other: str) -> None:
        first, second = self._find(one), self._find(other)
        self._leader[first] = self._leader[second] = first


def mark_tensorrt(marking: Marking, kernels: Iterable[Fusion]) -> None:
    """Add what TensorRT wants beyond the inputs of weighted operators.

    The residual input of an Add that a convolution absorbs; the input of average pooling that an INT8 kernel writes and
    whose result is quantized; elementwise operators between tensors that are quantized anyway; the result of a first
    convolution that its activation function does not join.
    """
    graph = marking.graph
    written = set()
    for kernel in kernels:
        written.add(kernel.output)
        if kernel.residual is not None:
            add, index = kernel.residual.node, kernel.residual.input_index
            marking.demand(add.input[index], (add.name, index))
    for kernel in kernels:
        _write_integers(marking, kernel)
    for node in graph.nodes:
        # Pooling runs on integers only where both sides are; else its DQ would stand alone: 2 % of an EfficientNet's time.
        both = averages(graph, node) and node.output[0] in marking.marks
        if both and source(graph, node.input[0]) in written | marking.marks.keys():
            marking.demand(node.input[0], (node.name, 0))
    absorbed = {id(node) for kernel in kernels for node in kernel.nodes}
    for node in graph.nodes:
        if operator(node) in JOINS and id(node) not in absorbed and node.output[0] in marking.marks:
            _join(marking, node)


def _write_integers(marking: Marking, kernel: Fusion) -> None:
    """Let a convolution write INT8 before a LeakyRelu, with the scale behind it: positive values stay as they are.

    As in implicit quantization, where its result has a scale of its own. Without the pair TensorRT 8.6 on an H200 links the
    LeakyRelu into slower kernels, which takes 7 % more of a YOLOv3-tiny's time; and over an image, where the kernels for so
    few channels take none along and write INT8 only, it fills the channels up to 32 and writes float: half of the time.
    """
    leak = leak_behind(marking.graph, kernel.nodes[0], kernel.output)
    if leak is not None and leak.output[0] in marking.marks:
        marking.share(kernel.output, Use(leak, 0), leak.output[0])


def mark_ort(marking: Marking, kernels: Iterable[Fusion]) -> None:
    """Add what ONNX Runtime needs to replace Q/DQ and float operators by its QLinear operators.

    Every convolution's result is quantized for all readers, straight after it or after a Relu or Clip that the
    integers' range makes superfluous; so is that of an Add or Mul whose inputs are quantized.
    """
    graph = marking.graph
    convolutions = {id(k.nodes[0]) for k in kernels if operator(k.nodes[0]) == "Conv"}
    weighted = {id(k.nodes[0]) for k in kernels}
    for node in graph.nodes:
        joined = operator(node) in _ORT_JOINS and _join(marking, node)
        if id(node) in convolutions or joined:
            limited = _limited(graph, node.output[0])
            marking.demand_all(node.output[0] if limited is None else limited[0].node.output[0])
        if id(node) in weighted or joined:
            limited = _limited(graph, node.output[0])
            if limited is not None and (after := limited[0].node.output[0]) in marking.marks:
                marking.share(node.output[0], limited[0], after, limited[1])


def _join(marking: Marking, node: onnx.NodeProto) -> bool:
    """Let `node` see integers if all its inputs are quantized for others; tell whether it does."""
    operands = [(t, (node.name, i)) for i, t in enumerate(node.input)]
    if len(operands) < 2 or any(t not in marking.marks for t, _ in operands):
        return False
    for tensor, place in operands:
        marking.demand(tensor, place)
    return True


def _pads_convolution(graph: Graph, node: onnx.NodeProto) -> bool:
    """Tell whether ONNX Runtime merges `node` into the convolution that reads it: zeros around the image."""
    uses = graph.consumers(node.output[0])
    if operator(node) != "Pad" or len(uses) != 1 or operator(uses[0].node) != "Conv" or not moves(graph, node):
        return False
    pads = graph.constant(node.input[1]) if len(node.input) > 1 else None
    if pads is None or attribute(node, "mode", b"constant") != b"constant" or len(node.input) > 3:
        return False
    if attribute(uses[0].node, "auto_pad", b"NOTSET") != b"NOTSET":
        return False
    around = pads.reshape(2, -1)
    return bool(np.all(around >= 0) and np.all(around[:, :2] == 0))


def _limited(graph: Graph, tensor: str) -> tuple[Use, tuple[float, float]] | None:
    """Return the Relu or Clip that alone reads `tensor`, with its bounds."""
    uses = graph.consumers(tensor)
    if len(uses) != 1 or graph.is_output(tensor):
        return None
    if operator(uses[0].node) == "Relu":
        return uses[0], (0.0, float("inf"))
    if operator(uses[0].node) != "Clip" or uses[0].input_index != 0:
        return None
    low, high = (*uses[0].node.input[1:], "", "")[:2]
    bounds = _bound(graph, low, -np.inf), _bound(graph, high, np.inf)
    return None if np.isnan(bounds).any() else (uses[0], bounds)


def _bound(graph: Graph, tensor: str, missing: float) -> float:
    if not tensor:
        return missing
    value = graph.constant(tensor)
    return float("nan") if value is None else float(value.reshape(()))
