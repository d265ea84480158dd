"""Where Q/DQ goes: which tensors, seen by which consumers, sharing which scales, and what stays float and why."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
import onnx

from quantlab.errors import InputError
from quantlab.graph.patterns import WEIGHTED, Fusion, fused_branch, fusion, moves, source, weight_axis, weight_index
from quantlab.graph.rules import Marking, mark_ort, mark_tensorrt
from quantlab.graph.target import Target
from quantlab.graph.view import Graph, bodies, captured, operator

__all__ = ["Head", "Place", "Placement", "Site", "Target", "WeightSite", "place"]

_SIZES = frozenset({"Shape", "Size"})  # what they return depends on no value

Place = tuple[str, int]
"""One operand: the name of a node and the index of its input."""

Head = Literal["float", "int8"]
"""What happens to the last weighted operators, those whose result reaches outputs and no other one."""


@dataclass(frozen=True, slots=True)
class Site:
    """One activation that gets a Q/DQ pair.

    Attributes
    ----------
    tensor
        Its name.
    uses
        The operands that see the dequantized value, in graph order; every other reader keeps the float.
    output
        The model's output of this name carries the dequantized value.
    shares
        The tensor whose scale is used, since this one holds the same values; None: a scale of its own.
    unless_within
        The pair is needed only if the integers of the scale reach outside these bounds: then the activation
        function that reads `tensor` does something that quantizing alone does not.
    """

    tensor: str
    uses: tuple[Place, ...]
    output: bool = False
    shares: str | None = None
    unless_within: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class WeightSite:
    """One constant that gets Q/DQ for some of its readers.

    Attributes
    ----------
    weight
        Its name.
    uses
        The operands that see the dequantized value, in graph order.
    axis
        The axis with one scale an index; None: one scale for all of it.
    """

    weight: str
    uses: tuple[Place, ...]
    axis: int | None


@dataclass(frozen=True, slots=True)
class Placement:
    """The places of all Q/DQ pairs of one model for one target.

    Attributes
    ----------
    target, head
        The runtime and the policy it is made for.
    activations
        The sites by tensor, in graph order.
    weights
        The sites by constant, in graph order; a constant has several only if its readers need other axes.
    floats
        Why a tensor or node that could be thought of as INT8 stays float, in graph order.
    groups
        Tensors that must have one scale, each group in graph order.
    kept
        The operators that stay float by wish.
    """

    target: Target
    head: Head
    activations: Mapping[str, Site]
    weights: Mapping[str, tuple[WeightSite, ...]]
    floats: Mapping[str, str]
    groups: tuple[tuple[str, ...], ...]
    kept: frozenset[str] = frozenset()

    @property
    def tensors(self) -> tuple[str, ...]:
        """The tensors that need a scale of their own, in graph order: what calibration must deliver."""
        return tuple(name for name, site in self.activations.items() if site.shares is None)


def place(
    graph: Graph,
    target: Target,
    *,
    head: Head = "float",
    without: Collection[str] = frozenset(),
    keep: Collection[str] = frozenset(),
) -> Placement:
    """Find the places of Q/DQ in a float model.

    Parameters
    ----------
    graph
        The normalised model: nodes have names, constants are folded.
    target
        The runtime; its rules differ (`rules`).
    head
        "float" keeps the last weighted operators and the pooling before them in float, as logits lose
        most by rounding; "int8" quantizes them too.
    without
        Tensors that get no Q/DQ (for want of a scale, or by wish); weighted operators that read them stay float.
    keep
        Names of weighted operators that stay float by wish; other names are no one's and do nothing.

    Raises
    ------
    InputError
        Nodes without a name or with the same one; Q/DQ already in the model.
    """
    _refuse(graph)
    reasons = _float_operators(graph, target, head) | _without_scale(graph, without) | _kept(graph, keep)
    quantized = [n for n in graph.nodes if operator(n) in WEIGHTED and n.name not in reasons]
    kernels = tuple(fusion(graph, node) for node in quantized)
    marking = Marking(graph, target, without=without)
    for node in quantized:
        for index in activation_operands(graph, node):
            marking.demand(node.input[index], (node.name, index))
    if target.tensorrt is None:
        mark_ort(marking, kernels)
    else:
        mark_tensorrt(marking, kernels)
    return Placement(
        target,
        head,
        MappingProxyType(_sites(graph, marking)),
        MappingProxyType(_weights(graph, quantized, target)),
        MappingProxyType(reasons | _float_tensors(graph, marking, kernels)),
        marking.groups(),
        frozenset(keep),
    )


def _kept(graph: Graph, keep: Collection[str]) -> dict[str, str]:
    return {n.name: "stays in float by wish" for n in graph.nodes if operator(n) in WEIGHTED and n.name in keep}


def activation_operands(graph: Graph, node: onnx.NodeProto) -> tuple[int, ...]:
    """Return the indices of the inputs of a weighted operator that are activations; a bias is none."""
    return tuple(i for i in (0, 1) if not graph.is_constant(node.input[i]))


def _refuse(graph: Graph) -> None:
    seen: set[str] = set()
    for node in graph.nodes:
        if node.op_type in {"QuantizeLinear", "DequantizeLinear"}:
            raise InputError(
                f"The model already has Q/DQ (node '{node.name}'): start from the float model, or lint this one."
            )
        if not node.name or node.name in seen:
            raise InputError(
                f"Node name '{node.name}' ({node.op_type}) is empty or used twice: normalise the model first."
            )
        seen.add(node.name)


def _float_operators(graph: Graph, target: Target, head: Head) -> dict[str, str]:
    heads = _heads(graph) if head == "float" else set()
    found: dict[str, str] = {}
    for node in graph.nodes:
        if any(True for _ in bodies(node)):
            found[node.name] = f"bodies of {node.op_type} stay in float"
        elif operator(node) in WEIGHTED and (reason := _float_reason(graph, target, node)) is not None:
            found[node.name] = reason
        elif node.name in heads:
            found[node.name] = "a last weighted operator before an output stays in float (head='float')"
    return found


def _without_scale(graph: Graph, without: Collection[str]) -> dict[str, str]:
    found = {}
    for node in graph.nodes if without else ():
        if operator(node) in WEIGHTED:
            lost = [t for i in activation_operands(graph, node) if source(graph, t := node.input[i]) in without]
            if lost:
                found[node.name] = f"its input '{lost[0]}' has no scale"
    return found


def _float_reason(graph: Graph, target: Target, node: onnx.NodeProto) -> str | None:
    if node.op_type not in target.weighted:
        return f"ONNX Runtime has no integer {node.op_type}"
    dtype = graph.dtype(node.output[0])
    if dtype is None:
        return "its element type is unknown: an operator before it is not standard ONNX"
    if dtype != np.float32:
        return f"it computes in {dtype}; only float32 is quantized"
    if node.op_type.startswith("Conv") and weight_index(graph, node) is None:
        return "its weight is not constant"
    return None if activation_operands(graph, node) else "all its inputs are constant"


def _heads(graph: Graph) -> set[str]:
    """Return the weighted nodes from which an output follows and no other weighted node.

    An output that the network goes on from (a level of a feature pyramid) makes no head. A residual Add leads back to its fused convolution only: its other input is older.
    """
    waiting, seen, heads = list(graph.outputs), set(graph.outputs), set()
    onward = _before_weighted(graph)
    while waiting:
        node = graph.producer(waiting.pop())
        if node is None or operator(node) in _SIZES:
            continue
        if operator(node) in WEIGHTED:
            if not onward.intersection(node.output):
                heads.add(node.name)
            continue
        branch = fused_branch(graph, node)
        before = (*node.input, *captured(node)) if branch is None else (node.input[branch],)
        waiting += [t for t in before if t not in seen]
        seen.update(before)
    return heads


def _before_weighted(graph: Graph) -> set[str]:
    """Return the tensors whose values reach a weighted node."""
    found: set[str] = set()
    for node in reversed(graph.nodes):
        if operator(node) in WEIGHTED or (operator(node) not in _SIZES and found.intersection(node.output)):
            found.update(name for name in (*node.input, *captured(node)) if name)
    return found


def _sites(graph: Graph, marking: Marking) -> dict[str, Site]:
    order = {node.name: i for i, node in enumerate(graph.nodes)}
    found = {}
    for tensor in graph.tensors():
        mark = marking.marks.get(tensor)
        if mark is not None:
            uses = tuple(sorted(mark.uses, key=lambda use: (order[use[0]], use[1])))
            found[tensor] = Site(tensor, uses, mark.output, mark.shares, mark.unless_within)
    return found


def _weights(graph: Graph, quantized: Iterable[onnx.NodeProto], target: Target) -> dict[str, tuple[WeightSite, ...]]:
    found: dict[str, dict[int | None, list[Place]]] = {}
    for node in quantized:
        index = weight_index(graph, node)
        if index is not None:
            shape = graph.shape(node.input[index]) or ()
            axes = found.setdefault(node.input[index], {})
            axes.setdefault(weight_axis(node, index, shape, target), []).append((node.name, index))
    return {
        name: tuple(WeightSite(name, tuple(uses), axis) for axis, uses in axes.items()) for name, axes in found.items()
    }


def _float_tensors(graph: Graph, marking: Marking, kernels: Iterable[Fusion]) -> dict[str, str]:
    inner = {
        tensor: f"inside one kernel: {' + '.join(node.op_type for node in kernel.nodes)}"
        for kernel in kernels
        for tensor in kernel.inner
    }
    return {
        tensor: inner.get(tensor) or _float_tensor_reason(graph, tensor)
        for tensor in graph.float_activations()
        if tensor not in marking.marks
        and not (moves(graph, graph.producer(tensor)) and source(graph, tensor) in marking.marks)
    }


def _float_tensor_reason(graph: Graph, tensor: str) -> str:
    readers = dict.fromkeys(operator(use.node) for use in graph.consumers(tensor))
    if not readers:
        return "output of the model" if graph.is_output(tensor) else "read by nothing"
    return f"read by {' and '.join(readers)} in float"
