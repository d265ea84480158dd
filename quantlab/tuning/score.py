"""What one candidate costs on the samples it is measured on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, isnan, log10, sqrt

import numpy as np

from quantlab.comparison.comparison import Comparison
from quantlab.comparison.statistics import Interval, wilson

_ERRORS = 2.0


@dataclass(frozen=True, slots=True)
class Score:
    """The figures of one candidate.

    Attributes
    ----------
    samples
        How many it was measured on.
    sqnr_db
        Signal-to-noise ratio of each output against FP32, in dB.
    agreement
        Share of samples with FP32's class; None where no output holds class scores.
    metric
        What `drop` is of: the first metric's name; «other class» without labels, «» where there are no classes.
    drop, drop_interval
        Percentage points lost, with its interval. For «other class» it is the share of changed samples: no metric can
        lose more.
    fp32
        FP32's own share in `metric`, 0 … 1; None where it is not of samples that are right or wrong.
    fidelity, fidelity_error
        Mean of the user's own comparison with FP32, and its standard error.
    seconds
        What measuring took.
    noise
        Of each sample, noise over the signal of all, averaged over the outputs; empty where nobody kept it.
    """

    samples: int
    sqnr_db: Mapping[str, float]
    agreement: float | None = None
    metric: str = ""
    drop: float | None = None
    drop_interval: Interval | None = None
    fp32: float | None = None
    fidelity: float | None = None
    fidelity_error: float | None = None
    seconds: float = 0.0
    noise: tuple[float, ...] = ()

    @property
    def worst_sqnr_db(self) -> float:
        """Of the output that lost most, in dB; NaN where one holds NaN."""
        return min(self.sqnr_db.values(), key=lambda db: -inf if isnan(db) else db)

    @property
    def mean_sqnr_db(self) -> float:
        """Of the outputs' mean noise share, in dB: what trials are ranked by, as it moves with every value, not with flips."""
        noise = sum(10 ** (-db / 10) for db in self.sqnr_db.values()) / len(self.sqnr_db)
        return inf if noise == 0 else -10 * log10(noise)

    @classmethod
    def of(cls, found: Comparison, fidelity: tuple[float, float] | None, seconds: float) -> Score:
        """Return the figures of a comparison."""
        changed = len(found.flips)
        classes = found.agreement.samples
        metric, drop, interval, fp32 = "", None, None, None
        if found.metrics:
            first = found.metrics[0]
            metric = first.name
            if first.unit == "points":
                drop, interval, fp32 = first.drop, first.interval, first.fp32
        elif classes:
            metric, drop = "other class", 100 * changed / classes
            interval, fp32 = wilson(changed, classes, found.level).scaled(100), 1.0
        return cls(
            samples=found.samples,
            sqnr_db={error.tensor: error.sqnr_db for error in found.outputs},
            agreement=found.agreement.score if classes else None,
            metric=metric,
            drop=drop,
            drop_interval=interval,
            fp32=fp32,
            fidelity=fidelity[0] if fidelity else None,
            fidelity_error=fidelity[1] if fidelity else None,
            seconds=seconds,
        )

    @property
    def worth_db(self) -> float:
        """What trials are ranked by, in dB: the mean SQNR; with a comparison of the user's, what it loses, and a tenth of SQNR.

        A comparison tells what counts, but on few samples in steps; SQNR then tells equal ones apart.
        """
        if self.fidelity is None:
            return self.mean_sqnr_db
        lost = max(1.0 - self.fidelity, 0.0) + 0.5 / self.samples
        return -10 * log10(lost) + 0.1 * self.mean_sqnr_db

    def behind(self, other: Score, by_db: float) -> bool:
        """Tell whether a trial has more noise than another by more than `by_db`, on the same samples, and not by chance.

        Chance is what lies within two standard errors of the samples' differences. With a comparison of the user's, that has
        to say so too.
        """
        if isnan(other.worth_db) or self.worth_db >= other.worth_db - by_db:
            return False
        if self.mean_sqnr_db >= other.mean_sqnr_db - by_db:
            return False
        if not self.noise or len(self.noise) != len(other.noise):
            return True
        apart = np.subtract(self.noise, other.noise)
        reach = _ERRORS * float(apart.std()) * sqrt(len(apart))
        return not float(apart.sum()) <= reach

    def better_than(self, other: Score, by_db: float = 0.0, *, least_drop: float = inf) -> bool:
        """Tell whether a trial is kept: worth more by `by_db`, and no worse in the task's metric.

        Worse is what lies beyond half the interval's width, so that a few images decide nothing against decibels: from the
        other's drop, or from `least_drop`, the least of all that were kept, so that small losses do not add up.
        """
        level = other.worth_db
        if not self.worth_db > (-inf if isnan(level) else level) + by_db:
            return False
        if self.fidelity is not None or self.drop is None or other.drop is None or other.drop_interval is None:
            return True
        reach = (other.drop_interval.high - other.drop_interval.low) / 2
        return self.drop <= min(other.drop, least_drop) + reach
