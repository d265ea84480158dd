"""Names for nodes that have none."""

from __future__ import annotations

from collections.abc import Iterable

import onnx


def name_nodes(nodes: Iterable[onnx.NodeProto]) -> tuple[int, int]:
    """Give unnamed nodes the name of their operator and position (`Conv_12`), and repeated names a number.

    Existing names stay with the first node that has them. Returns how many were unnamed and how many repeated.
    """
    listed = list(nodes)
    taken = {node.name for node in listed}
    seen: set[str] = set()
    unnamed = repeated = 0
    for position, node in enumerate(listed):
        if node.name and node.name not in seen:
            seen.add(node.name)
            continue
        repeated += bool(node.name)
        unnamed += not node.name
        node.name = _free_name(node.name or node.op_type, position, taken)
        taken.add(node.name)
        seen.add(node.name)
    return unnamed, repeated


def _free_name(stem: str, position: int, taken: set[str]) -> str:
    name = f"{stem}_{position}"
    while name in taken:
        name += "_"
    return name
