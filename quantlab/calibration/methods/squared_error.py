"""Squared error: balance what clipping loses against what rounding loses."""

from dataclasses import dataclass

import numpy as np

from quantlab.calibration.method import all_zero, log_linear, within_observed
from quantlab.calibration.ranges import Range
from quantlab.numerics.arrays import F64
from quantlab.numerics.histogram import Histogram

_LEVELS = 127


@dataclass(frozen=True, slots=True)
class SquaredError:
    """The threshold with the least expected Σ(x − DQ(Q(x)))², over every bin edge and the maximum itself.

    A value beyond the threshold errs by its distance to it; one within by step²/12 in the mean, or by all of itself where it
    rounds to zero. Symmetric signed bytes are assumed: step = threshold / 127.
    """

    def __call__(self, histogram: Histogram, /) -> Range:
        """Return the range about 0, cut to what was observed."""
        seen = log_linear(histogram, self)
        if all_zero(seen):
            return within_observed(seen, seen.amax)
        thresholds, errors = squared_errors(seen)
        return within_observed(seen, float(thresholds[int(np.argmin(errors))]))


def squared_errors(histogram: Histogram) -> tuple[F64, F64]:
    """Return all candidate thresholds, rising, and the expected squared error of each, summed over all values."""
    counts = histogram.magnitudes().astype(np.float64)
    edges = np.minimum(histogram.edges(), histogram.amax)
    start, stop = edges[:-1], edges[1:]
    first = counts * (start + stop) / 2
    second = counts * (start * start + start * stop + stop * stop) / 3
    count_to, first_to, second_to = (np.concatenate([[0.0], np.cumsum(x)]) for x in (counts, first, second))
    last = np.arange(1, counts.size + 1)
    t = edges[last]
    # Σ(x − t)² over the tail, expanded so that one running sum serves every t.
    clipping = (
        (second_to[-1] - second_to[last])
        - 2 * t * (first_to[-1] - first_to[last])
        + t**2 * (count_to[-1] - count_to[last])
    )
    step = t / _LEVELS
    lost = np.interp(step / 2, edges, second_to)
    rounded = count_to[last] - np.interp(step / 2, edges, count_to)
    return t, clipping + lost + rounded * step**2 / 12
