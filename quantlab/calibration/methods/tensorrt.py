"""What TensorRT 8.6's own calibrators choose, without TensorRT."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from quantlab.calibration.method import tensorrt_grid
from quantlab.calibration.ranges import Range
from quantlab.errors import UsageError
from quantlab.numerics.divergence import entropy_threshold
from quantlab.numerics.tensorrt_histogram import TensorRTHistogram


@dataclass(frozen=True, slots=True)
class TensorRTEntropy2:
    """IInt8EntropyCalibrator2: (i + 0.5)·width, so an unclipped tensor gets 1.000244 times its maximum."""

    def __call__(self, histogram: TensorRTHistogram, /) -> Range:
        """Return (−amax, amax), or (0, amax) if no negative value was seen."""
        seen = tensorrt_grid(histogram, self)
        if seen.amax == 0:
            return Range(0.0, 0.0)
        return _about_zero(seen, entropy_threshold(seen.counts, seen.width, dialect="tensorrt"))


@dataclass(frozen=True, slots=True)
class TensorRTMinMax:
    """IInt8MinMaxCalibrator: max|x|."""

    def __call__(self, histogram: TensorRTHistogram, /) -> Range:
        """Return (−amax, amax), or (0, amax) if no negative value was seen."""
        seen = tensorrt_grid(histogram, self)
        return _about_zero(seen, seen.amax)


@dataclass(frozen=True, slots=True)
class TensorRTLegacy:
    """IInt8LegacyCalibrator: the upper edge of the first bin whose running share reaches the quantile.

    Attributes
    ----------
    quantile
        Share of all values, zeros included, 0 < quantile ≤ 1.
    cutoff
        The regression cutoff; 1.0, a pure quantile, is the one value whose rule is known.
    """

    quantile: float = 0.9999
    cutoff: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.quantile <= 1:
            raise UsageError(f"A quantile lies in (0, 1], not at {self.quantile}.")
        if self.cutoff != 1.0:
            raise UsageError(f"Only a regression cutoff of 1.0 is known well enough to repeat, not {self.cutoff}.")

    def __call__(self, histogram: TensorRTHistogram, /) -> Range:
        """Return (−amax, amax), or (0, amax) if no negative value was seen."""
        seen = tensorrt_grid(histogram, self)
        if seen.amax == 0:
            return Range(0.0, 0.0)
        running = np.cumsum(seen.counts)
        share = Fraction(str(self.quantile)) * int(running[-1])
        reached = int(np.searchsorted(running, -(-share.numerator // share.denominator)))
        return _about_zero(seen, (reached + 1) * seen.width)


def _about_zero(histogram: TensorRTHistogram, amax: float) -> Range:
    return Range(-amax if histogram.negative else 0.0, amax)
