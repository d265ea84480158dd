"""Tests of two shares on the same samples: whether the first is larger by more than a margin."""

from math import sqrt

from scipy.optimize import brentq
from scipy.special import bdtr, bdtrc, ndtr, ndtri

from quantlab.comparison.statistics import Interval, PairedCounts
from quantlab.errors import UsageError

_ENDS = 1e-9  # a difference of exactly ±1 leaves the likelihood without a maximum inside


def mcnemar_above(first_only: int, second_only: int) -> float:
    """Return the one-sided mid-p-value that the first is no better than the second, by McNemar's test.

    P(X > x) + P(X = x)/2 for x samples of the first only, X binomial with the share ½ over the discordant ones (Fagerland,
    Lydersen and Laake, «The McNemar test for binary matched-pairs data: mid-p and asymptotic are better than exact
    conditional», BMC Medical Research Methodology 13, 2013, 91). The exact p-value's level falls to half of the stated one
    with few discordant samples. For a one-sided level of 0.05 the mid-p-value's stays below it, whatever the expected number of
    discordant samples (0.0499 at most, where that number is Poisson). ½ if no sample is discordant.
    """
    total = first_only + second_only
    if total == 0:
        return 0.5
    above = float(bdtrc(first_only, total, 0.5)) if first_only < total else 0.0
    at_least = float(bdtrc(first_only - 1, total, 0.5)) if first_only > 0 else 1.0
    return (above + at_least) / 2


def tango_z(counts: PairedCounts, margin: float) -> float:
    """Return the score statistic that the first share is larger than the second by exactly the margin.

    Tango, «Equivalence test and confidence interval for the difference in proportions for the paired-sample design»,
    Statistics in Medicine 17, 1998, 891-908, formulas (8) and following: (b − c − n·margin) over its deviation at the
    likeliest shares under the margin. About standard normal; at margin 0 it is McNemar's (b − c)/√(b + c).

    Parameters
    ----------
    margin
        A share, −1 … 1.
    """
    n, b, c = counts.total, counts.first_only, counts.second_only
    margin = min(max(margin, _ENDS - 1), 1 - _ENDS)
    linear = -b - c + (2 * n - b + c) * margin
    root = linear * linear + 8 * n * c * margin * (1 - margin)
    second = max((sqrt(max(root, 0.0)) - linear) / (4 * n), 0.0)
    variance = n * (2 * second + margin * (1 - margin))
    gap = b - c - n * margin
    if variance <= 0:
        return 0.0 if gap == 0 else float("inf") * (1 if gap > 0 else -1)
    return gap / sqrt(variance)


def tango_above(counts: PairedCounts, margin: float) -> float:
    """Return Tango's one-sided p-value that the first share is larger by no more than the margin."""
    return float(ndtr(-tango_z(counts, margin))) if counts.total else 1.0


def tango(counts: PairedCounts, level: float = 0.95) -> Interval:
    """Return the interval of the difference (first − second): the margins that Tango's score test does not refuse.

    Its one-sided tests and its ends agree, which Newcombe's do only nearly; it has a width where no sample is discordant:
    then ±z²/(n + z²). [−1, 1] for no samples.
    """
    if not 0 < level < 1:
        raise UsageError(f"A confidence level lies between 0 and 1, as 0.95 does, not at {level}.")
    if counts.total == 0:
        return Interval(-1.0, 1.0, level)
    z = float(ndtri((1 + level) / 2))
    gap = (counts.first_only - counts.second_only) / counts.total
    return Interval(_bound(counts, gap, z), _bound(counts, gap, -z), level)


def binomial_below(count: int, total: int, share: float) -> float:
    """Return the exact one-sided p-value that a share is at least this one: P(X ≤ count)."""
    return float(bdtr(count, total, share)) if total else 1.0


def _bound(counts: PairedCounts, gap: float, z: float) -> float:
    end = -1.0 if z > 0 else 1.0
    inside = end * (1 - _ENDS)
    if abs(gap - inside) < 2 * _ENDS or (tango_z(counts, inside) - z) * z < 0:
        return end
    low, high = sorted((inside, gap))
    return float(brentq(lambda margin: tango_z(counts, margin) - z, low, high, xtol=1e-12))
