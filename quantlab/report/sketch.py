"""Histograms made small enough to embed three hundred of them in a page."""

import math

import numpy as np

from quantlab.numerics.arrays import I64
from quantlab.numerics.histogram import Histogram, LinearGrid
from quantlab.numerics.tensorrt_histogram import TensorRTHistogram
from quantlab.report.tensor_row import Sketch

BINS = 160
"""Most bins of a sketch."""


def sketch(histogram: Histogram | TensorRTHistogram) -> Sketch | None:
    """Return the histogram of |x| on at most 160 equal bins up to the maximum; None if there is nothing but zeros.

    The sum is kept: a bin that is cut is shared out by `Histogram.rebin`, TensorRT's bins are added up whole.
    """
    if histogram.amax == 0:
        return None
    return _of_log_linear(histogram) if isinstance(histogram, Histogram) else _of_tensorrt(histogram)


def _of_log_linear(histogram: Histogram) -> Sketch | None:
    width = histogram.amax / BINS
    if width == 0 or not math.isfinite(width):
        return None
    counts = histogram.rebin(LinearGrid(BINS, width))
    counts[0] -= histogram.zeros
    return Sketch(_listed(counts), histogram.amax, histogram.zeros, histogram.total)


def _of_tensorrt(histogram: TensorRTHistogram) -> Sketch | None:
    used = np.flatnonzero(histogram.counts)
    if histogram.width == 0 or not used.size:
        return None
    group = math.ceil((int(used[-1]) + 1) / BINS)
    padded = np.append(histogram.counts, np.zeros(-len(histogram.counts) % group, np.int64))
    counts = padded.reshape(-1, group).sum(axis=1)[: math.ceil((int(used[-1]) + 1) / group)]
    return Sketch(_listed(counts), len(counts) * group * histogram.width, None, int(counts.sum()))


def _listed(counts: I64) -> tuple[int, ...]:
    return tuple(int(count) for count in counts)
