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
from quantlab.tuning.ladder import LEAST_DB, Ladder, Methods

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

_SINGLE = 6  # tensors that are tried one by one
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
    best = _best_single(ladder, tables)
    if best != first and ladder.attempt(RUNG, best, "one method for all tensors", lambda: _with(ladder, tables[best])):
        ladder.methods = Methods(METHODS[best])
    if not ladder.done:
        _single_tensors(ladder, tables)


def _best_single(ladder: Ladder, tables: dict[str, ScaleTable]) -> str:
    found = {}
    for name, table in tables.items():
        score = ladder.look(RUNG, f"{name}, ranked", "one method for all tensors", partial(_with, ladder, table))
        found[name] = score.worth_db if score else float("-inf")
    first = next(iter(tables))
    best = max(found, key=lambda name: found[name])
    return best if found[best] > found[first] + LEAST_DB else first


def _single_tensors(ladder: Ladder, tables: dict[str, ScaleTable]) -> None:
    """Try another method for the tensors over which the methods differ most; keep what lowers the output's error."""
    start = ladder.best.table
    single: dict[str, str] = {}
    table, level = start, _level(ladder, start)
    for tensor, name in _disagreements(ladder, tables, start):
        trial = table.with_rows([tables[name][tensor]])
        score = ladder.look(RUNG, f"{tensor} by {name}", f"{name} for «{tensor}» alone", partial(_with, ladder, trial))
        if score is not None and score.worth_db > level + LEAST_DB:
            table, level = trial, score.worth_db
            single[tensor] = name
    if single:
        change = f"{len(single)} tensors by a method of their own"
        if ladder.attempt(RUNG, "per tensor", change, lambda: _with(ladder, table)):
            methods = {**ladder.methods.single, **{tensor: METHODS[name] for tensor, name in single.items()}}
            ladder.methods = Methods(ladder.methods.default, methods)


def _level(ladder: Ladder, table: ScaleTable) -> float:
    score = ladder.look(RUNG, "the best so far, ranked", "", lambda: _with(ladder, table))
    return score.worth_db if score else float("-inf")


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
