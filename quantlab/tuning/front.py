"""Accuracy against INT8 coverage: the candidates that no other one beats."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from typing_extensions import Self

from quantlab.tuning.float_trials import FloatTrial, decibels, number

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class FrontPoint:
    """One measured candidate.

    Attributes
    ----------
    floats
        Operators in float that the candidate would quantize, in graph order.
    coverage
        Share of the known multiply-accumulates on integers, 0 … 1.
    sqnr_db
        Noise over signal averaged over the outputs, in dB; at most 200.
    drop
        Percentage points lost; None without a metric.
    agreement
        Share, 0 … 1; None where no output holds class scores.
    samples
        How many it was measured on.
    latency_ms
        Of an engine; None where none was timed.
    """

    floats: tuple[str, ...]
    coverage: float
    sqnr_db: float
    drop: float | None
    agreement: float | None
    samples: int
    latency_ms: float | None = None

    @classmethod
    def of(cls, trial: FloatTrial, coverage: float) -> Self:
        """Return the point of a trial."""
        score = trial.score
        return cls(trial.floats, coverage, decibels(score), score.drop, score.agreement, score.samples)

    def beats(self, other: Self) -> bool:
        """Tell whether this one is at least as good in coverage, SQNR and drop, and better in one of them."""
        own, theirs = self._figures(), other._figures()
        return own != theirs and all(one >= two for one, two in zip(own, theirs, strict=True))

    def _figures(self) -> tuple[float, float, float]:
        return self.coverage, self.sqnr_db, 0.0 if self.drop is None else -self.drop


def front_of(points: Iterable[FrontPoint]) -> tuple[FrontPoint, ...]:
    """Return the points that no other one beats, most coverage first; of equal ones the first."""
    every = list(points)
    front: dict[tuple[float, float, float], FrontPoint] = {}
    for point in every:
        if not any(other.beats(point) for other in every):
            front.setdefault(point._figures(), point)
    return tuple(sorted(front.values(), key=lambda point: (-point.coverage, -point.sqnr_db)))


def frame_of(points: Sequence[FrontPoint], front: Sequence[FrontPoint], kept: tuple[str, ...]) -> pd.DataFrame:
    """Return one line a point: what it measured, whether it is on the front and whether it was chosen."""
    import pandas as pd

    best = {point.floats: point for point in front}
    lines = [
        {
            "operators_in_float": len(point.floats),
            "int8_coverage": point.coverage,
            "sqnr_db": point.sqnr_db,
            "drop": number(point.drop),
            "agreement": number(point.agreement),
            "samples": point.samples,
            "latency_ms": number(best.get(point.floats, point).latency_ms),
            "front": point.floats in best,
            "chosen": point.floats == kept,
            "floats": ", ".join(point.floats),
        }
        for point in points
    ]
    return pd.DataFrame(lines)
