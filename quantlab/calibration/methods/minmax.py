"""Min-max: everything observed is covered; one outlier sets the step of all."""

from dataclasses import dataclass

from quantlab.calibration.method import log_linear
from quantlab.calibration.ranges import Range
from quantlab.numerics.histogram import Histogram


@dataclass(frozen=True, slots=True)
class MinMax:
    """The exact smallest and largest value observed."""

    def __call__(self, histogram: Histogram, /) -> Range:
        """Return [low, high]."""
        seen = log_linear(histogram, self)
        return Range(seen.low, seen.high)
