"""The ladder: float, PTQ by each method, what tuning tried, training; each rung with what it loses, gains and costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Literal

from quantlab.comparison.metric_score import MetricScore
from quantlab.comparison.statistics import Interval
from quantlab.report.report_score import MethodRow, Score
from quantlab.report.searched import Search, Standing, Training

Kind = Literal["float", "PTQ", "tuned", "trained"]


@dataclass(frozen=True, slots=True)
class Rung:
    """One way to run the network.

    Attributes
    ----------
    kind, name, detail
        What it is, what to call it, and what it changed.
    where
        The samples it was measured on: drops are compared within one set only.
    samples
        How many; 0 where nothing was measured.
    metric, drop, interval
        What is lost, in percentage points, and its interval; None where no metric was measured, or one in its own unit.
    gain
        Points less lost than on the rung before it that was measured on the same samples.
    output_db
        SQNR of the worst output.
    coverage
        Share of the multiply-accumulates on integers, 0 … 1.
    floats
        Operators in float by wish.
    seconds
        What it took to make and to measure.
    standing
        To the limit; empty without one.
    result
        Whether it is what the folder's INT8 model is.
    """

    kind: Kind
    name: str
    detail: str = ""
    where: str = ""
    samples: int = 0
    metric: str = ""
    drop: float | None = None
    interval: Interval | None = None
    gain: float | None = None
    output_db: float | None = None
    coverage: float | None = None
    floats: int = 0
    seconds: float | None = None
    standing: Standing | Literal[""] = ""
    result: bool = False


@dataclass(frozen=True, slots=True)
class Ladder:
    """All rungs, in the order in which they were climbed.

    Attributes
    ----------
    limit
        Points that may be lost; None where nothing was asked.
    sentences
        What search and training say of themselves.
    """

    rungs: tuple[Rung, ...]
    limit: float | None = None
    sentences: tuple[str, ...] = ()

    @property
    def better(self) -> Rung | None:
        """A rung beside the result that keeps the limit on data that chose nothing; None where there is none."""
        own = next((rung for rung in self.rungs if rung.result), None)
        if own is None or own.standing in ("", "holds", "likely"):
            return None
        judged = (r for r in self.rungs if not r.result and r.where.startswith("evaluation"))
        return next((rung for rung in judged if rung.standing in ("holds", "likely")), None)


def standing_of(drop: float | None, interval: Interval | None, limit: float | None) -> Standing | Literal[""]:
    """Return how a drop stands to a limit, both in points; undecided: above it, while the interval holds the limit."""
    if drop is None or interval is None or limit is None:
        return ""
    if interval.high <= limit:
        return "holds"
    if drop <= limit:
        return "likely"
    return "undecided" if interval.low <= limit else "misses"


def climb(
    methods: Sequence[MethodRow],
    final: Score | None,
    *,
    limit: float | None = None,
    search: Search | None = None,
    training: Training | None = None,
    coverages: Mapping[str, float] | None = None,
) -> Ladder | None:
    """Return the ladder of a run; None where there is but one way, or none.

    Parameters
    ----------
    methods, final
        The methods' scores on the tuning set, and the result's; None where search or training are the folder's result.
    limit
        Points that may be lost; the search's or the training's own by default.
    search, training
        What these commands left.
    coverages
        File name of an INT8 model → share of its multiply-accumulates on integers; "" is the result's.
    """
    shares = coverages or {}
    targets = [part.target.max_drop for part in (training, search) if part is not None]
    asked = limit if limit is not None else next((value for value in targets if value is not None), None)
    rungs = [*_methods(methods, asked), *_result(methods, final, asked, shares.get(""))]
    rungs += [*_searched(search), *_last_word(search, shares.get(""), result=training is None and final is None)]
    rungs += _trained(training, shares, result=final is None)
    if len(rungs) < 2:
        return None
    base = Rung("float", "FP32", "the float network", metric=rungs[0].metric, drop=0.0, coverage=0.0)
    sentences = tuple(part.verdict for part in (search, training) if part is not None)
    return Ladder((base, *_with_gains(rungs)), asked, sentences)


def _methods(methods: Sequence[MethodRow], limit: float | None) -> Iterator[Rung]:
    for method in methods:
        if method.score is not None:
            yield replace(_of_score("PTQ", method.name, method.score, limit), detail="calibration method")


def _result(
    methods: Sequence[MethodRow], final: Score | None, limit: float | None, share: float | None
) -> Iterator[Rung]:
    if final is None or final in [method.score for method in methods]:
        return
    chosen = next((method.name for method in methods if method.chosen), "")
    rung = _of_score("PTQ", "Result", final, limit)
    yield replace(rung, detail=chosen and f"by {chosen}", coverage=share, result=True)


def _of_score(kind: Kind, name: str, score: Score, limit: float | None) -> Rung:
    drop, interval = _points(score.main)
    return Rung(
        kind,
        name,
        where=score.data,
        samples=score.samples,
        metric=score.main.name if score.main else "",
        drop=drop,
        interval=interval,
        output_db=score.output_db,
        standing=standing_of(drop, interval, limit),
    )


def _points(main: MetricScore | None) -> tuple[float | None, Interval | None]:
    """Return the drop in points; none of a metric in its own unit, which no limit in points can judge."""
    return (None, None) if main is None or main.unit != "points" else (main.drop, main.interval)


def _searched(search: Search | None) -> Iterator[Rung]:
    """Yield one rung for each of the search's, with the trial that was kept last; none kept: with the one that lost least."""
    for name, group in groupby(search.trials if search else (), key=lambda trial: trial.rung):
        trials = list(group)
        measured = [trial for trial in trials if trial.score is not None]
        kept = [trial for trial in measured if trial.kept]
        seconds = sum(trial.seconds for trial in trials)
        if not measured:
            yield Rung("tuned", f"tuned: {name}", trials[-1].note or "not run", seconds=seconds)
            continue
        best = kept[-1] if kept else max(measured, key=lambda trial: (trial.score and trial.score.worst_db) or 0.0)
        score = best.score
        if score is None:
            continue
        yield Rung(
            "tuned",
            f"tuned: {name}",
            best.change if kept else f"nothing kept of {len(measured)}; best: {best.change}",
            where="tuning samples",
            samples=score.samples,
            metric=score.metric,
            drop=score.drop,
            interval=score.interval,
            output_db=score.worst_db,
            floats=best.floats,
            seconds=seconds,
            standing=best.standing,
        )


def _last_word(search: Search | None, share: float | None, *, result: bool) -> Iterator[Rung]:
    if search is None or search.final is None:
        return
    final = search.final
    yield Rung(
        "tuned",
        "tuned PTQ, last word",
        "the best that the search kept",
        where="evaluation samples",
        samples=final.samples,
        metric=final.metric,
        drop=final.drop,
        interval=final.interval,
        output_db=final.worst_db,
        coverage=share if result else None,
        floats=len(search.keep_float),
        standing=search.standing,
        result=result,
    )


def _trained(training: Training | None, shares: Mapping[str, float], *, result: bool) -> Iterator[Rung]:
    kinds: dict[str, Kind] = {"PTQ": "PTQ", "tuned PTQ": "tuned"}
    for rung in training.rungs if training else ():
        yield Rung(
            kinds.get(rung.rung, "trained"),
            rung.rung,
            rung.model,
            where="evaluation",
            samples=rung.samples,
            metric=rung.metric,
            drop=rung.points_lost,
            interval=rung.interval.value() if rung.interval else None,
            output_db=rung.sqnr_db,
            coverage=shares.get(rung.model),
            seconds=rung.seconds,
            standing=rung.standing,
            result=result and training is not None and rung.rung == training.best,
        )


def _with_gains(rungs: Sequence[Rung]) -> Iterator[Rung]:
    """Yield the rungs with what each gains on the one before it; methods are alternatives and no steps."""
    before: dict[tuple[str, int], float] = {}
    for rung in rungs:
        key = (rung.where, rung.samples)
        if rung.drop is None or rung.detail == "calibration method":
            yield rung
            continue
        yield replace(rung, gain=before[key] - rung.drop if key in before else None)
        before[key] = rung.drop
