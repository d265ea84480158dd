"""The verdict in words: what INT8 keeps, and whether that is within the limit."""

import math

from quantlab.comparison.backends import simulated
from quantlab.comparison.metric_score import MetricScore
from quantlab.report import formats
from quantlab.report.report_data import State, Verdict
from quantlab.report.report_score import Score
from quantlab.report.searched import Search, Standing

_NOTHING = Verdict(
    "none", "What INT8 costs was not measured.", "The scales exist; no comparison of INT8 with FP32 does."
)


_MOST_SAMPLES = 10_000_000
"""Nobody has more: to name a number beyond would be no advice."""

_STATES: dict[Standing, State] = {"holds": "pass", "likely": "warn", "undecided": "warn", "misses": "fail"}


def judge_search(search: Search, score: Score, *, random: bool) -> Verdict:
    """Return the verdict on a search for better PTQ, by its own standing and in its own words.

    What holds only on the samples that chose, or where random numbers had a say, is a warning.
    """
    state = _STATES[search.standing]
    doubts = _doubts(score, random=random)
    also = f" But {', and '.join(doubts)}." if doubts else ""
    return Verdict("warn" if doubts and state == "pass" else state, _headline(score), f"{search.verdict}{also}")


def judge(score: Score | None, *, max_drop: float | None, random: bool) -> Verdict:
    """Return the verdict on a score.

    A drop above the limit fails. One below it passes; it passes with a warning while its interval reaches beyond the
    limit, where INT8 gives NaN, where random numbers had a say, or where the score is not final. Without a limit
    nothing is judged.

    Parameters
    ----------
    max_drop
        What may be lost, in percentage points of the main metric.
    random
        Whether random numbers had a say in the scales or the score.
    """
    if score is None:
        return _NOTHING
    headline = _headline(score)
    main = score.main
    if max_drop is None or main is None or main.unit != "points":
        return Verdict("warn" if random or score.nan else "none", headline, _unjudged(score, max_drop, random=random))
    limit = f"the limit of {formats.number(max_drop)} points"
    lost = formats.number(main.drop, 3)
    if main.drop > max_drop:
        open_ = f"; its interval begins at {formats.points(main.interval.low)}, so more samples might tell otherwise"
        return Verdict(
            "fail",
            headline,
            f"The drop of {lost} points exceeds {limit}{open_ if main.interval.low <= max_drop else ''}.",
        )
    doubts = [*_doubts(score, random=random), *_reach(main, max_drop, score.samples)]
    if doubts:
        return Verdict("warn", headline, f"The drop of {lost} points is within {limit}, but {', and '.join(doubts)}.")
    return Verdict("pass", headline, f"The drop of {lost} points and its whole interval are within {limit}.")


def _headline(score: Score) -> str:
    where = f"on {formats.count(score.samples)} samples of «{score.data}», {_ran(score)}"
    main = score.main
    if main is not None and main.unit == "points":
        return (
            f"INT8 has {formats.share(main.int8)} {main.name}, FP32 {formats.share(main.fp32)}: {_lost(main)} {where}."
        )
    if main is not None:
        values = f"{formats.number(main.int8)} where FP32 has {formats.number(main.fp32)}"
        interval = (
            f"{_level(main)} of the loss {formats.number(main.interval.low)} … {formats.number(main.interval.high)}"
        )
        return f"INT8 has {main.name} {values} ({interval}) {where}."
    if score.agreement is not None:
        return (
            f"INT8 gives FP32's answer for {formats.share(score.agreement)} {where}; there were no labels to score on."
        )
    if score.output_db is not None:
        return f"INT8's outputs are FP32's to {formats.decibel(score.output_db)} dB {where}."
    return f"INT8 ran {where}."


def _lost(main: MetricScore) -> str:
    if main.drop == 0:
        what = "no drop"
    else:
        what = f"a {'drop' if main.drop > 0 else 'gain'} of {formats.points(abs(main.drop))} points"
    interval = f"{formats.points(main.interval.low)} … {formats.points(main.interval.high)}"
    return f"{what} ({_level(main)}{' of the drop' if main.drop <= 0 else ''} {interval})"


def _level(main: MetricScore) -> str:
    return f"{main.interval.level * 100:g} % interval"


def _ran(score: Score) -> str:
    """Return what ran it, without the instruction sets: the table of models and the provenance have these."""
    backend = score.backend.replace(" simulating", "").replace(" unoptimized", "").partition(" (")[0]
    if simulated(score.backend):
        return f"simulated in {backend}"
    return f"run in {backend}" if backend else "in the search's own scoring"


def _unjudged(score: Score, max_drop: float | None, *, random: bool) -> str:
    doubts, main = _doubts(score, random=random), score.main
    also = f" Also, {', and '.join(doubts)}." if doubts else ""
    if max_drop is None:
        limits = "" if doubts or main is None or main.unit != "points" else _limits(main)
        return f"No limit (max_drop) was given, so nothing is judged{limits}.{also}"
    return (
        f"The limit of {formats.number(max_drop)} points fits no metric that was measured, so nothing is judged.{also}"
    )


def _limits(main: MetricScore) -> str:
    """Return which limits this score would keep and which it would break, as a clause."""
    if main.interval.high <= 0:
        return ": any limit would pass"
    holds = f": a limit of {formats.points(math.ceil(main.interval.high * 100) / 100)} points or more would pass"
    return f"{holds}, one below {formats.points(main.drop)} would fail" if main.drop > 0 else holds


def _doubts(score: Score, *, random: bool) -> list[str]:
    """Return what speaks against believing the score, as clauses."""
    found = []
    if not score.final and not random:
        why = "nothing tells which data chose the scales" if score.untold else f"«{score.data}» had a say in the scales"
        found.append(f"{why}, so this is no final score")
    if random:
        found.append("random numbers had a say in the scales or the score, which says nothing about real data")
    if score.nan:
        found.append(f"INT8 gives NaN for {formats.count(score.nan)} samples")
    return found


def _reach(main: MetricScore, max_drop: float, samples: int) -> list[str]:
    if main.interval.high <= max_drop:
        return []
    needed = samples_needed(main, max_drop, samples)
    more = "more samples would decide" if needed is None else f"about {needed:,} samples like these would decide"
    return [f"its interval reaches {formats.points(main.interval.high)} points: {more}"]


def samples_needed(main: MetricScore, max_drop: float, samples: int) -> int | None:
    """Return about how many samples bring the interval within the limit if the drop stays; None where no number is likely to.

    The half-width falls with the square root of their number; two digits are given, rounded up.
    """
    room = max_drop - main.drop
    if room <= 0 or not samples:
        return None
    exact = samples * ((main.interval.high - main.drop) / room) ** 2
    if not exact < _MOST_SAMPLES:
        return None
    step = 10 ** max(math.floor(math.log10(exact)) - 1, 0)
    return math.ceil(exact / step) * step
