"""What a scale does to the values that were counted: the share it clips and the signal-to-noise ratio it leaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from quantlab.calibration.expected_error import clipped_share, expected_sqnr_db, mean_error, mean_square
from quantlab.calibration.methods.squared_error import SquaredError
from quantlab.calibration.schemes import Symmetric
from quantlab.numerics.affine import QuantParams
from quantlab.numerics.arrays import F64
from quantlab.numerics.error_sums import decibels
from quantlab.numerics.histogram import Histogram
from quantlab.numerics.tensorrt_histogram import BINS, TensorRTHistogram

AnyHistogram: TypeAlias = Histogram | TensorRTHistogram

_EVERY = 32  # bins between two candidates: near the best scale the error hardly changes


@dataclass(frozen=True, slots=True)
class Harm:
    """What symmetric INT8 at one scale does.

    Attributes
    ----------
    clipped
        Share, 0 … 1, of the values that lose more than half a step because the range ends.
    sqnr_db
        Expected signal-to-noise ratio of DQ(Q(x)) in dB; infinite where nothing is lost.
    """

    clipped: float
    sqnr_db: float


def harm(histogram: AnyHistogram, scale: float) -> Harm:
    """Return what a scale, a float32 > 0, does to the counted values.

    On TensorRT's grid zeros share the first bin with small values, so its noise there is that of values spread evenly.
    """
    params = QuantParams(np.array(scale, np.float32), np.array(0, np.int64))
    if isinstance(histogram, Histogram):
        return Harm(clipped_share(histogram, params), expected_sqnr_db(histogram, params))
    counts = histogram.counts.astype(np.float64)
    total = counts.sum()
    if total == 0 or histogram.width == 0:
        return Harm(0.0, float("inf"))
    start, stop = _bins(histogram)
    limit = 127.5 * float(params.scale)
    cut = np.minimum(np.maximum(stop - limit, 0.0), stop - start)
    beyond = np.divide(cut, stop - start, out=np.zeros(BINS), where=stop > start)
    signal, noise = float(counts @ mean_square(start, stop)), float(counts @ mean_error(start, stop, params))
    return Harm(float(counts @ beyond / total), decibels(signal, noise))


def least_harm(histogram: AnyHistogram) -> float:
    """Return the scale with the best expected signal-to-noise ratio; on TensorRT's grid, of those that end at a bin."""
    if isinstance(histogram, Histogram):
        return float(Symmetric().params(SquaredError()(histogram)).scale)
    if histogram.amax == 0:
        return 1 / 127
    tried = [np.float32((i + 1) * histogram.width / 127) for i in range(BINS // 16, BINS, _EVERY)]
    tried.append(np.float32(histogram.amax / 127))
    return float(max(tried, key=lambda scale: harm(histogram, float(scale)).sqnr_db))


def _bins(histogram: TensorRTHistogram) -> tuple[F64, F64]:
    edges = np.minimum(np.arange(BINS + 1) * histogram.width, histogram.amax)  # the last values end at the maximum
    return edges[:-1], edges[1:]
