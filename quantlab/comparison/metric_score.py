"""What one metric says of both engines: two scores, their difference, and how sure it is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from quantlab.comparison.paired import PairedValues
from quantlab.comparison.statistics import Interval, bootstrap, mcnemar, newcombe
from quantlab.errors import InputError
from quantlab.metrics.metric import Metric
from quantlab.metrics.weighing import Weighable, WeighedScore
from quantlab.numerics.arrays import AnyArray


@dataclass(frozen=True, slots=True)
class MetricScore:
    """One metric over all samples.

    Attributes
    ----------
    name
        The metric's.
    fp32, int8
        The scores; shares 0 … 1 where every sample is right or wrong.
    drop
        What INT8 loses, negative where it gains, in `unit`: score(FP32) − score(INT8), or the reverse for a metric of
        which less is better.
    unit
        points: every value is 0 or 1, or the metric says that its score is a share (`in_points`); `drop` and `interval` are
        percentage points. Empty: the metric's own unit.
    interval
        Of `drop`: Newcombe's where every value is 0 or 1, a paired bootstrap's otherwise.
    worse, better
        Samples on which INT8 does worse and better than FP32; None for a metric with several values a sample.
    p_value
        McNemar's exact one, where every value is 0 or 1; None otherwise.
    """

    name: str
    fp32: float
    int8: float
    drop: float
    unit: Literal["points", ""]
    interval: Interval
    worse: int | None
    better: int | None
    p_value: float | None

    @classmethod
    def of(cls, metric: Metric, values: PairedValues, level: float = 0.95) -> "MetricScore":
        """Return the scores of all samples; neither their order nor their batches matter.

        Raises
        ------
        InputError
            When the metric's `score` is no finite number, or it has none and gives several values a sample.
        """
        pairs = values.ordered()
        oriented = pairs if metric.higher_is_better else PairedValues(pairs.int8, pairs.fp32)
        if pairs.binary and not hasattr(metric, "score"):
            return _share(metric, pairs, oriented, level)
        return _general(metric, pairs, oriented, level)


def _share(metric: Metric, pairs: PairedValues, oriented: PairedValues, level: float) -> MetricScore:
    counts = oriented.counts
    worse, better = counts.first_only, counts.second_only
    return MetricScore(
        metric.name,
        _mean(pairs.fp32),
        _mean(pairs.int8),
        100 * (worse - better) / counts.total,
        "points",
        newcombe(counts, level).scaled(100),
        worse,
        better,
        mcnemar(worse, better),
    )


def _general(metric: Metric, pairs: PairedValues, oriented: PairedValues, level: float) -> MetricScore:
    score = getattr(metric, "score", _mean)
    if pairs.fp32.ndim != 1 and score is _mean:
        raise InputError(
            f"Metric «{metric.name}» gives values of shape {list(pairs.fp32.shape[1:])} for each sample: give one, or a "
            "method `score(values)` that makes one number of them all."
        )
    first, second = (_finite(metric, score(side)) for side in (oriented.fp32, oriented.int8))
    fp32, int8 = (first, second) if metric.higher_is_better else (second, first)
    flat = pairs.fp32.ndim == 1
    points = bool(getattr(metric, "in_points", False))
    factor = 100.0 if points else 1.0
    return MetricScore(
        metric.name,
        fp32,
        int8,
        factor * (first - second),
        "points" if points else "",
        bootstrap(oriented.fp32, oriented.int8, _scoring(metric), level).scaled(factor),
        int(np.sum(oriented.fp32 > oriented.int8)) if flat else None,
        int(np.sum(oriented.fp32 < oriented.int8)) if flat else None,
        None,
    )


def _scoring(metric: Metric) -> Callable[[AnyArray], float]:
    score: Callable[[AnyArray], float] = getattr(metric, "score", _mean)
    return WeighedScore(metric) if isinstance(metric, Weighable) else score


def _mean(values: AnyArray) -> float:
    return float(np.mean(values))


def _finite(metric: Metric, score: float) -> float:
    if not np.isfinite(score):
        raise InputError(f"Metric «{metric.name}» has the score {score}, with which nothing can be compared.")
    return float(score)
