"""Weighted operators put together by block: a network of hundreds is measured block by block first."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from quantlab.errors import UsageError
from quantlab.graph.model import Model
from quantlab.graph.patterns import WEIGHTED
from quantlab.graph.view import Graph, captured, operator

LARGEST = 8
"""Operators in a block at most: those of a transformer's layer."""

_JOINED = 4  # the operators of a residual block: what lies in a row is joined up to there
_INFORMATIVE = 1.5  # operators a block on average, below which names tell nothing


def blocks(model: Model, *, largest: int = LARGEST) -> dict[str, tuple[str, ...]]:
    """Return block → its weighted operators, each operator in exactly one, all in graph order.

    Names come first: a block is the shortest prefix, cut at «/» and «.», which at most `largest` operators have in common
    («/layer3/layer3.1», «/encoder/layer.4»). Where names tell nothing («Conv_17»), the graph is cut at the tensors past
    which nothing else is passed on, so that a residual block stays whole; neighbours are joined up to four operators,
    and what has more than eight is divided. Such a block is named by its first and last operator.

    Parameters
    ----------
    model
        A normalised model; nodes have names.
    largest
        Operators in a block at most.
    """
    graph = Graph(model.proto)
    weighted = [node.name for node in graph.nodes if operator(node) in WEIGHTED]
    named = _by_prefix(weighted, largest)
    if len(weighted) >= _INFORMATIVE * len(named):
        return named
    return {_title(part): tuple(part) for part in _sized(_stretches(graph), largest)}


def units(operators: Sequence[str], groups: Mapping[str, Sequence[str]] | None) -> Mapping[str, tuple[str, ...]]:
    """Return the groups cut down to these operators, in their order; an operator that no group has is one by itself.

    Raises
    ------
    UsageError
        An operator is in two groups, or a group has the name of an operator that is not in it.
    """
    place: dict[str, str] = {}
    for title, names in (groups or {}).items():
        if title in operators and title not in names:
            raise UsageError(f"Group «{title}» has the name of an operator that is not in it: call it otherwise.")
        for name in names:
            if place.setdefault(name, title) != title:
                raise UsageError(f"Operator «{name}» is in two groups, «{place[name]}» and «{title}»: leave it in one.")
    found: dict[str, list[str]] = {}
    for name in operators:
        found.setdefault(place.get(name, name), []).append(name)
    return MappingProxyType({title: tuple(names) for title, names in found.items()})


def _by_prefix(names: Sequence[str], largest: int) -> dict[str, tuple[str, ...]]:
    shared: dict[str, set[str]] = {}
    for name in names:
        for prefix in _prefixes(name):
            shared.setdefault(prefix, set()).add(name)
    found: dict[str, list[str]] = {}
    for name in names:
        title = next((p for p in _prefixes(name) if len(shared[p]) <= largest), name)
        found.setdefault(title, []).append(name)
    return {title: tuple(members) for title, members in found.items()}


def _prefixes(name: str) -> list[str]:
    """Return what stands before each separator, the shortest first, and the whole name; a leading «/» separates nothing."""
    return [name[: m.start()] for m in re.finditer(r"[/.]", name) if m.start()] + [name]


def _stretches(graph: Graph) -> Iterable[list[str]]:
    """Yield the weighted operators between two tensors that alone carry on all that was computed."""
    last = {name: i for i, node in enumerate(graph.nodes) for name in (*node.input, *captured(node)) if name}
    last |= dict.fromkeys(graph.outputs, -1)  # an output is kept by nobody
    live, found = set(graph.inputs), list[str]()
    for i, node in enumerate(graph.nodes):
        if operator(node) in WEIGHTED:
            found.append(node.name)
        live |= {name for name in node.output if name and not graph.is_constant(name)}
        live = {name for name in live if last.get(name, -1) > i}
        if len(live) <= 1 and found:
            yield found
            found = []
    if found:
        yield found


def _sized(stretches: Iterable[list[str]], largest: int) -> Iterable[list[str]]:
    waiting: list[str] = []
    for stretch in stretches:
        if len(waiting) + len(stretch) <= min(_JOINED, largest):
            waiting = waiting + stretch
            continue
        if waiting:
            yield waiting
        whole = len(stretch) // largest * largest if len(stretch) > largest else 0
        yield from (stretch[i : i + largest] for i in range(0, whole, largest))
        waiting = stretch[whole:]
    if waiting:
        yield waiting


def _title(part: Sequence[str]) -> str:
    return part[0] if len(part) == 1 else f"{part[0]} … {part[-1]}"
