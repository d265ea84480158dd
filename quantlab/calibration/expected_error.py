"""What a choice of scale will cost, computed from the histogram alone."""

import numpy as np

from quantlab.numerics.affine import LIMITS, QuantParams
from quantlab.numerics.arrays import F64
from quantlab.numerics.error_sums import decibels
from quantlab.numerics.histogram import Histogram


def clipped_share(histogram: Histogram, params: QuantParams) -> float:
    """Return the share, 0 … 1, of finite values that lose more than half a step because the range ends.

    A bin that the limit cuts counts in proportion; the exact minimum and maximum say whether anything is cut at all.
    """
    if histogram.total == 0:
        return 0.0
    low, high = representable(params)
    half = float(params.scale) / 2
    low, high = low - half, high + half
    beyond = _beyond(histogram, 1, high) if histogram.high > high else 0.0
    beyond += _beyond(histogram, 0, -low) if histogram.low < low else 0.0
    return beyond / histogram.total


def expected_sqnr_db(histogram: Histogram, params: QuantParams) -> float:
    """Return the signal-to-noise ratio in dB that DQ(Q(x)) of the counted values will have.

    A bin's values are taken to lie evenly in it. Between the limits the error of a bin wider than a step is step²/12
    a value; a narrower bin's follows from where it lies between two steps; beyond them it is the distance to the
    limit. Zeros are exact.
    """
    signal = noise = 0.0
    for sign, side in ((0, -1.0), (1, 1.0)):
        counts = histogram.counts[sign].astype(np.float64)
        used = np.flatnonzero(counts)
        edges = histogram.edges()
        start = np.maximum(edges[used], _floor(histogram, sign))
        stop = np.minimum(edges[used + 1], _reach(histogram, sign))
        signal += float(counts[used] @ mean_square(start, stop))
        noise += float(counts[used] @ mean_error(side * start, side * stop, params))
    return decibels(signal, noise)


def representable(params: QuantParams) -> tuple[float, float]:
    """Return the smallest and largest real value that the integers of a per-tensor choice stand for."""
    first, last = LIMITS[params.dtype]
    scale, zero_point = float(params.scale), int(params.zero_point)
    return (first - zero_point) * scale, (last - zero_point) * scale


def _floor(histogram: Histogram, sign: int) -> float:
    return max(histogram.low, 0.0) if sign else max(-histogram.high, 0.0)


def _reach(histogram: Histogram, sign: int) -> float:
    return max(histogram.high, 0.0) if sign else max(-histogram.low, 0.0)


def _beyond(histogram: Histogram, sign: int, limit: float) -> float:
    edges, counts = histogram.edges(), histogram.counts[sign]
    running = np.concatenate([[0], np.cumsum(counts)])
    ends = np.minimum(edges, _reach(histogram, sign))
    return float(running[-1] - np.interp(max(limit, 0.0), ends, running))


def mean_square(start: F64, stop: F64) -> F64:
    """Return the mean square of values even between `start` and `stop`."""
    return (start * start + start * stop + stop * stop) / 3


def mean_error(start: F64, stop: F64, params: QuantParams) -> F64:
    """Return the mean squared error of values even between `start` and `stop` (either order)."""
    scale = float(params.scale)
    low, high = representable(params)
    a, b = np.minimum(start, stop), np.maximum(start, stop)
    inside_a, inside_b = np.clip(a, low, high), np.clip(b, low, high)
    total = _error_integral(inside_b / scale) - _error_integral(inside_a / scale)
    total = total * scale**3
    total = total + (np.maximum(b - high, 0.0) ** 3 - np.maximum(a - high, 0.0) ** 3) / 3
    total = total + (np.maximum(low - a, 0.0) ** 3 - np.maximum(low - b, 0.0) ** 3) / 3
    width = b - a
    middle = (a + b) / 2
    single = (middle - np.clip(np.rint(middle / scale), low / scale, high / scale) * scale) ** 2
    return np.where(width > 0, total / np.where(width > 0, width, 1.0), single)


def _error_integral(x: F64) -> F64:
    """Return the integral from 0 to x of (t − round(t))²: 1/12 a whole step, and a cube within one."""
    whole = np.rint(x)
    return whole / 12 + (x - whole) ** 3 / 3
