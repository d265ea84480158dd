"""Which channels of which tensors can be scaled together, and what of the constants to change: FP32 stays the same.

A scale s > 0 of a channel divides its values by s. What makes the channel (a row of weights, a bias) is divided by s,
what reads it (a column of weights) multiplied by s; between the two stand operators with f(s·x) = s·f(x), as in
"Data-Free Quantization Through Weight Equalization and Bias Correction" (Nagel et al. 2019, arXiv:1906.04721). An Add
of two tensors wants one scale for both, whoever makes and reads them; a Concat keeps the channels of each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

import numpy as np
import onnx

from quantlab.graph.channel_classes import Classes
from quantlab.graph.channel_layers import LAYERS, Layer, layer
from quantlab.graph.channel_moves import IMAGE, moved
from quantlab.graph.channel_parts import Part
from quantlab.graph.editing import why_not_editable
from quantlab.graph.view import Graph, attribute, captured, operator
from quantlab.numerics.arrays import F64, I64

ClipForm: TypeAlias = Literal["skip", "per-channel"]

_BLIND = frozenset({"Shape", "Size"})
_LARGEST_CLIP = 1e30  # exporters write "no bound" as the largest float32


class Flow:
    """The channels of each tensor of a graph, and the constants that scale with them.

    Attributes
    ----------
    channels
        Tensor → its channels, in an array that broadcasts to it; a tensor without has a scale of 1 everywhere.
    refused
        Weighted operators that cannot be changed → why.
    """

    def __init__(self, graph: Graph, clip: ClipForm = "skip") -> None:
        self.graph = graph
        self.clip = clip
        self.classes = Classes()
        self.channels: dict[str, I64] = {}
        self.parts: list[Part] = []
        self.refused: dict[str, str] = {}
        for node in graph.nodes:
            self._visit(node)
        for name in graph.outputs:
            self._fix(name, f"«{name}» is an output of the model")

    def along(self, tensor: str, axis: int) -> I64 | None:
        """Return the channels of `tensor` along one axis, [size] or [1], those of other axes joined; None without."""
        ids = self.channels.get(tensor)
        if ids is None:
            return None
        others = tuple(i for i in range(ids.ndim) if i != axis % ids.ndim)
        return self.classes.joined_along(ids, others).reshape(-1)

    def changed(self, scales: F64) -> tuple[str, ...]:
        """Return the tensors whose values change with these scales, in graph order."""
        names = (name for name in self.graph.tensors() if name in self.channels)
        return tuple(name for name in names if np.any(scales[self.channels[name]] != 1))

    def _visit(self, node: onnx.NodeProto) -> None:
        kind = operator(node)
        if kind in _BLIND:
            return
        reason = _FOLLOW.get(kind, Flow._move)(self, node)
        if reason:
            for name in (*node.input, *captured(node)):
                self._fix(name, f"{kind} «{node.name}» {reason}")

    def _fix(self, tensor: str, reason: str) -> None:
        if tensor in self.channels:
            self.classes.fix(self.channels[tensor], reason)

    def _layer(self, node: onnx.NodeProto) -> str:
        """Follow a weighted operator or normalisation with constant parameters: new channels come out."""
        found = layer(self.graph, node)
        if isinstance(found, str):
            if self.graph.is_constant(node.input[1]) or operator(node) != "MatMul":
                self.refused[node.name] = f"{operator(node)} «{node.name}» {found}."
            return self._matmul(node) if operator(node) == "MatMul" else found
        reads = self._read(node, found)
        made = self.classes.new(found.channels)
        self.parts.append(Part(node.output[0], 1, found.role, reads, found.makes(made)))
        if found.bias is not None:
            self.parts.append(Part(node.output[0], found.bias, "bias", None, made))
        shape = [1] * found.rank
        shape[found.axis] = found.channels
        self.channels[node.output[0]] = made.reshape(shape)
        return ""

    def _read(self, node: onnx.NodeProto, found: Layer) -> I64 | None:
        if found.role == "norm":
            self._fix(node.input[0], f"{operator(node)} «{node.name}» does not commute with a scale")
            return None
        ids = self.along(node.input[0], found.axis)
        return None if ids is None else found.reads(ids)

    def _matmul(self, node: onnx.NodeProto) -> str:
        """Follow a product of two activations: linear in each, so the free axis of one may be scaled."""
        one, other = (self.channels.get(name) for name in node.input)
        if one is None and other is None:
            return ""
        if other is None and one is not None and one.shape[-1] == 1:
            self.channels[node.output[0]] = self._widened(one, node.output[0])
        elif one is None and other is not None and other.ndim > 1 and other.shape[-2] == 1:
            self.channels[node.output[0]] = self._widened(other, node.output[0])
        else:
            return "multiplies what would be scaled on both sides, or sums over it"
        return ""

    def _sum(self, node: onnx.NodeProto) -> str:
        """Follow Add, Sub, Sum, Max and Min: one scale for all they join, constants scaled with them."""
        others = [name for name in node.input if not self.graph.is_constant(name)]
        tracked = [self.channels[name] for name in others if name in self.channels]
        if not tracked:
            return ""
        if len(tracked) < len(others):
            alone = next(name for name in others if name not in self.channels)
            return f"joins it with «{alone}», which cannot be scaled"
        ids = tracked[0]
        for more in tracked[1:]:
            ids = self.classes.join(ids, more)
        for index, name in enumerate(node.input):
            if self.graph.is_constant(name) and (reason := self._added(node, index, ids)):
                return reason
        self.channels[node.output[0]] = self._widened(ids, node.output[0])
        return ""

    def _added(self, node: onnx.NodeProto, index: int, ids: I64) -> str:
        array = self.graph.constant(node.input[index])
        if why := why_not_editable(array):
            return f"has a constant that {why}"
        if array is None or not array.any():
            return ""  # zero stays zero
        if np.broadcast_shapes(array.shape, ids.shape) != _padded(array.shape, ids.ndim) and array.size > 1:
            return "has a constant that would grow with the scales"
        self.parts.append(Part(node.output[0], index, "bias", None, ids))
        return ""

    def _product(self, node: onnx.NodeProto) -> str:
        """Follow Mul and Div: linear in one factor as long as the other keeps its scale."""
        one, other = node.input
        if operator(node) == "Div" and other in self.channels:
            return "divides by it"
        tracked = [n for n in (one, other) if n in self.channels]
        free = [n for n in tracked if not self.classes.are_fixed(self.channels[n])]
        if len(free) == 2:
            return "multiplies what would be scaled on both sides"
        name = next(iter(free or tracked), None)
        if name is not None:
            self.channels[node.output[0]] = self._widened(self.channels[name], node.output[0])
        elif operator(node) == "Mul":
            self._new_factor(node)
        return ""

    def _widened(self, ids: I64, output: str) -> I64:
        shape = self.graph.shape(output)
        missing = 0 if shape is None else max(0, len(shape) - ids.ndim)
        return ids.reshape((1,) * missing + ids.shape)

    def _new_factor(self, node: onnx.NodeProto) -> None:
        """Start channels at a Mul by a constant that differs along one axis: the gamma of a normalisation in parts."""
        index = next((i for i, name in enumerate(node.input) if self.graph.is_constant(name)), None)
        shape = self.graph.shape(node.output[0])
        if index is None or shape is None:
            return
        array = self.graph.constant(node.input[index])
        if array is None or why_not_editable(array) or sum(size > 1 for size in array.shape) != 1:
            return
        ids = self.classes.new(array.size).reshape(_padded(array.shape, len(shape)))
        self.parts.append(Part(node.output[0], index, "norm", None, ids))
        self.channels[node.output[0]] = ids

    def _concat(self, node: onnx.NodeProto) -> str:
        """Follow a Concat: along the channels each part keeps its own, along others all share theirs."""
        tracked = {name: self.channels[name] for name in node.input if name in self.channels}
        if not tracked:
            return ""
        rank = next(iter(tracked.values())).ndim
        axis = int(attribute(node, "axis", 0)) % rank
        if len(tracked) == len(set(node.input)) and all(ids.shape[axis] == 1 for ids in tracked.values()):
            ids = self.channels[node.input[0]]
            for name in node.input[1:]:
                ids = self.classes.join(ids, self.channels[name])
            self.channels[node.output[0]] = ids
            return ""
        pieces = [self._piece(name, axis, rank) for name in node.input]
        known = [piece for piece in pieces if piece is not None]
        if len(known) < len(pieces) or not any(ids.shape[axis] > 1 for ids in tracked.values()):
            return "joins it with what cannot be scaled"
        self.channels[node.output[0]] = np.concatenate(known, axis=axis)
        return ""

    def _piece(self, tensor: str, axis: int, rank: int) -> I64 | None:
        """Return the channels of one input of a Concat along its axis, fixed ones for a tensor without."""
        shape = self.graph.shape(tensor)
        size = None if shape is None or len(shape) != rank else shape[axis]
        if not isinstance(size, int):
            return None
        ids = self.channels.get(tensor)
        if ids is None:
            ids = self.classes.new(size)
            self.classes.fix(ids, f"«{tensor}» cannot be scaled")
        else:
            ids = self.classes.joined_along(ids, tuple(i for i in range(rank) if i != axis)).reshape(-1)
        return np.broadcast_to(ids, (size,)).reshape([size if i == axis else 1 for i in range(rank)])

    def _clip(self, node: onnx.NodeProto) -> str:
        if node.input[0] not in self.channels:
            return ""
        bounds = [self.graph.constant(name) if name else np.array(np.inf, np.float32) for name in node.input[1:]]
        values = [float(b.reshape(-1)[0]) for b in bounds if b is not None and b.size == 1]
        if len(values) < len(bounds):
            return "has bounds that are not constant"
        self.channels[node.output[0]] = self.channels[node.input[0]]
        if all(value == 0 or abs(value) >= _LARGEST_CLIP for value in values):
            return ""
        if self.clip == "per-channel":
            self.parts.append(Part(node.output[0], 1, "bounds", None, self.channels[node.input[0]]))
            return ""
        listed = " and ".join(f"{value:g}" for value in values)
        return (
            f'has the bounds {listed}, which a scale would move: clip="per-channel" moves them, '
            "for an elementwise kernel more"
        )

    def _depth_to_space(self, node: onnx.NodeProto) -> str:
        """Follow a pixel shuffle: the channels that become one image share a scale."""
        ids = self.along(node.input[0], 1)
        if ids is None:
            return ""
        area = int(attribute(node, "blocksize")) ** 2
        depth_first = attribute(node, "mode", b"DCR") == b"DCR"
        ids = ids.reshape(area, -1) if depth_first else ids.reshape(-1, area).T
        self.channels[node.output[0]] = self.classes.joined_along(ids, (0,)).reshape(1, -1, 1, 1)
        return ""

    def _move(self, node: onnx.NodeProto) -> str:
        first = node.input[0] if node.input else ""
        for name in node.input[1:]:
            self._fix(name, f"{operator(node)} «{node.name}» does not commute with a scale")
        if first not in self.channels:
            return "does not commute with a scale" if captured(node) else ""
        ids = self.channels[first]
        if operator(node) in IMAGE:
            ids = self.classes.joined_along(ids, tuple(range(2, ids.ndim)))
        found = moved(self.graph, node, ids)
        if not isinstance(found, tuple):
            return found or "does not commute with a scale"
        self.channels.update(zip(node.output, found, strict=False))
        return ""


def _padded(shape: tuple[int, ...], rank: int) -> tuple[int, ...]:
    return (1,) * max(0, rank - len(shape)) + tuple(shape)


_FOLLOW: Mapping[str, Callable[[Flow, onnx.NodeProto], str]] = {
    **dict.fromkeys(LAYERS, Flow._layer),
    **dict.fromkeys(("Add", "Max", "Min", "Sub", "Sum"), Flow._sum),
    "Clip": Flow._clip,
    "Concat": Flow._concat,
    "DepthToSpace": Flow._depth_to_space,
    "Div": Flow._product,
    "Mul": Flow._product,
}
