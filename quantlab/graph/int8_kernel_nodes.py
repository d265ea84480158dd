"""Writes an INT8 kernel as ONNX nodes that sum integers in float32, exactly, and round as TensorRT does."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from quantlab.graph.int8_kernel import LARGEST, Kernel, Operand, Weight
from quantlab.graph.view import Graph, attribute, operator

EXACT = 2**24
"""Up to here float32 holds every integer."""

_INTEGER_CLIP = 12  # the first opset whose Clip takes INT8, which moves a quarter of the bytes
_FLOAT, _DOUBLE = onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE


class Writer:
    """Collects the nodes and constants of kernels; `taken` are the names that the model has, `opset` is its own."""

    def __init__(self, taken: Iterable[str], opset: int) -> None:
        self._bounds_integers = opset >= _INTEGER_CLIP
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._taken = set(taken)
        self._floats: dict[str, str] = {}
        self._kinds: dict[str, int] = {}

    def add(self, kernel: Kernel, parts: tuple[slice, ...]) -> None:
        """Write a kernel; its sum goes over `parts` of the summed axis one by one."""
        name = kernel.output
        step = np.float32(1) if kernel.step is None else kernel.step
        with np.errstate(over="ignore", under="ignore"):
            alpha = (kernel.x.scale * kernel.w.scale) / step
            bias = None if kernel.bias is None else kernel.bias / step
            beta = None if kernel.residual is None else kernel.residual.scale / step
        values = self._multiply_add(self._sum(kernel, parts), np.asarray(alpha), bias, name)
        if kernel.residual is not None and beta is not None:
            integers = self._as_float(kernel.residual.integers)
            values = self._multiply_add(integers, np.asarray(beta), values, name)
        if kernel.step is not None:
            zero = self._constant("zero_point", np.zeros((), np.int8))
            one = self._constant("one", np.ones((), np.float32))
            bounds = () if _unbounded(kernel) else _integer_bounds(kernel)
            if bounds and not self._bounds_integers:
                floats = [self._constant(f"{name}_bound", bound.astype(np.float32)) for bound in bounds]
                values = self._emit("Clip", [values, *floats], f"{name}_bounded")
            values = self._emit("QuantizeLinear", [values, one, zero], f"{name}_rounded")
            if bounds and self._bounds_integers:
                self._emit("Clip", [values, *(self._constant(f"{name}_bound", bound) for bound in bounds)], name)
        self._end_in(name)

    def _sum(self, kernel: Kernel, parts: tuple[slice, ...]) -> str:
        x = self._as_float(kernel.x.integers)
        if isinstance(kernel.w, Operand):
            return self._operator(kernel, x, self._as_float(kernel.w.integers))
        weight = kernel.w.integers
        if len(parts) == 1:
            return self._operator(kernel, x, self._constant(f"{kernel.output}_weight", weight))
        along, across = summed_axes(kernel)
        total = ""
        for part in parts:
            index = tuple(part if axis == along else slice(None) for axis in range(weight.ndim))
            ends = [np.array([value], np.int64) for value in (part.start, part.stop, across)]
            cut = self._emit("Slice", [x, *(self._constant("cut", value) for value in ends)], kernel.output)
            found = self._operator(kernel, cut, self._constant(f"{kernel.output}_weight", weight[index]))
            wide = self._cast(found, _DOUBLE)
            total = self._typed("Add", [total, wide], kernel.output, _DOUBLE) if total else wide
        return total

    def _operator(self, kernel: Kernel, x: str, w: str) -> str:
        node = onnx.NodeProto()
        node.CopyFrom(kernel.node)
        node.input[:] = [x, w]
        node.output[:] = [self._new(f"{kernel.output}_sum")]
        node.name = self._new(f"{kernel.node.name or kernel.output}_sum")
        if kernel.x.pads:
            own = attribute(node, "pads", [0] * len(kernel.x.pads))
            kept = [a for a in node.attribute if a.name != "pads"]
            del node.attribute[:]
            node.attribute.extend(kept)
            pads = [a + b for a, b in zip(own, kernel.x.pads, strict=True)]
            node.attribute.append(onnx.helper.make_attribute("pads", pads))
        self.nodes.append(node)
        return node.output[0]

    def _multiply_add(
        self, x: str, factor: NDArray[np.float32], term: NDArray[np.float32] | str | None, name: str
    ) -> str:
        """Write x · factor + term, rounded to float32 once, by way of float64; `term` is a tensor or constant."""
        once = term is not None or self._kinds.get(x) == _DOUBLE  # a product alone is rounded once anyway
        kind = _DOUBLE if once else _FLOAT
        number = np.float64 if once else np.float32
        if isinstance(term, np.ndarray) and term.ndim > 1:
            return self._cast(self._by_channel(self._cast(x, kind), factor, term, name), _FLOAT)
        factors = self._constant(f"{name}_factor", factor.astype(number))
        values = self._typed("Mul", [self._cast(x, kind), factors], name, kind)
        if isinstance(term, str):
            values = self._typed("Add", [values, self._cast(term, kind)], name, kind)
        elif term is not None:
            values = self._typed("Add", [values, self._constant(f"{name}_term", term.astype(number))], name, kind)
        return self._cast(values, _FLOAT)

    def _by_channel(self, x: str, factor: NDArray[np.float32], term: NDArray[np.float32], name: str) -> str:
        """Write x · factor + term in float64, [channels, 1, …] each, in one pass: as a normalisation of mean 0 and variance 1."""
        channels = term.shape[0]
        scale = np.broadcast_to(factor, term.shape).reshape(channels).astype(np.float64)
        inputs = [
            self._constant(f"{name}_factor", scale),
            self._constant(f"{name}_term", term.reshape(channels).astype(np.float64)),
            self._constant("mean", np.zeros(channels)),
            self._constant("variance", np.ones(channels)),
        ]
        return self._typed("BatchNormalization", [x, *inputs], name, _DOUBLE, epsilon=0.0)

    def _as_float(self, integers: str) -> str:
        if integers not in self._floats:
            self._floats[integers] = self._emit("Cast", [integers], f"{integers}_float", to=_FLOAT)
        return self._floats[integers]

    def _cast(self, tensor: str, kind: int) -> str:
        if self._kinds.get(tensor, _FLOAT) == kind:
            return tensor
        return self._typed("Cast", [tensor], tensor, kind, to=kind)

    def _typed(self, kind: str, inputs: list[str], name: str, element_type: int, **attributes: float) -> str:
        output = self._emit(kind, inputs, f"{name}_step", **attributes)
        self._kinds[output] = element_type
        return output

    def _emit(self, kind: str, inputs: list[str], name: str, **attributes: float) -> str:
        output = self._new(name)
        node = onnx.helper.make_node(kind, inputs, [output], self._new(f"{output}_{kind}"))
        node.attribute.extend(onnx.helper.make_attribute(key, value) for key, value in attributes.items())
        self.nodes.append(node)
        return output

    def _end_in(self, name: str) -> None:
        """Give the last node's output the name of the kernel's."""
        self.nodes[-1].output[:] = [name]

    def _constant(self, name: str, value: NDArray[Any]) -> str:
        tensor = self._new(name)
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(value).reshape(value.shape), tensor))
        return tensor

    def _new(self, wish: str) -> str:
        name, number = wish, 1
        while name in self._taken:
            name, number = f"{wish}_{number}", number + 1
        self._taken.add(name)
        return name


def exact_parts(kernel: Kernel, graph: Graph) -> tuple[slice, ...]:
    """Return the parts of the summed axis whose sums of products of INT8 stay at most at 2**24, whatever the activation.

    One part if the whole sum does; none if the sum cannot be cut so, or its length is unknown.
    """
    if isinstance(kernel.w, Operand):
        shape = graph.shape(kernel.node.input[0]) or ()
        length = shape[-1] if shape and operator(kernel.node) == "MatMul" else None
        exact = isinstance(length, int) and length * LARGEST**2 <= EXACT
        return (slice(0, length),) if exact else ()
    weight = np.abs(kernel.w.integers.astype(np.int64))
    if _largest_sum(kernel, weight) <= EXACT:
        return (slice(0, None),)
    along, _ = summed_axes(kernel)
    if along is None:
        return ()
    length = weight.shape[along]
    for count in range(2, length + 1):
        edges = np.linspace(0, length, count + 1).astype(int).tolist()
        parts = tuple(slice(a, b) for a, b in pairwise(edges))
        if all(_largest_sum(kernel, weight.take(range(p.start, p.stop), along)) <= EXACT for p in parts):
            return parts
    return ()


def summed_axes(kernel: Kernel) -> tuple[int | None, int]:
    """Return the axes of weight and activation that can be cut to cut the sum; None if the weight has no such axis."""
    node, kind = kernel.node, operator(kernel.node)
    rank = kernel.w.integers.ndim if isinstance(kernel.w, Weight) else 0
    if kind == "Conv" and attribute(node, "group", 1) == 1:
        return 1, 1
    if kind == "Gemm" and not attribute(node, "transA", 0):
        return (1 if attribute(node, "transB", 0) else 0), 1
    return (0, -1) if kind == "MatMul" and rank == 2 else (None, 0)


def _largest_sum(kernel: Kernel, magnitudes: NDArray[np.int64]) -> int:
    kind, rank = operator(kernel.node), magnitudes.ndim
    if kind == "MatMul":
        summed: tuple[int, ...] = (rank - 2,) if rank > 1 else (0,)
    elif kind == "Gemm":
        summed = (1 if attribute(kernel.node, "transB", 0) else 0,)
    else:
        kept = 0 if kind == "Conv" else 1
        summed = tuple(axis for axis in range(rank) if axis != kept)
    return LARGEST * int(magnitudes.sum(axis=summed).max(initial=0))


def _unbounded(kernel: Kernel) -> bool:
    low, high = _integer_bounds(kernel)
    return bool(low == -LARGEST and high == LARGEST - 1)


def _integer_bounds(kernel: Kernel) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """Return the activation's bounds as integers: rounding and bounding commute, for rounding is monotone."""
    step = np.float32(1) if kernel.step is None else kernel.step
    with np.errstate(over="ignore"):
        low, high = (np.rint(np.float32(bound) / step) for bound in kernel.bounds)
    return np.clip(low, -LARGEST, LARGEST - 1).astype(np.int8), np.clip(high, -LARGEST, LARGEST - 1).astype(np.int8)
