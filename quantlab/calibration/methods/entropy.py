"""Entropy: the threshold whose 128 levels describe the distribution with the least KL divergence."""

from dataclasses import dataclass

import numpy as np

from quantlab.calibration.method import all_zero, log_linear, within_observed
from quantlab.calibration.ranges import Range
from quantlab.errors import UsageError
from quantlab.numerics.divergence import DIALECT_NAMES, DivergenceCurve, divergence_curve
from quantlab.numerics.histogram import Histogram, LinearGrid

_BINS = 2048
_MXNET_BINS = 8001


@dataclass(frozen=True, slots=True)
class Entropy:
    """The KL search of GTC 2017 on 2,048 equal bins of |x| up to the exact maximum.

    Attributes
    ----------
    dialect
        quantlab (exact zeros left out, as 0 is representable in every scheme), gtc2017, pytorch-quantization or mxnet
        (8,001 signed bins): see `quantlab.entropy_threshold`. For TensorRT's own results use TensorRTEntropy2.
    """

    dialect: str = "quantlab"

    def __post_init__(self) -> None:
        if self.dialect not in DIALECT_NAMES or self.dialect == "tensorrt":
            known = ", ".join(name for name in DIALECT_NAMES if name != "tensorrt")
            raise UsageError(
                f"Unknown dialect «{self.dialect}»; Entropy knows {known}; for TensorRT's use TensorRTEntropy2."
            )

    def __call__(self, histogram: Histogram, /) -> Range:
        """Return (−T, T), or (0, T) if no negative value was seen; T never exceeds the observed maximum by a bin."""
        seen = log_linear(histogram, self)
        if all_zero(seen):
            return within_observed(seen, seen.amax)
        curve = self.curve(seen)
        threshold = float(curve.thresholds[curve.best])
        return Range(-threshold if seen.low < 0 else 0.0, threshold)

    def curve(self, histogram: Histogram) -> DivergenceCurve:
        """Return every candidate threshold with its divergence."""
        if self.dialect == "mxnet":
            return self._mxnet_curve(histogram)
        width = histogram.amax / _BINS
        counts = histogram.rebin(LinearGrid(_BINS, width))
        if self.dialect == "quantlab":
            counts[0] -= histogram.zeros
        return divergence_curve(counts, width, dialect=self.dialect)

    def _mxnet_curve(self, histogram: Histogram) -> DivergenceCurve:
        """Fold MXNet's signed bins: the middle one holds |x| < width / 2, a bin of |x| each further pair."""
        width = 2 * histogram.amax / _MXNET_BINS
        halves = histogram.rebin(LinearGrid(_MXNET_BINS, width / 2))
        counts = np.concatenate([halves[:1], halves[1:].reshape(-1, 2).sum(axis=1)])
        return divergence_curve(counts, width, dialect=self.dialect)
