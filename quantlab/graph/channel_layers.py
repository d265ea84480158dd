"""Operators with constant parameters that make channels of their own: how the parameters lie along them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx

from quantlab.graph.biases import channels_of
from quantlab.graph.editing import why_not_editable
from quantlab.graph.view import Graph, attribute, operator
from quantlab.numerics.arrays import I64, AnyArray


@dataclass(frozen=True, slots=True)
class Layer:
    """A weighted operator, or a normalisation with a factor a channel.

    Attributes
    ----------
    role
        weight: its weight reads channels and makes others; norm: its factor makes them.
    bias
        Which input the bias is, None without.
    axis, rank
        Axis of channels and number of axes of the output (and of the input).
    inputs, channels
        How many channels it reads and makes.
    shape
        That of the weight or factor.
    groups, made_first
        Groups of a convolution; whether the weight's axis 0 is that of the channels made.
    """

    role: Literal["weight", "norm"]
    bias: int | None
    axis: int
    rank: int
    inputs: int
    channels: int
    shape: tuple[int, ...]
    groups: int = 1
    made_first: bool = True

    def reads(self, ids: I64) -> I64:
        """Return the channels read, [inputs] or one for all, in an array that broadcasts with the weight."""
        return self._laid(np.broadcast_to(ids, (self.inputs,)), first=not self.made_first)

    def makes(self, ids: I64) -> I64:
        """Return the channels made, [channels], in an array that broadcasts with the weight or factor."""
        return ids if self.role == "norm" else self._laid(ids, first=self.made_first)

    def _laid(self, ids: I64, *, first: bool) -> I64:
        rest = (1,) * (len(self.shape) - 2)
        if first:
            return ids.reshape(-1, 1, *rest)
        if self.groups == 1:
            return ids.reshape(1, -1, *rest)
        each = ids.reshape(self.groups, -1)  # the second axis counts within a group, which axis 0 tells
        return np.repeat(each, self.shape[0] // self.groups, axis=0).reshape(self.shape[0], -1, *rest)


def layer(graph: Graph, node: onnx.NodeProto) -> Layer | str:
    """Return how the parameters of a node of `LAYERS` lie, or why they cannot change, as the end of a sentence."""
    weight = graph.constant(node.input[1])
    if why := why_not_editable(weight):
        return f"has a weight that {why}"
    assert weight is not None
    return LAYERS[operator(node)](graph, node, weight)


def _convolution(graph: Graph, node: onnx.NodeProto, weight: AnyArray) -> Layer | str:
    groups, channels = int(attribute(node, "group", 1)), channels_of(node, weight)
    bias = _bias(graph, node, 2, channels)
    if isinstance(bias, str):
        return bias
    plain = operator(node) == "Conv"
    inputs = int(weight.shape[1]) * groups if plain else int(weight.shape[0])
    return Layer("weight", bias, 1, weight.ndim, inputs, channels, weight.shape, groups, plain)


def _gemm(graph: Graph, node: onnx.NodeProto, weight: AnyArray) -> Layer | str:
    if attribute(node, "transA", 0) or weight.ndim != 2:
        return "multiplies the other way round"
    made_first = bool(attribute(node, "transB", 0))
    inputs, channels = weight.shape[::-1] if made_first else weight.shape
    bias = _bias(graph, node, 2, channels)
    if isinstance(bias, str):
        return bias
    return Layer("weight", bias, 1, 2, inputs, channels, weight.shape, made_first=made_first)


def _matmul(graph: Graph, node: onnx.NodeProto, weight: AnyArray) -> Layer | str:
    shape = graph.shape(node.output[0])
    if weight.ndim != 2 or shape is None or len(shape) < 2:
        return "has a weight that is not one matrix, or an input of unknown rank"
    rank = len(shape)
    return Layer("weight", None, rank - 1, rank, weight.shape[0], weight.shape[1], weight.shape, made_first=False)


def _norm(graph: Graph, node: onnx.NodeProto, weight: AnyArray) -> Layer | str:
    shape = graph.shape(node.output[0])
    last = operator(node) == "LayerNormalization"
    if shape is None or weight.ndim != 1 or (last and int(attribute(node, "axis", -1)) not in (-1, len(shape) - 1)):
        return "does not commute with a scale"
    channels = weight.shape[0]
    bias = _bias(graph, node, 2, channels)
    if isinstance(bias, str):
        return bias
    axis = len(shape) - 1 if last else 1
    return Layer("norm", bias, axis, len(shape), channels, channels, weight.shape)


def _bias(graph: Graph, node: onnx.NodeProto, index: int, channels: int) -> int | str | None:
    if len(node.input) <= index or not node.input[index]:
        return None
    stored = graph.constant(node.input[index])
    if why := why_not_editable(stored):
        return f"has a bias that {why}"
    assert stored is not None
    if stored.size == 1 or (stored.size == channels and stored.shape[-1] == channels):
        return index
    return f"has a bias of shape {list(stored.shape)}, which is not one a channel"


LAYERS: Mapping[str, Callable[[Graph, onnx.NodeProto, AnyArray], Layer | str]] = {
    "BatchNormalization": _norm,
    "Conv": _convolution,
    "ConvTranspose": _convolution,
    "Gemm": _gemm,
    "InstanceNormalization": _norm,
    "LayerNormalization": _norm,
    "MatMul": _matmul,
}
