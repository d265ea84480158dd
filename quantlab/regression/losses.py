"""What one score of the candidate loses beside another score on the same samples, and what the samples say of it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import sqrt
from typing import Literal

import numpy as np
from scipy.special import stdtr, stdtrit

from quantlab.comparison.paired import PairedValues
from quantlab.comparison.statistics import Interval, PairedCounts, bootstrap, bootstrap_gaps
from quantlab.errors import InputError
from quantlab.numerics.arrays import F64, AnyArray
from quantlab.regression.paired_tests import mcnemar_above, tango, tango_above

Score = Callable[[AnyArray], float]


@dataclass(frozen=True, slots=True, eq=False)
class Loss:
    """A metric's values of a reference and of the candidate, turned so that a loss is positive.

    Attributes
    ----------
    metric
        Its name.
    pairs
        Values of the reference (`fp32`) and of the candidate (`int8`), [samples] or [samples, …].
    higher_is_better
        False for errors and losses.
    score
        Makes one number of the values; None is their mean.
    share
        Whether the score is a share, 0 … 1, though its values need not be; of right and wrong samples it is one anyway.
    graded
        Whether these are part of values that are not all right or wrong: then none of a part's are, whatever it holds.
    """

    metric: str
    pairs: PairedValues
    higher_is_better: bool = True
    score: Score | None = None
    share: bool = False
    graded: bool = False

    def __post_init__(self) -> None:
        if self.score is None and self.pairs.fp32.ndim != 1:
            raise InputError(
                f"Metric «{self.metric}» has several values a sample, and no score that makes one of them."
            )

    @property
    def samples(self) -> int:
        """How many pairs."""
        return len(self.pairs.fp32)

    @property
    def binary(self) -> bool:
        """Whether every sample is right or wrong, and the score the share of the right ones."""
        return self.score is None and not self.graded and self.pairs.binary

    @property
    def factor(self) -> float:
        """Values to the unit of `drop`: 100 for points."""
        return 100.0 if self.unit else 1.0

    @property
    def unit(self) -> Literal["points", ""]:
        """points, or empty for the metric's own unit."""
        return "points" if self.share or self.binary else ""

    @property
    def scores(self) -> tuple[float, float]:
        """The reference's and the candidate's score."""
        score = self.score or _mean
        found = float(score(self.pairs.fp32)), float(score(self.pairs.int8))
        if not np.isfinite(found).all():
            raise InputError(
                f"Metric «{self.metric}» has the scores {found[0]} and {found[1]}, with which nothing can be compared."
            )
        return found

    @property
    def drop(self) -> float:
        """What the candidate loses, in `unit`; negative where it gains."""
        one, two = self.scores
        return self.factor * (one - two if self.higher_is_better else two - one)

    @property
    def differences(self) -> F64:
        """float64[samples]: what each sample loses, in the metric's values; of a metric that is a mean."""
        gap = self.pairs.fp32 - self.pairs.int8
        return np.asarray(gap if self.higher_is_better else -gap, np.float64)

    @property
    def counts(self) -> PairedCounts:
        """Samples by who got them right, the reference first; for right and wrong."""
        found = self.pairs.counts
        if self.higher_is_better:
            return found
        return PairedCounts(found.neither, found.second_only, found.first_only, found.both)

    @property
    def moved(self) -> tuple[int, int]:
        """Samples on which the candidate does worse and better; of a metric that is a mean."""
        gap = self.differences
        return int(np.sum(gap > 0)), int(np.sum(gap < 0))

    def part(self, rows: AnyArray) -> "Loss":
        """Return the loss over some of the samples."""
        pairs = PairedValues(self.pairs.fp32[rows], self.pairs.int8[rows])
        return replace(self, pairs=pairs, graded=not self.binary)

    def p_value(self, margin: float) -> float:
        """Return the one-sided p-value that no more than the margin, in `unit`, is lost.

        Right and wrong: McNemar's mid-p at margin 0, Tango's score test above. Means: Student's paired test. Other scores:
        the share of paired bootstrap draws that lose no more.
        """
        if self.binary:
            counts = self.counts
            return (
                mcnemar_above(counts.first_only, counts.second_only)
                if margin == 0
                else tango_above(counts, margin / 100)
            )
        if self.score is None:
            return _student(self.factor * self.differences - margin)
        draws = self._draws()
        return float((1 + np.sum(draws <= margin)) / (1 + draws.size))

    def interval(self, level: float) -> Interval:
        """Return the interval of `drop`, in `unit`: Tango's, or the paired bootstrap's."""
        if self.binary:
            return tango(self.counts, level).scaled(100)
        return bootstrap(*self._ends(), self.score or _mean, level).scaled(self.factor)

    def quick_interval(self, level: float) -> Interval:
        """Return the same for a mean by Student's distribution: for many slices."""
        if self.binary or self.score is not None:
            return self.interval(level)
        gap = self.factor * self.differences
        if gap.size < 2:
            return self.interval(level)
        reach = float(stdtrit(gap.size - 1, (1 + level) / 2)) * float(gap.std(ddof=1)) / sqrt(gap.size)
        return Interval(float(gap.mean()) - reach, float(gap.mean()) + reach, level)

    @property
    def variance(self) -> float:
        """Variance of one sample's loss, in `unit`²; for another score than a mean, that which its interval implies."""
        if self.score is None:
            gap = self.factor * self.differences
            found = float(gap.var())
            # No sample that differs is not yet none among many.
            return found or self.factor**2 / (gap.size + 1) * self.binary
        return float(np.var(self._draws())) * self.samples

    def _ends(self) -> tuple[F64, F64]:
        return (self.pairs.fp32, self.pairs.int8) if self.higher_is_better else (self.pairs.int8, self.pairs.fp32)

    def _draws(self) -> F64:
        return self.factor * bootstrap_gaps(*self._ends(), self.score or _mean)


def _student(gap: F64) -> float:
    if gap.size < 2:
        return 1.0
    deviation = float(gap.std(ddof=1))
    if deviation == 0:
        return 0.0 if gap.mean() > 0 else 1.0
    return float(stdtr(gap.size - 1, -float(gap.mean()) / (deviation / sqrt(gap.size))))


def _mean(values: AnyArray) -> float:
    return float(np.mean(values))
