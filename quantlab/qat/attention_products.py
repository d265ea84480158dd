"""Scaled dot-product attention as the products that it consists of, so that quantizers can sit on their operands."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import fx
from torch.nn import functional

_ATTENTION = (functional.scaled_dot_product_attention, torch.ops.aten.scaled_dot_product_attention.default)
_ORDER = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa")


def open_attention(
    module: fx.GraphModule, shapes: Mapping[str, tuple[int, ...]], exporter: Literal["torchscript", "dynamo"]
) -> int:
    """Replace each attention without mask by softmax(√s·q × √s·kᵀ) × v, in place, as torch's exporter writes it.

    With s = 1 / √d unless it is given. Attention with a mask, dropout or grouped heads stays one operator. Returns how many
    were replaced.
    """
    opened = 0
    for node in list(module.graph.nodes):
        given = _given(node, shapes)
        if given is None:
            continue
        with module.graph.inserting_before(node):
            node.replace_all_uses_with(_written(module.graph, given, shapes, exporter))
        module.graph.erase_node(node)
        opened += 1
    if opened:
        module.recompile()
    return opened


def _given(node: fx.Node, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any] | None:
    if node.op != "call_function" or node.target not in _ATTENTION:
        return None
    given: dict[str, Any] = dict(zip(_ORDER, node.args, strict=False)) | dict(node.kwargs)
    special = any(given.get(name) for name in ("dropout_p", "is_causal", "enable_gqa"))
    known = isinstance(given["query"], fx.Node) and given["query"].name in shapes
    number = given.get("scale") is None or isinstance(given["scale"], int | float)
    return None if special or given.get("attn_mask") is not None or not known or not number else given


def _written(
    graph: fx.Graph,
    given: Mapping[str, Any],
    shapes: Mapping[str, tuple[int, ...]],
    exporter: Literal["torchscript", "dynamo"],
) -> fx.Node:
    query, key = given["query"], given["key"]
    scale = given.get("scale")
    root = math.sqrt(1 / math.sqrt(shapes[query.name][-1]) if scale is None else scale)
    if exporter == "torchscript":
        back = graph.call_function(torch.transpose, (key, -2, -1))
    else:
        size = [graph.call_function(torch.ops.aten.sym_size.int, (key, i)) for i in range(len(shapes[key.name]))]
        flat = graph.call_function(torch.reshape, (key, [-1, size[-2], size[-1]]))
        swapped = graph.call_function(torch.transpose, (flat, 1, 2))
        back = graph.call_function(torch.reshape, (swapped, [*size[:-2], size[-1], size[-2]]))
    product = (graph.call_function(torch.mul, (query, root)), graph.call_function(torch.mul, (back, root)))
    weights = graph.call_function(torch.softmax, (graph.call_function(torch.matmul, product), -1))
    return graph.call_function(torch.matmul, (weights, given["value"]))
