"""The fewest multiply-accumulates left in float that meet a target, and the front of all that was measured."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from quantlab.errors import StaleError, UsageError
from quantlab.numerics.markup import card, frame_table
from quantlab.tuning.candidate import Candidate
from quantlab.tuning.float_trials import FloatTrial, FloatTrials, Memory, Prepare
from quantlab.tuning.front import FrontPoint, frame_of, front_of
from quantlab.tuning.scoring import Scorer
from quantlab.tuning.sensitivity import Sensitivity, SensitivityRow
from quantlab.tuning.target import Standing, Target

if TYPE_CHECKING:
    import pandas as pd

_WORTH: dict[Standing, int] = {"misses": 0, "likely": 1, "holds": 2}


@dataclass(frozen=True, slots=True)
class MixedOptions:
    """How far to go.

    Attributes
    ----------
    at_most
        Share, 0 … 1, that may stay float, of what `of` says; beyond it the search gives up.
    of
        operators: of those that the candidate quantizes; macs: of the network's multiply-accumulates.
    put_back
        Trials at most that try whether less does.
    latency
        Candidate → milliseconds of an engine; called for the points of the front. None: not measured.
    prepare
        Makes a candidate's corrections anew for what stays in INT8, from its exact model on: those of a walk were fitted
        to the errors of what now is float. As that costs time for each trial, one order of the operators is tried then.
        None: corrections stay, which is right where an operator's own does not depend on others.
    """

    at_most: float = 0.5
    of: Literal["operators", "macs"] = "operators"
    put_back: int = 32
    latency: Callable[[Candidate], float] | None = None
    prepare: Prepare | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.at_most <= 1:
            raise UsageError(f"What may stay float is a share from 0 to 1, not {self.at_most!r}.")
        if self.put_back < 0:
            raise UsageError(f"The number of trials is at least 0, not {self.put_back!r}.")


@dataclass(frozen=True, slots=True, eq=False)
class MixedPrecision:
    """What has to stay float.

    Attributes
    ----------
    candidate
        The one given, with `kept` in float too.
    kept
        Operators left in float, in graph order; () if the target is met without, or nothing helps.
    standing
        How the candidate stands to the target.
    missed
        What the target asks beyond it, in a sentence; «» if it is met.
    front
        Of `trials`, those that no other beats or equals in INT8 coverage, SQNR and drop; most coverage first.
    trials
        All that was measured on the deciding samples, in order.
    """

    candidate: Candidate
    kept: tuple[str, ...]
    standing: Standing
    missed: str
    front: tuple[FrontPoint, ...]
    trials: tuple[FrontPoint, ...] = field(repr=False)

    def frame(self) -> pd.DataFrame:
        """Return one line a trial: shares 0 … 1, SQNR in dB, drop in percentage points, latency in milliseconds."""
        return frame_of(self.trials, self.front, self.kept)

    def _repr_html_(self) -> str:
        facts = {"target": self.standing, "operators in float": len(self.kept), "missed": self.missed}
        return card("MixedPrecision", facts, more=frame_table(self.frame()))


def mixed_precision(
    scorer: Scorer,
    candidate: Candidate,
    target: Target,
    sensitivity: Sensitivity,
    *,
    options: MixedOptions | None = None,
    memory: Memory | None = None,
) -> MixedPrecision:
    """Find the operators to leave float: the least share of multiply-accumulates, then the fewest, that meet the target.

    The rows of the sensitivity are left float together, 1, 2, 4, …, until the target holds, and halving finds the
    least number; every step is measured as a whole, since errors neither add up nor leave each other alone. Where the
    rows in order of gain, or of noise whatever it costs, meet the target with less, they are taken instead. Then each
    row, the last ones first, goes back to INT8 if the target still holds, and so does each operator of a block. That no
    other set is smaller is not shown.

    The target is met where `Target.judged` says «holds»; if nothing within the limit does, where it says «likely», which
    is all that few samples can show. The same inputs give the same result.

    Parameters
    ----------
    scorer
        The deciding samples, all of them.
    sensitivity
        Of this candidate, or of one that quantizes the same operators: it only orders what is tried.
    memory
        As for `measure_sensitivity`; keys tell the number of samples, so that one memory serves both.

    Raises
    ------
    StaleError
        The sensitivity is of other operators.
    QuantlabError
        As `Scorer.score`.
    """
    settings = options or MixedOptions()
    trials = FloatTrials(scorer, candidate, memory, settings.prepare)
    _check(sensitivity, trials)
    found: FloatTrial | None = None
    asked: tuple[Standing, ...] = ("holds", "likely") if target.can_be_shown(trials.trial(()).score) else ("likely",)
    for least in asked:
        found = found or _Search(trials, target, settings, least).smallest(sensitivity)
    chosen = _best(trials, target) if found is None else found
    standing = target.judged(chosen.score)
    return MixedPrecision(
        trials.kept(chosen.floats),
        chosen.floats,
        standing,
        "" if found is not None else _missed(target, chosen, trials, settings),
        tuple(_timed(point, trials, settings) for point in front_of(_points(trials))),
        _points(trials),
    )


class _Search:
    """One search, for a standing of at least `least`."""

    def __init__(self, trials: FloatTrials, target: Target, options: MixedOptions, least: Standing) -> None:
        self._trials, self._target, self._options, self._least = trials, target, options, _WORTH[least]
        self._left = options.put_back

    def smallest(self, sensitivity: Sensitivity) -> FloatTrial | None:
        if self._meets(()):
            return self._trials.trial(())
        rows = self._prefix(self._allowed(sensitivity.rows))
        for order in () if self._options.prepare else (sensitivity.by_gain, sensitivity.by_noise):
            others = self._below(self._allowed(order), rows)
            if self._meets(_names(others)):  # if not even the longest does, no shorter one is tried
                rows = self._prefix(others)
        if rows is None:
            return None
        names = self._reduced([row.nodes for row in rows])
        return self._trials.trial(self._reduced([(name,) for name in names]) if len(names) > len(rows) else names)

    def _meets(self, floats: Collection[str]) -> bool:
        return _WORTH[self._target.judged(self._trials.trial(floats).score)] >= self._least

    def _allowed(self, rows: Sequence[SensitivityRow]) -> list[SensitivityRow]:
        """Return the rows that fit into the limit together, in order; all operators in float is no INT8 network."""
        every = len(self._trials.operators)
        kept: list[SensitivityRow] = []
        for row in rows:
            names = _names([*kept, row])
            used = len(names) / every if self._options.of == "operators" else self._trials.share(names)
            if used <= self._options.at_most and len(names) < every:
                kept.append(row)
        return kept

    def _below(self, rows: list[SensitivityRow], known: Sequence[SensitivityRow] | None) -> list[SensitivityRow]:
        """Return the longest prefix that costs less than what is known already."""
        if known is None:
            return rows
        limit = self._cost(_names(known))
        return rows[: sum(self._cost(_names(rows[: k + 1])) < limit for k in range(len(rows)))]

    def _cost(self, names: Collection[str]) -> tuple[float, int]:
        return self._trials.share(names), len(names)

    def _prefix(self, rows: list[SensitivityRow]) -> list[SensitivityRow] | None:
        """Return the shortest prefix that meets the target, as far as halving finds it; None if there is none."""
        if not rows:
            return None
        low, high = 0, 1
        while not self._meets(_names(rows[:high])):
            if high == len(rows):
                return None
            low, high = high, min(2 * high, len(rows))
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._meets(_names(rows[:middle])) else (middle, high)
        return rows[:high]

    def _reduced(self, parts: Sequence[Sequence[str]]) -> tuple[str, ...]:
        """Put parts back into INT8 while the target holds, the last first: they are worth least."""
        kept = [*parts]
        for part in reversed(parts):
            fewer = [name for other in kept if other is not part for name in other]
            if self._left and len(kept) > 1:
                self._left -= 1
                if self._meets(fewer):
                    kept.remove(part)
        return tuple(name for part in kept for name in part)


def _check(sensitivity: Sensitivity, trials: FloatTrials) -> None:
    theirs, own = {name for row in sensitivity.rows for name in row.nodes}, set(trials.operators)
    if theirs != own:
        other = sorted(theirs ^ own)
        raise StaleError(
            f"The sensitivity is of another candidate: they differ in {len(other)} quantized operators, such as "
            f"«{other[0]}». Measure it again."
        )


def _names(rows: Sequence[SensitivityRow]) -> tuple[str, ...]:
    return tuple(name for row in rows for name in row.nodes)


def _points(trials: FloatTrials) -> tuple[FrontPoint, ...]:
    return tuple(FrontPoint.of(trial, trials.coverage(trial.floats)) for trial in trials.found.values())


def _best(trials: FloatTrials, target: Target) -> FloatTrial:
    """Return the nearest miss: the least noise."""
    points = {point.floats: point for point in _points(trials)}

    def worth(trial: FloatTrial) -> tuple[int, float, float]:
        point = points[trial.floats]
        return _WORTH[target.judged(trial.score)], point.sqnr_db, point.coverage

    return max(trials.found.values(), key=worth)


def _missed(target: Target, chosen: FloatTrial, trials: FloatTrials, options: MixedOptions) -> str:
    point = FrontPoint.of(chosen, trials.coverage(chosen.floats))
    lost = "" if point.drop is None else f", {point.drop:.2f} points lost"
    return (
        f"Asked is {target.sentence()}; with at most {100 * options.at_most:g} % of the {options.of} in float the best "
        f"has SQNR {point.sqnr_db:.1f} dB{lost}, {len(chosen.floats)} operators in float."
    )


def _timed(point: FrontPoint, trials: FloatTrials, options: MixedOptions) -> FrontPoint:
    if options.latency is None:
        return point
    return replace(point, latency_ms=float(options.latency(trials.kept(point.floats))))
