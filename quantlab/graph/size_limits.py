"""Refuses models whose own words make a tensor that no network has: twenty bytes of shape can ask for 100 GB."""

from __future__ import annotations

from math import prod

import onnx

from quantlab.errors import InputError
from quantlab.graph.view import Graph

LARGEST_TENSOR = 1 << 32
"""Bytes; the activations of one sample of the largest photographs in a detector are a tenth of it."""


def refuse_huge_tensors(proto: onnx.ModelProto) -> None:
    """Look at every tensor whose shape is fixed, before a runtime makes it.

    Raises
    ------
    InputError
        For a computed tensor of more than 4 GiB, naming it.
    """
    graph = Graph(proto)
    for name in graph.tensors():
        shape, dtype = graph.shape(name), graph.dtype(name)
        sizes = [size for size in shape or () if isinstance(size, int)]
        if shape is None or dtype is None or len(sizes) < len(shape):
            continue
        size = prod(sizes) * dtype.itemsize
        if size > LARGEST_TENSOR:
            raise InputError(
                f"Tensor '{name}' would have the shape {sizes}, {size:,} bytes; at most {LARGEST_TENSOR:,} are computed: the "
                "model is damaged, or no network."
            )
