"""Two engines of one network, compared node by node: which run in another precision, or in another kernel's company."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from quantlab.audit.audit import Audit
from quantlab.audit.gains import Gain, Place, gains
from quantlab.audit.layers import LayerRow
from quantlab.storage.dataclass_json import Form

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["fusion", "precision", "kernel"]
"""fusion: other nodes share a layer; precision: a node's layer reads or writes another type; kernel: the same work by
another kernel."""

_LARGEST = 3
_COLUMNS = ("nodes", "kinds", "first", "second", "first_ms", "second_ms")


FORM = Form("quantlab-audit-difference", "difference of audits", "audit again")


@dataclass(frozen=True, slots=True)
class Group:
    """The smallest set of layers, of both engines, that hold the same nodes.

    Attributes
    ----------
    nodes
        Nodes that both engines have, in the first engine's order.
    kinds
        In what they differ; empty if in nothing.
    first, second
        The layers of each engine.
    """

    nodes: tuple[str, ...]
    kinds: tuple[Kind, ...]
    first: tuple[LayerRow, ...]
    second: tuple[LayerRow, ...]

    @property
    def milliseconds(self) -> tuple[float | None, float | None]:
        """Time in each engine; None without its profile."""
        return _time(self.first), _time(self.second)

    @property
    def how(self) -> str:
        """How many layers of which kind and precision hold the nodes in each engine."""
        return f"{_described(self.first)} in the first, {_described(self.second)} in the second"

    def __str__(self) -> str:
        return f"{', '.join(self.nodes)}: {self.how}"


@dataclass(frozen=True, slots=True)
class Difference:
    """What two engines of one network do differently.

    Attributes
    ----------
    groups
        Every node that both have, in the first engine's order.
    only_first, only_second
        Layers that the other engine does not have by any node: copies, Q/DQ alone, nodes of one model only.
    layers
        How many each engine has.
    gains
        Where the time differs, copies and Q/DQ too, the largest difference first; () unless both have times.
    """

    groups: tuple[Group, ...]
    only_first: tuple[LayerRow, ...]
    only_second: tuple[LayerRow, ...]
    layers: tuple[int, int]
    gains: tuple[Gain, ...] = ()

    @property
    def changes(self) -> tuple[Group, ...]:
        """Groups that differ in fusion or precision, the largest difference in time first where it is known."""
        found = [group for group in self.groups if {"fusion", "precision"} & {*group.kinds}]
        return tuple(sorted(found, key=lambda group: -abs(_gain(group))))

    def frame(self) -> pd.DataFrame:
        """Return one line a group, the unchanged ones too, then one a layer of one engine only."""
        import pandas as pd

        lines: list[tuple[object, ...]] = [
            (", ".join(g.nodes), ", ".join(g.kinds), _names(g.first), _names(g.second), *g.milliseconds)
            for g in self.groups
        ]
        lines += [("", "only first", row.name, "", row.milliseconds, None) for row in self.only_first]
        lines += [("", "only second", "", row.name, None, row.milliseconds) for row in self.only_second]
        return pd.DataFrame(lines, columns=pd.Index(_COLUMNS))

    def summary(self) -> str:
        """Return the difference in a sentence, and with times one on where it is largest."""
        fused = sum("fusion" in group.kinds for group in self.changes)
        typed = sum("precision" in group.kinds for group in self.changes)
        return (
            f"{self.layers[0]} and {self.layers[1]} layers: {fused} groups of nodes are fused differently, {typed} run "
            f"in another precision; {len(self.only_first)} layers of the first and {len(self.only_second)} of the "
            f"second hold no node that the other computes.{self._times()}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
        return FORM.write(self)

    def _times(self) -> str:
        if not self.gains:
            return ""
        first, second = sum(gain.first for gain in self.gains), sum(gain.second for gain in self.gains)
        largest = ", ".join(str(gain) for gain in self.gains[:_LARGEST])
        return f" {first:.4f} and {second:.4f} ms in all layers ({second - first:+.4f}); most at {largest}."

    def _repr_html_(self) -> str:
        return str(self.frame().to_html(escape=True, max_rows=60))


def difference(first: Audit, second: Audit) -> Difference:
    """Compare two audits of engines of one network, whoever built them and from which of its models.

    Nodes are matched by name, so a float model and the Q/DQ model made from it fit. Nodes of one engine only (Pads that
    an exporter folded, Q, DQ) do not count as a difference in fusion.
    """
    one, two = _holders(first), _holders(second)
    shared = [node for node in one if node in two]
    groups = tuple(_groups(shared, one, two))
    used = {id(row) for group in groups for row in (*group.first, *group.second)}
    rests = [tuple(row for row in audit.layers if id(row) not in used) for audit in (first, second)]
    names = [frozenset((row.name, row.precision) for row in rest) for rest in rests]
    return Difference(
        groups,
        tuple(row for row in rests[0] if (row.name, row.precision) not in names[1]),
        tuple(row for row in rests[1] if (row.name, row.precision) not in names[0]),
        (len(first.layers), len(second.layers)),
        gains((Place(g.nodes, g.first, g.second) for g in groups), first.layers, second.layers),
    )


def _holders(audit: Audit) -> dict[str, LayerRow]:
    """Return node → the first layer that computes it."""
    holders: dict[str, LayerRow] = {}
    for row in audit.layers:
        for node in row.nodes if row.role == "compute" else ():
            holders.setdefault(node, row)
    return holders


def _groups(shared: Sequence[str], one: Mapping[str, LayerRow], two: Mapping[str, LayerRow]) -> Iterator[Group]:
    """Yield the components of the graph whose edges are layers that hold the same node."""
    inside: dict[int, list[str]] = {}
    for node in shared:
        for row in (one[node], two[node]):
            inside.setdefault(id(row), []).append(node)
    done: set[str] = set()
    for start in shared:
        if start in done:
            continue
        nodes, waiting = {start}, [start]
        while waiting:
            node = waiting.pop()
            near = {n for row in (one[node], two[node]) for n in inside[id(row)]} - nodes
            nodes |= near
            waiting += near
        done |= nodes
        ordered = tuple(node for node in shared if node in nodes) if len(nodes) > 1 else (start,)
        yield _group(ordered, one, two)


def _group(nodes: tuple[str, ...], one: Mapping[str, LayerRow], two: Mapping[str, LayerRow]) -> Group:
    first, second = _rows(nodes, one), _rows(nodes, two)
    kinds: list[Kind] = []
    if len(first) != 1 or len(second) != 1:
        kinds.append("fusion")
    if any(one[node].precision != two[node].precision for node in nodes) or _written(first) != _written(second):
        kinds.append("precision")
    if not kinds and first[0].tactic != second[0].tactic:
        kinds.append("kernel")
    return Group(nodes, tuple(kinds), first, second)


def _rows(nodes: tuple[str, ...], holders: Mapping[str, LayerRow]) -> tuple[LayerRow, ...]:
    return tuple({id(holders[node]): holders[node] for node in nodes}.values())


def _written(rows: tuple[LayerRow, ...]) -> str:
    return rows[-1].output_precision


def _time(rows: tuple[LayerRow, ...]) -> float | None:
    known = [row.milliseconds for row in rows if row.milliseconds is not None]
    return sum(known) if known else None


def _gain(group: Group) -> float:
    first, second = group.milliseconds
    return 0.0 if first is None or second is None else second - first


def _described(rows: tuple[LayerRow, ...]) -> str:
    kinds = " and ".join(f"{row.kind} {row.types}" for row in rows)
    return f"one layer ({kinds})" if len(rows) == 1 else f"{len(rows)} layers ({kinds})"


def _names(rows: tuple[LayerRow, ...]) -> str:
    return "; ".join(row.name for row in rows)
