"""Tensors whose histogram follows exactly from another's, so that nobody needs to count them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
import onnx

from quantlab.graph.view import Graph, attribute

_SAME_VALUES = frozenset(
    {"DepthToSpace", "Flatten", "Identity", "Reshape", "SpaceToDepth", "Squeeze", "Transpose", "Unsqueeze"}
)


@dataclass(frozen=True, slots=True)
class Same:
    """The same values in another order or shape: the histogram is the source's."""


@dataclass(frozen=True, slots=True)
class Pad:
    """The source's values and a constant around them.

    Attributes
    ----------
    pads
        Elements added at the beginning of each axis, then at the end of each; none negative.
    value
        The constant, finite; 0.0 for zero padding.
    ratio
        Elements of this tensor for each of the source: fixed, since every padded axis has a fixed size.
    """

    pads: tuple[int, ...]
    value: float
    ratio: Fraction

    def added(self, elements: int) -> int:
        """Return how often `value` is added to a source of `elements` elements, exactly.

        Raises
        ------
        ValueError
            No tensor of the source's shape has so many elements.
        """
        added = elements * (self.ratio - 1)
        if added.denominator != 1:
            raise ValueError(f"{elements} elements do not fill whole tensors that grow by the ratio {self.ratio}.")
        return added.numerator


@dataclass(frozen=True, slots=True)
class Clip:
    """The source's values, those below `low` raised to it and those above `high` lowered (Relu: 0 and inf)."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Pooled:
    """The largest of the source's values in each window.

    Its own histogram does not follow from the source's; but TensorRT's calibrators give it the source's scale.
    """


Rule: TypeAlias = Same | Pad | Clip | Pooled


@dataclass(frozen=True, slots=True)
class Derivation:
    """How the histogram of one tensor follows from that of `source`, which may be derived itself."""

    source: str
    rule: Rule


def derivations(graph: Graph) -> Mapping[str, Derivation]:
    """Return the float activations that are derived, sources before what follows from them.

    Exact without rounding: each value of the tensor is a value of its source, a known constant, or the nearer
    bound. Concat, Slice, Split and average pooling choose or mix values and are not derived; MaxPool is for TensorRT's
    grid alone (`Pooled`).
    """
    activations = frozenset(graph.float_activations())
    found: dict[str, Derivation] = {}
    for node in graph.nodes:
        if (
            node.domain not in ("", "ai.onnx")
            or not node.input
            or not activations.issuperset((node.input[0], node.output[0]))
        ):
            continue
        rule = _rule(node, graph)
        if rule is not None:
            found[node.output[0]] = Derivation(node.input[0], rule)
    return MappingProxyType(found)


def _rule(node: onnx.NodeProto, graph: Graph) -> Rule | None:
    if node.op_type in _SAME_VALUES:
        return Same()
    if node.op_type == "Relu":
        return Clip(0.0, math.inf)
    if node.op_type == "Clip":
        return _clip(node, graph)
    if node.op_type == "MaxPool":
        return Pooled()
    if node.op_type == "Pad" and attribute(node, "mode", b"constant") == b"constant":
        return _pad(node, graph)
    return None


def _clip(node: onnx.NodeProto, graph: Graph) -> Clip | None:
    low, high = _scalar(node, 1, graph, -math.inf), _scalar(node, 2, graph, math.inf)
    return Clip(low, high) if low is not None and high is not None and low <= high else None


def _pad(node: onnx.NodeProto, graph: Graph) -> Pad | None:
    shape = graph.shape(node.input[0])
    amounts, value = _integers(node, 1, graph), _scalar(node, 2, graph, 0.0)
    if shape is None or amounts is None or value is None or not math.isfinite(value) or min(amounts, default=0) < 0:
        return None
    axes = _integers(node, 3, graph) if _given(node, 3) else tuple(range(len(shape)))
    if axes is None or len(amounts) != 2 * len(axes):
        return None
    pads = [0] * (2 * len(shape))
    for axis, begin, end in zip(axes, amounts[: len(axes)], amounts[len(axes) :], strict=True):
        pads[axis % len(shape)], pads[axis % len(shape) + len(shape)] = begin, end
    ratio = Fraction(1)
    for size, begin, end in zip(shape, pads[: len(shape)], pads[len(shape) :], strict=True):
        if begin + end == 0:
            continue
        if not isinstance(size, int) or size == 0:
            return None
        ratio *= Fraction(size + begin + end, size)
    return Pad(tuple(pads), value, ratio)


def _given(node: onnx.NodeProto, index: int) -> bool:
    return len(node.input) > index and bool(node.input[index])


def _scalar(node: onnx.NodeProto, index: int, graph: Graph, default: float) -> float | None:
    """Return a constant input of one element, `default` where it is left out, None where it is not constant."""
    if not _given(node, index):
        return default
    value = graph.constant(node.input[index])
    return float(value.reshape(-1)[0]) if value is not None and value.size == 1 else None


def _integers(node: onnx.NodeProto, index: int, graph: Graph) -> tuple[int, ...] | None:
    value = graph.constant(node.input[index]) if _given(node, index) else None
    return None if value is None else tuple(np.asarray(value, dtype=np.int64).ravel().tolist())
