"""The same network as another exporter might write it: other names, another order, other weights."""

from __future__ import annotations

import random

import numpy as np
import onnx
from onnx import numpy_helper


def exported_again(
    proto: onnx.ModelProto, rng: random.Random, *, weights: bool = False
) -> tuple[onnx.ModelProto, dict[str, str]]:
    """Return a copy whose tensors and nodes have names that tell nothing, in a random topological order, and old → new.

    `weights`: floats of more than ten elements are changed by some percent, as by training.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    graph = copy.graph
    fixed = {value.name for value in (*graph.input, *graph.output)}
    written = [name for node in graph.node for name in node.output if name and name not in fixed]
    all_names = [*(t.name for t in graph.initializer), *written]
    numbers = rng.sample(range(10 * len(all_names)), len(all_names))
    names = {name: f"t{number}" for name, number in zip(all_names, numbers, strict=True)}
    for index, node in enumerate(graph.node):
        node.name = f"n{index * 7 % 1009}_{index}"
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    draw = np.random.default_rng(rng.randrange(2**32))
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if weights and values.dtype == np.float32 and values.size > 10:
            values = (values * (1 + 0.05 * draw.standard_normal(values.shape))).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(values, names.get(tensor.name, tensor.name)))
    del graph.value_info[:]
    nodes = _shuffled(list(graph.node), {value.name for value in (*graph.input, *graph.initializer)}, rng)
    del graph.node[:]
    graph.node.extend(nodes)
    return copy, names


def _shuffled(nodes: list[onnx.NodeProto], known: set[str], rng: random.Random) -> list[onnx.NodeProto]:
    ordered: list[onnx.NodeProto] = []
    while nodes:
        ready = [i for i, node in enumerate(nodes) if all(name in known or not name for name in node.input)]
        node = nodes.pop(rng.choice(ready))
        known.update(node.output)
        ordered.append(node)
    return ordered
