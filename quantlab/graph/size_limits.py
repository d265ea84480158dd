"""Refuses models whose own words ask for more than any network has: a few bytes of shape for 100 GB, a few functions for 2³⁰ nodes."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

import onnx

from quantlab.errors import InputError
from quantlab.graph.view import Graph, bodies

LARGEST_TENSOR = 1 << 32
"""Bytes; the activations of one sample of the largest photographs in a detector are a tenth of it."""

MOST_NODES = 100_000
"""Nodes and stored tensors, those of functions counted at each call: runtimes take a time that grows with their square."""

MOST_READERS = 10_000
"""Nodes that read one tensor; the time grows with the square of these too."""


def refuse_too_many(proto: onnx.ModelProto) -> None:
    """Count nodes and stored tensors as they are once functions are inlined, without inlining them.

    Raises
    ------
    InputError
        For more than 100,000, or a tensor that more than 10,000 nodes read.
    """
    try:
        found = _Counts(proto).of(proto.graph.node) + len(proto.graph.initializer)
    except RecursionError as error:
        raise InputError(
            "The model's functions call each other hundreds of times deep, which no exporter does."
        ) from error
    if found > MOST_NODES:
        raise InputError(
            f"The model has {found:,} nodes and stored tensors, functions counted at each call; at most {MOST_NODES:,} are "
            "taken: the model is damaged, or no network."
        )
    readers: dict[str, int] = {}
    for node in proto.graph.node:
        for name in node.input:
            readers[name] = readers.get(name, 0) + 1
    name = max(readers, key=lambda each: readers[each] if each else 0, default="")
    if name and readers[name] > MOST_READERS:
        raise InputError(
            f"Tensor '{name}' is read {readers[name]:,} times; at most {MOST_READERS:,} are taken: the model is damaged, or "
            "no network."
        )


class _Counts:
    """Nodes below calls, each function counted once."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        self._functions = {(each.domain, each.name): each for each in proto.functions}
        self._known: dict[tuple[str, str], int] = {}

    def of(self, nodes: Iterable[onnx.NodeProto]) -> int:
        """Return how many nodes these stand for, with those of the bodies in them."""
        return sum(1 + self._called(node.domain, node.op_type) + self._held(node) for node in nodes)

    def _held(self, node: onnx.NodeProto) -> int:
        return sum(self.of(body.node) + len(body.initializer) for body in bodies(node))

    def _called(self, domain: str, name: str) -> int:
        key = domain, name
        if key not in self._functions:
            return 0
        if key not in self._known:
            self._known[key] = 0  # one that calls itself is refused by the ONNX checker
            self._known[key] = self.of(self._functions[key].node)
        return self._known[key]


def refuse_huge_tensors(proto: onnx.ModelProto) -> None:
    """Look at the shape of every tensor before a runtime makes it; a free dimension counts once.

    Raises
    ------
    InputError
        For a computed tensor of more than 4 GiB, naming it; also as `refuse_too_many` does.
    """
    refuse_too_many(proto)
    graph = Graph(proto)
    for name in graph.tensors():
        shape, dtype = graph.shape(name), graph.dtype(name)
        if shape is None or dtype is None:
            continue
        size = prod(size for size in shape if isinstance(size, int) and size >= 0) * dtype.itemsize
        if size > LARGEST_TENSOR:
            raise InputError(
                f"Tensor '{name}' would have the shape {list(shape)}, {size:,} bytes; at most {LARGEST_TENSOR:,} are computed: the "
                "model is damaged, or no network."
            )
