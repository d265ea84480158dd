"""A weighted operator as matrix products: its weight as a stack of matrices, its input as rows of patches."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

import numpy as np
import onnx

from quantlab.graph.patterns import weight_index
from quantlab.graph.view import Graph, attribute, operator
from quantlab.numerics.arrays import F32, F64, I64, AnyArray


@dataclass(frozen=True, slots=True)
class Weighted:
    """A weighted operator whose output, group by group, is rows [R, K] times matrix [K, O].

    Attributes
    ----------
    node
        Conv, Gemm or MatMul.
    groups, inputs, outputs
        The number of groups G, and of inputs K and outputs O of each.
    weight
        Shape of the weight tensor.
    """

    node: onnx.NodeProto
    groups: int
    inputs: int
    outputs: int
    weight: tuple[int, ...]

    @classmethod
    def of(cls, graph: Graph, node: onnx.NodeProto) -> Weighted | str:
        """Return the operator, or why it is none of those that can be written like this."""
        kind, index = operator(node), weight_index(graph, node)
        if kind == "ConvTranspose":
            return "a transposed convolution has no rows of patches"
        if index != 1:
            return "its weight is not the second operand"
        shape = tuple(int(size) for size in graph.shape(node.input[1]) or ())
        if len(graph.consumers(node.input[1])) > 1:
            return "its weight is shared with another operator"
        if kind == "Conv":
            groups = int(attribute(node, "group", 1))
            return cls(node, groups, prod(shape[1:]), shape[0] // groups, shape)
        if len(shape) != 2:
            return f"its weight is no matrix but {list(shape)}"
        plain = kind == "MatMul" or (attribute(node, "alpha", 1.0) == 1.0 and attribute(node, "beta", 1.0) == 1.0)
        if not plain or attribute(node, "transA", 0):
            return "a Gemm with alpha, beta or transA"
        inputs, outputs = shape if not attribute(node, "transB", 0) else shape[::-1]
        return cls(node, 1, inputs, outputs, shape)

    @property
    def channel_axis(self) -> int:
        """The axis of the weight that counts output channels."""
        return 0 if operator(self.node) == "Conv" or attribute(self.node, "transB", 0) else 1

    def matrix(self, weight: AnyArray) -> F64:
        """Return the weight as float64[G, O, K]."""
        turned = weight if self.channel_axis == 0 else weight.T
        return np.array(turned, np.float64).reshape(self.groups, self.outputs, self.inputs)

    def tensor(self, matrix: AnyArray) -> AnyArray:
        """Return [G, O, K] in the shape of the weight."""
        if self.channel_axis == 0:
            return matrix.reshape(self.weight)
        return np.ascontiguousarray(matrix[0].T)


def sampled_rows(op: Weighted, x: AnyArray, y: AnyArray, count: int, seed: int) -> tuple[F32, F32]:
    """Return rows of the input and the same rows of the output.

    Parameters
    ----------
    x, y
        Input and output of the operator over one batch.
    count
        How many rows are wanted at most.
    seed
        The number of the batch: which rows are taken depends on it, on shapes and on `count` alone.

    Returns
    -------
    tuple
        float32[G, R, K] and float32[G, R, O], R ≤ `count`.
    """
    if operator(op.node) == "Conv":
        return _convolution_rows(op, x, y, count, seed)
    chosen = _chosen(prod(y.shape[:-1]), count, seed)
    rows = x.reshape(-1, op.inputs)[chosen], y.reshape(-1, op.outputs)[chosen]
    return rows[0][None], rows[1][None]


def patch_sums(op: Weighted, x: AnyArray) -> tuple[F64, int]:
    """Return the sum of all rows of the input, float64[G, K], and how many rows that were.

    Parameters
    ----------
    x
        float64: the input summed over its batch, [channels, …] for a Conv, else […, K].
    """
    if operator(op.node) != "Conv":
        rows = x.reshape(-1, op.inputs)
        return rows.sum(axis=0)[None], len(rows)
    sizes = _sizes(op, x.shape[1:])
    padded, steps, dilations = _padded(op, x[None], sizes)
    sums = []
    for tap in product(*map(range, op.weight[2:])):
        spans = zip(tap, dilations, steps, sizes, strict=True)
        index: tuple[Any, ...] = (0, slice(None), *(slice(t * d, t * d + (n - 1) * s + 1, s) for t, d, s, n in spans))
        sums.append(padded[index].reshape(x.shape[0], -1).sum(axis=1))
    return np.stack(sums, axis=-1).reshape(op.groups, op.inputs), prod(sizes)


def _sizes(op: Weighted, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the spatial sizes of a convolution's output for those of its input."""
    axes = len(shape)
    steps = [int(s) for s in attribute(op.node, "strides", [1] * axes)]
    dilations = [int(d) for d in attribute(op.node, "dilations", [1] * axes)]
    mode = attribute(op.node, "auto_pad", b"NOTSET")
    if mode in (b"SAME_UPPER", b"SAME_LOWER"):
        return tuple(-(-size // step) for size, step in zip(shape, steps, strict=True))
    pads = [int(p) for p in attribute(op.node, "pads", [0] * 2 * axes)] if mode != b"VALID" else [0] * 2 * axes
    spans = zip(shape, pads[:axes], pads[axes:], op.weight[2:], dilations, steps, strict=True)
    return tuple((size + a + b - (k - 1) * d - 1) // s + 1 for size, a, b, k, d, s in spans)


def _chosen(total: int, count: int, seed: int) -> I64:
    """Return `count` of `total` indices, rising, spread evenly at random in strata."""
    if count >= total:
        return np.arange(total)
    edges = np.arange(count + 1) * total // count
    within = np.random.default_rng(seed).random(count)
    return (edges[:-1] + (within * np.diff(edges))).astype(np.int64)


def _convolution_rows(op: Weighted, x: AnyArray, y: AnyArray, count: int, seed: int) -> tuple[F32, F32]:
    chosen = _chosen(prod(y.shape) // y.shape[1], count, seed)
    sample, *where = np.unravel_index(chosen, (y.shape[0], *y.shape[2:]))
    padded, steps, dilations = _padded(op, x, y.shape[2:])
    kernel = op.weight[2:]
    taps = []
    for tap in product(*map(range, kernel)):
        at = tuple(w * s + t * d for w, s, t, d in zip(where, steps, tap, dilations, strict=True))
        index: tuple[Any, ...] = (sample, slice(None), *at)
        taps.append(padded[index])  # [R, Cin]
    patches = np.stack(taps, axis=-1).reshape(chosen.size, op.groups, op.inputs)
    index = (sample, slice(None), *where)
    values = y[index].reshape(chosen.size, op.groups, op.outputs)
    return np.ascontiguousarray(patches.transpose(1, 0, 2)), np.ascontiguousarray(values.transpose(1, 0, 2))


def _padded(op: Weighted, x: AnyArray, sizes: tuple[int, ...]) -> tuple[AnyArray, list[int], list[int]]:
    """Return the input with the convolution's padding, its strides and its dilations."""
    kernel, axes = op.weight[2:], len(op.weight) - 2
    steps = [int(s) for s in attribute(op.node, "strides", [1] * axes)]
    dilations = [int(d) for d in attribute(op.node, "dilations", [1] * axes)]
    mode = attribute(op.node, "auto_pad", b"NOTSET")
    pads = [int(p) for p in attribute(op.node, "pads", [0] * 2 * axes)]
    before, after = pads[:axes], pads[axes:]
    if mode in (b"SAME_UPPER", b"SAME_LOWER"):
        spans = zip(sizes, steps, kernel, dilations, x.shape[2:], strict=True)
        needed = [max((size - 1) * s + (k - 1) * d + 1 - have, 0) for size, s, k, d, have in spans]
        before = [(n + (mode == b"SAME_LOWER")) // 2 for n in needed]
        after = [n - b for n, b in zip(needed, before, strict=True)]
    if any(before) or any(after):
        x = np.pad(x, ((0, 0), (0, 0), *zip(before, after, strict=True)))
    return x, steps, dilations
