"""Which method chooses each activation's range: first one for all, then another where the output is better for it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from math import log

from quantlab.calibration.methods.entropy import Entropy
from quantlab.calibration.methods.minmax import MinMax
from quantlab.calibration.methods.percentile import Percentile
from quantlab.calibration.methods.squared_error import SquaredError
from quantlab.calibration.scale_table import ScaleTable
from quantlab.tuning.candidate import Candidate
from quantlab.tuning.ladder import BEHIND_RANKED_DB, LEAST_DB, Ladder, Methods

RUNG = "thresholds"

METHODS = {
    "squared error": SquaredError(),
    "min-max": MinMax(),
    "percentile 99.99": Percentile(99.99),
    "percentile 99.999": Percentile(99.999),
    "percentile 99.9 of what is not zero": Percentile(99.9, of="nonzero"),
    "entropy": Entropy(),
}
FIRST = Methods(METHODS["squared error"])
"""What the search starts with."""

_SINGLE = 4  # tensors that are tried one by one
_FAR_DB = 3.0  # a method that is so far behind for all tensors is not tried for one
_LEAST_DB = 0.2  # a method for all tensors that ranks above by less is not measured on all samples
_APART = 1.2  # scales nearer than that are as good as one


def climb(ladder: Ladder) -> None:
    """Start from the least expected squared error, and leave it where the output says so."""
    tables = {name: Methods(method).table(ladder.ground.histograms) for name, method in METHODS.items()}
    first, *others = METHODS
    if not ladder.attempt(RUNG, first, "every range of least squared error", lambda: _with(ladder, tables[first])):
        ladder.attempt(RUNG, others[0], "every range is all that was seen", lambda: _with(ladder, tables[others[0]]))
    ladder.methods = FIRST
    if ladder.done:
        return
    best, tables = _best_single(ladder, tables)
    if best and ladder.attempt(RUNG, best, "one method for all tensors", lambda: _with(ladder, tables[best])):
        ladder.methods = Methods(METHODS[best])
    if not ladder.done:
        _single_tensors(ladder, tables)


def _best_single(ladder: Ladder, tables: dict[str, ScaleTable]) -> tuple[str, dict[str, ScaleTable]]:
    """Return the method that ranks clearly above the best so far, empty if none does, and the methods that are not hopeless."""
    start, left = ladder.ranked, dict(tables)
    best, leader, least = "", ladder.ranked, _LEAST_DB
    tried = {trial.label for trial in ladder.trials if trial.rung == RUNG}
    for name, table in tables.items():
        if name in tried:
            continue
        trial = ladder.rank(
            RUNG, f"{name}, ranked", "one method for all tensors", partial(_with, ladder, table),
            rivals=(leader, BEHIND_RANKED_DB),
        )  # fmt: skip
        if trial.leads(leader, least):
            best, leader, least = name, trial.scores, 0.0
        if not trial.scores or trial.scores[0].behind(start[0], _FAR_DB):
            del left[name]
    return best, left


def _single_tensors(ladder: Ladder, tables: dict[str, ScaleTable]) -> None:
    """Try another method for the tensors over which the methods differ most; keep what lowers the output's error."""
    start = ladder.best.table
    single: dict[str, str] = {}
    table, leader = start, ladder.ranked
    for tensor, name in _disagreements(ladder, tables, start):
        other = table.with_rows([tables[name][tensor]])
        trial = ladder.rank(
            RUNG, f"{tensor} by {name}", f"{name} for «{tensor}» alone", partial(_with, ladder, other),
            rivals=(leader, 0.0),
        )  # fmt: skip
        if trial.leads(leader, LEAST_DB):
            table, leader = other, trial.scores
            single[tensor] = name
    if single:
        change = f"{len(single)} tensors by a method of their own"
        if ladder.attempt(RUNG, "per tensor", change, lambda: _with(ladder, table)):
            methods = {**ladder.methods.single, **{tensor: METHODS[name] for tensor, name in single.items()}}
            ladder.methods = Methods(ladder.methods.default, methods)


def _disagreements(ladder: Ladder, tables: dict[str, ScaleTable], start: ScaleTable) -> Iterator[tuple[str, str]]:
    """Yield the tensors over whose range the methods differ most, each with the methods farthest from its range now."""
    used = set(ladder.best.quantized().quantized)
    apart: list[tuple[float, str, str]] = []
    for row in start.rows:
        if row.tensor not in used:
            continue
        others = {name: table[row.tensor].scale[0] / row.scale[0] for name, table in tables.items()}
        wide = max(others, key=lambda name: others[name])
        tight = min(others, key=lambda name: others[name])
        apart += [(abs(log(others[n])), row.tensor, n) for n in {wide, tight} if abs(log(others[n])) > log(_APART)]
    for _, tensor, name in sorted(apart, key=lambda item: (-item[0], item[1], item[2]))[:_SINGLE]:
        yield tensor, name


def _with(ladder: Ladder, table: ScaleTable) -> Candidate:
    return ladder.best.with_table(table)
