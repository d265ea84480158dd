"""Where the channels of a tensor go in operators that move, pool or resize values.

Channels are held as an integer array that broadcasts to the tensor: its shape is the tensor's along the axes by
which the channel differs, and 1 along the others, as [1,C,1,1] for an image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
import onnx

from quantlab.graph.patterns import averages, moves
from quantlab.graph.view import Graph, Shape, attribute, operator
from quantlab.numerics.arrays import I64

Moved: TypeAlias = tuple[I64, ...] | str
"""Channels of each output, or why a scale cannot pass, as the end of a sentence on the operator."""

SAME = frozenset({"Abs", "Dropout", "Identity", "LeakyRelu", "Neg", "Relu"})
"""Operators of one tensor with f(s·x) = s·f(x) for every s > 0."""

IMAGE = frozenset({"AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool"})
"""Poolings: the same for each channel (axes 0 and 1) of an image."""

_CHANNELS_MIX = "mixes or drops channels in a way that is not followed"


def moved(graph: Graph, node: onnx.NodeProto, ids: I64) -> Moved | None:
    """Return the channels of the outputs, given those of input 0; None if `node` is no such operator."""
    kind = operator(node)
    if kind in SAME or kind == "PRelu":
        return (ids,)
    if kind in IMAGE:
        return (ids,) if ids.ndim > 2 else _CHANNELS_MIX
    found = _MOVES.get(kind)
    return None if found is None else found(graph, node, ids)


def reshaped(ids: I64, old: Shape, new: Shape) -> I64 | None:
    """Return the channels after a reshape from `old` to `new`; None if they cannot be followed.

    Sizes are matched from the left and from the right in groups of equal product, as [N][C][H,W] → [N][C][H·W]:
    equal names are equal sizes, "?" equals nothing. Channels may differ along an axis only in groups whose sizes
    are known, or follow.
    """
    before: list[int] = []
    after: list[int] = []
    for left, right in _groups(old, _with_names_of(old, new)):
        part = ids.shape[left.start : left.stop]
        if all(size == 1 for size in part):
            before += part
            after += [1] * len(right)
            continue
        sizes = [size for size in old[left.start : left.stop] if isinstance(size, int)]
        goals = _completed(new[right.start : right.stop], math.prod(sizes))
        if len(sizes) < len(left) or goals is None:
            return None
        before += sizes
        after += goals
    return np.broadcast_to(ids, before).reshape(after)


def _completed(sizes: Shape, product: int) -> list[int] | None:
    """Return the sizes with one that is open filled in so that their product is as given; None if none does."""
    known = math.prod(size for size in sizes if isinstance(size, int))
    filled = [size if isinstance(size, int) else product // max(known, 1) for size in sizes]
    open_sizes = sum(isinstance(size, str) for size in sizes)
    return filled if open_sizes <= 1 and math.prod(filled) == product else None


def _groups(old: Shape, new: Shape) -> list[tuple[range, range]]:
    """Cut two shapes of equal size into runs of axes with equal products; what matches nothing is one run."""
    first = _matches(old, new)
    done_old, done_new = (first[-1][0].stop, first[-1][1].stop) if first else (0, 0)
    last = _matches(old[done_old:][::-1], new[done_new:][::-1])
    turned = [
        (range(len(old) - a.stop, len(old) - a.start), range(len(new) - b.stop, len(new) - b.start))
        for a, b in reversed(last)
    ]
    end_old, end_new = (turned[0][0].start, turned[0][1].start) if turned else (len(old), len(new))
    return [*first, (range(done_old, end_old), range(done_new, end_new)), *turned]


def _matches(old: Shape, new: Shape) -> list[tuple[range, range]]:
    """Return the smallest runs of axes with equal products, from the left, until one side is used up."""
    found: list[tuple[range, range]] = []
    i = j = 0
    while i < len(old) and j < len(new):
        end_i, end_j = i + 1, j + 1
        while (left := _product(old[i:end_i])) != (right := _product(new[j:end_j])):
            grows_left = left[0] < right[0] or bool(set(right[1]) - set(left[1]))
            if grows_left and end_i < len(old):
                end_i += 1
            elif not grows_left and end_j < len(new):
                end_j += 1
            else:
                return found
        if "?" in left[1]:
            return found
        found.append((range(i, end_i), range(j, end_j)))
        i, j = end_i, end_j
    return found


def _product(sizes: Shape) -> tuple[int, list[str]]:
    return math.prod(s for s in sizes if isinstance(s, int)), sorted(s for s in sizes if isinstance(s, str))


def _with_names_of(old: Shape, new: Shape) -> Shape:
    """Return `new` with its one open size called as in `old`, where they must be the same."""
    (known, names), (wanted, others) = _product(old), _product(new)
    if len(names) == len(others) == 1 and known == wanted:
        return tuple(names[0] if isinstance(size, str) else size for size in new)
    return new


def _named(graph: Graph, node: onnx.NodeProto) -> tuple[Shape, Shape] | None:
    """Return the shapes before and after, with a name for each open size that a Reshape copies (0)."""
    old, new = graph.shape(node.input[0]), graph.shape(node.output[0])
    if old is None or new is None:
        return None
    target = graph.constant(node.input[1]) if operator(node) == "Reshape" else None
    if target is None or attribute(node, "allowzero", 0):
        return old, new
    copied = {i: f"\n{i}" for i, size in enumerate(target.reshape(-1)) if size == 0 and old[i] == "?"}
    return tuple(copied.get(i, s) for i, s in enumerate(old)), tuple(copied.get(i, s) for i, s in enumerate(new))


def _reshape(graph: Graph, node: onnx.NodeProto, ids: I64) -> Moved:
    shapes = _named(graph, node)
    if shapes is None or len(shapes[0]) != ids.ndim:
        return "has a shape that is not known"
    old, new = shapes
    old = tuple(size if count == 1 else count for size, count in zip(old, ids.shape, strict=True))
    found = reshaped(ids, old, (*new[:-1], _asked(graph, node.output[0], new[-1])) if new else new)
    return "mixes channels with sizes that are not known" if found is None else (found,)


def _asked(graph: Graph, tensor: str, size: int | str) -> int | str:
    """Return the size of the last axis, where it is open the one that a matrix multiplied with it asks for."""
    if isinstance(size, int):
        return size
    for use in graph.consumers(tensor):
        weight = graph.shape(use.node.input[1]) if operator(use.node) in ("Gemm", "MatMul") else None
        plain = use.input_index == 0 and not attribute(use.node, "transA", 0)
        if plain and weight is not None and len(weight) == 2 and graph.is_constant(use.node.input[1]):
            return weight[1 if attribute(use.node, "transB", 0) else 0]
    return size


def _transpose(_: Graph, node: onnx.NodeProto, ids: I64) -> Moved:
    order = attribute(node, "perm", list(reversed(range(ids.ndim))))
    return (ids.transpose(order),)


def _slice(graph: Graph, node: onnx.NodeProto, ids: I64) -> Moved:
    values = [graph.constant(name) if name else np.zeros(0) for name in node.input[1:]]
    values += [np.zeros(0)] * (4 - len(values))
    if any(value is None for value in values):
        return _CHANNELS_MIX
    starts, ends, axes, steps = ([int(i) for i in np.ravel(np.asarray(value))] for value in values)
    axes = axes or list(range(len(starts)))
    for k, axis in enumerate(axes):
        if ids.shape[axis] > 1:
            cut: list[slice] = [slice(None)] * ids.ndim
            cut[axis] = _cut(starts[k], ends[k], steps[k] if steps else 1, ids.shape[axis])
            ids = ids[tuple(cut)]
    return (ids,)


def _cut(start: int, end: int, step: int, size: int) -> slice:
    """Return ONNX's slice as Python's: a negative step with an end below −size runs to the first element."""
    return slice(start, None if step < 0 and end < -size else end, step)


def _split(graph: Graph, node: onnx.NodeProto, ids: I64) -> Moved:
    axis = int(attribute(node, "axis", 0)) % ids.ndim
    if ids.shape[axis] == 1:
        return (ids,) * len(node.output)
    parts = [graph.shape(name) for name in node.output]
    sizes = [p[axis] for p in parts if p is not None and isinstance(p[axis], int)]
    if len(sizes) < len(parts):
        return _CHANNELS_MIX
    return tuple(np.split(ids, np.cumsum(np.array(sizes, np.int64))[:-1].tolist(), axis=axis))


def _gather(graph: Graph, node: onnx.NodeProto, ids: I64) -> Moved:
    axis = int(attribute(node, "axis", 0)) % ids.ndim
    shape = graph.shape(node.input[1])
    if shape is None:
        return _CHANNELS_MIX
    indices = graph.constant(node.input[1])
    if ids.shape[axis] == 1:
        indices = np.zeros((1,) * len(shape), np.int64)
    return _CHANNELS_MIX if indices is None else (np.take(ids, indices, axis=axis),)


def _expand(graph: Graph, node: onnx.NodeProto, ids: I64) -> Moved:
    shape = graph.shape(node.output[0])
    return _CHANNELS_MIX if shape is None else (ids.reshape((1,) * (len(shape) - ids.ndim) + ids.shape),)


def _pad(graph: Graph, node: onnx.NodeProto, ids: I64) -> Moved:
    amounts = graph.constant(node.input[1]) if len(node.input) > 1 else attribute(node, "pads")
    axes = graph.constant(node.input[3]) if len(node.input) > 3 and node.input[3] else np.arange(ids.ndim)
    if not moves(graph, node):
        return "fills up with values other than zero"
    if amounts is None or axes is None:
        return _CHANNELS_MIX
    pads = np.abs(np.asarray(amounts, np.int64)).reshape(2, -1).sum(axis=0)
    padded = {int(axis) % ids.ndim for axis, amount in zip(axes, pads, strict=True) if amount}
    return _CHANNELS_MIX if any(ids.shape[axis] > 1 for axis in padded) else (ids,)


def _resize(graph: Graph, node: onnx.NodeProto, ids: I64) -> Moved:
    if attribute(node, "coordinate_transformation_mode", b"half_pixel") == b"tf_crop_and_resize":
        return "fills up with values other than zero"
    old, new = graph.shape(node.input[0]), graph.shape(node.output[0])
    if old is None or new is None:
        return _CHANNELS_MIX
    changed = (i for i, (a, b) in enumerate(zip(old, new, strict=True)) if a != b or isinstance(a, str))
    return _CHANNELS_MIX if any(ids.shape[axis] > 1 for axis in changed) else (ids,)


def _mean(graph: Graph, node: onnx.NodeProto, ids: I64) -> Moved:
    if not averages(graph, node) or any(size > 1 for size in ids.shape[2:]):
        return "averages over channels"
    return (ids,) if attribute(node, "keepdims", 1) else (ids.reshape(ids.shape[:2]),)


_MOVES: Mapping[str, Callable[[Graph, onnx.NodeProto, I64], Moved]] = {
    "Expand": _expand,
    "Flatten": _reshape,
    "Gather": _gather,
    "Pad": _pad,
    "ReduceMean": _mean,
    "Reshape": _reshape,
    "Resize": _resize,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _reshape,
    "Transpose": _transpose,
    "Unsqueeze": _reshape,
}
