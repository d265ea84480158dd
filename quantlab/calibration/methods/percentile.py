"""Percentile: clip the largest magnitudes, a fixed share of them."""

from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Literal

import numpy as np

from quantlab.calibration.method import all_zero, log_linear, within_observed
from quantlab.calibration.ranges import Range
from quantlab.errors import UsageError
from quantlab.numerics.histogram import Histogram


@dataclass(frozen=True, slots=True)
class Percentile:
    """The magnitude that `p` percent of the values do not exceed.

    Attributes
    ----------
    p
        Percent, 0 < p ≤ 100. 99.9 clips one value in a thousand: too many for transformers.
    of
        «all» counts zeros; «nonzero» leaves them out, so that a sparse tensor keeps its tail.

    The threshold is the upper edge of the bin in which the share is reached (never beyond the observed maximum), and
    never 0: where the zeros alone reach the share, it is the upper edge of the smallest bin that is not empty.
    """

    p: float = 99.99
    of: Literal["all", "nonzero"] = "all"

    def __post_init__(self) -> None:
        if not isinstance(self.p, int | float) or not 0 < self.p <= 100:
            raise UsageError(f"A percentile lies in (0, 100], not at {self.p}.")
        if self.of not in ("all", "nonzero"):
            raise UsageError(f"A percentile is of «all» or «nonzero» values, not of «{self.of}».")

    def __call__(self, histogram: Histogram, /) -> Range:
        """Return the range about 0, cut to what was observed."""
        seen = log_linear(histogram, self)
        if all_zero(seen):
            return within_observed(seen, seen.amax)
        zeros = seen.zeros if self.of == "all" else 0
        running = zeros + np.cumsum(seen.magnitudes())
        wanted = ceil(Fraction(str(self.p)) * int(running[-1]) / 100)
        reached = int(np.searchsorted(running, max(wanted, zeros + 1)))
        return within_observed(seen, float(min(seen.edges()[reached + 1], seen.amax)))
