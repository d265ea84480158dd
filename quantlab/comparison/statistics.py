"""Paired statistics: how sure a difference is when both engines saw the same samples."""

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt

import numpy as np
from scipy.special import bdtr, ndtri

from quantlab.errors import InputError, UsageError
from quantlab.numerics.arrays import F64, AnyArray

RESAMPLES = 2000
"""Draws of a bootstrap: the ends of a 95 % interval then vary by about a sixtieth of its width."""

_SEED = 0


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval; `level` is its nominal coverage, 0 … 1."""

    low: float
    high: float
    level: float = 0.95

    def scaled(self, factor: float) -> "Interval":
        """Return the interval in a unit that is `factor` times finer."""
        return Interval(self.low * factor, self.high * factor, self.level)


@dataclass(frozen=True, slots=True)
class PairedCounts:
    """Samples by who got them right: both, the first only, the second only, neither."""

    both: int
    first_only: int
    second_only: int
    neither: int

    @property
    def total(self) -> int:
        """All samples."""
        return self.both + self.first_only + self.second_only + self.neither


def wilson(count: int, total: int, level: float = 0.95) -> Interval:
    """Return the score interval of a share (Wilson, J. Am. Stat. Assoc. 22, 1927, 209-212); [0, 1] for no samples."""
    z = _quantile(level)
    if total == 0:
        return Interval(0.0, 1.0, level)
    share, weight = count / total, z * z / total
    centre = (share + weight / 2) / (1 + weight)
    reach = sqrt(share * (1 - share) * weight + weight * weight / 4) / (1 + weight)
    # At both ends the exact bound is the end itself.
    low = 0.0 if count == 0 else centre - reach
    high = 1.0 if count == total else centre + reach
    return Interval(low, high, level)


def newcombe(counts: PairedCounts, level: float = 0.95) -> Interval:
    """Return the interval of the difference (first − second) of two shares of the same samples.

    Method 10 of Newcombe, «Improved confidence intervals for the difference between binomial proportions based on
    paired data», Statistics in Medicine 17, 1998, 2635-2650: the distances of both Wilson intervals, added like
    vectors at an angle whose cosine is the correlation with a continuity correction. It has a width even where no
    sample is discordant, and holds its level there (Fagerland, Lydersen, Laake, Statistics in Medicine 33, 2014,
    2850-2875, recommend it).
    """
    total = counts.total
    if total == 0:
        return Interval(-1.0, 1.0, level)
    hits, others = counts.both + counts.first_only, counts.both + counts.second_only
    first, second = hits / total, others / total
    one, two = wilson(hits, total, level), wilson(others, total, level)
    phi = _correlation(counts)
    gap = first - second
    below = _diagonal(first - one.low, two.high - second, phi)
    above = _diagonal(one.high - first, second - two.low, phi)
    return Interval(gap - below, gap + above, level)


def mcnemar(first_only: int, second_only: int) -> float:
    """Return the exact two-sided p-value that discordant samples fall on either side alike.

    The binomial form of McNemar's test (McNemar, Psychometrika 12, 1947, 153-157): 1 if no sample is discordant.
    """
    few, total = min(first_only, second_only), first_only + second_only
    return 1.0 if total == 0 else min(1.0, 2 * float(bdtr(few, total, 0.5)))


def bootstrap(first: AnyArray, second: AnyArray, score: Callable[[AnyArray], float], level: float = 0.95) -> Interval:
    """Return the interval of score(first) − score(second), samples drawn anew in pairs.

    The percentile interval of Efron and Tibshirani, «An Introduction to the Bootstrap», 1993, chapter 13, from 2,000
    draws of a fixed seed: the same samples in the same order give the same bits. It knows only the spread it sees:
    where all samples differ by the same amount, its width is 0. Draws for which `score` is no finite number (a class
    that was not drawn) are left out.

    Raises
    ------
    InputError
        When it is none for any draw.
    """
    tail = 50 * (1 - _checked(level))
    low, high = np.percentile(bootstrap_gaps(first, second, score), [tail, 100 - tail])
    return Interval(float(low), float(high), level)


def bootstrap_gaps(first: AnyArray, second: AnyArray, score: Callable[[AnyArray], float]) -> F64:
    """Return score(first) − score(second) of each draw of `bootstrap`, float64[2000 at most], finite.

    A score with `weighted` (`WeighedScore`) is asked for the score of samples that count so often, not of copies of them.

    Raises
    ------
    InputError
        When it is no finite number for any draw.
    """
    draw = np.random.default_rng(_SEED)
    count = len(first)
    gap = _gap_of_rows(first, second, score)
    gaps = np.array([gap(draw.integers(0, count, count)) for _ in range(RESAMPLES)])
    known = gaps[np.isfinite(gaps)]
    if not known.size:
        raise InputError("The metric's score is no finite number for any draw of the samples: it needs more of them.")
    return known


def _gap_of_rows(first: AnyArray, second: AnyArray, score: Callable[[AnyArray], float]) -> Callable[[AnyArray], float]:
    weighted = getattr(score, "weighted", None)
    if weighted is None:
        return lambda rows: score(first[rows]) - score(second[rows])
    one, two = weighted(first), weighted(second)

    def gap(rows: AnyArray) -> float:
        counts = np.bincount(rows, minlength=len(first))
        return float(one(counts) - two(counts))

    return gap


def _correlation(counts: PairedCounts) -> float:
    """Return Newcombe's φ: 0 where a margin is empty, and drawn towards 0 where positive."""
    a, b, c, d = counts.both, counts.first_only, counts.second_only, counts.neither
    margins = (a + b) * (c + d) * (a + c) * (b + d)
    if margins == 0:
        return 0.0
    excess = float(a * d - b * c)
    if excess > 0:
        excess = max(excess - counts.total / 2, 0.0)
    return excess / sqrt(margins)


def _diagonal(one: float, two: float, cosine: float) -> float:
    # Rounding may leave a length of 0 a little below it.
    return sqrt(max(one * one - 2 * cosine * one * two + two * two, 0.0))


def _quantile(level: float) -> float:
    return float(ndtri((1 + _checked(level)) / 2))


def _checked(level: float) -> float:
    if not 0 < level < 1:
        raise UsageError(f"A confidence level lies between 0 and 1, as 0.95 does, not at {level}.")
    return level
