"""The scale with the least squared rounding and clipping error of given numbers, by search over shrink factors."""

import numpy as np
from numba import njit

from quantlab.calibration.schemes import LARGEST_SCALE, SMALLEST_SCALE, UNUSED_SCALE
from quantlab.numerics.arrays import F32, F64

_COARSE = 129  # factors from 1.25 down to 0.25, at least
_PER_LEVEL = 8  # at most: few values on many levels leave the error ragged in between
_WORK = 1 << 15  # values rounded a row before the number of factors falls
_LARGEST, _LEAST = 1.25, 0.25
_STEPS = 8  # of least squares at the end; each lowers the error or stops


def least_error_scales(rows: F32, low: int, high: int) -> F32:
    """Return for each row the scale s that makes Σ(w − s·clamp(round(w/s), low, high))² least among those tried.

    Tried are max|w| / high itself, multiples of it from 1.25 down to 0.25 (clipping the largest is often cheaper than
    rounding all others coarser; and a few values may fit a slightly larger grid better), and from the best of them
    on the least-squares scale Σwq / Σq² of its own integers q until that helps no more. So no row errs more than with
    max|w| / high. Of equal errors the larger scale wins. Rounding is that of QuantizeLinear and DequantizeLinear
    (float32, half to even), the sums are float64.

    Parameters
    ----------
    rows
        [rows, values], finite; it is not changed.
    low, high
        The integers' range, −128 … 127 or −8 … 7; high > 0.

    Returns
    -------
    scales
        [rows], normal float32 > 0; a row of zeros, or without values, gets 1/127.
    """
    values = np.ascontiguousarray(rows, np.float32)
    amax = np.abs(values).max(axis=1, initial=0.0).astype(np.float64)
    starts = np.clip(amax / high, SMALLEST_SCALE, LARGEST_SCALE)
    number = max(min(_WORK // max(values.shape[1], 1), _PER_LEVEL * (high - low + 1)), _COARSE)
    factors = np.linspace(_LARGEST, _LEAST, number)
    found = _search(values, starts, factors, low, high)
    return np.where(amax == 0, UNUSED_SCALE, found).astype(np.float32)


@njit(nogil=True, cache=True)
def _search(values: F32, starts: F64, factors: F64, low: int, high: int) -> F32:
    found = np.empty(starts.size, np.float32)
    for row in range(starts.size):
        best = np.float32(starts[row])
        least, cross, square = _error(values[row], best, low, high, np.inf)
        top_cross, top_square = cross, square
        for factor in factors:
            scale = np.float32(min(max(starts[row] * factor, SMALLEST_SCALE), LARGEST_SCALE))
            error, cross, square = _error(values[row], scale, low, high, least)
            if error < least or (error == least and scale > best):
                best, least, top_cross, top_square = scale, error, cross, square
        for _ in range(_STEPS):
            if top_square == 0.0:
                break
            scale = np.float32(min(max(top_cross / top_square, SMALLEST_SCALE), LARGEST_SCALE))
            error, cross, square = _error(values[row], scale, low, high, least)
            if error > least or (error == least and scale <= best):
                break
            best, least, top_cross, top_square = scale, error, cross, square
        found[row] = best
    return found


@njit(nogil=True, cache=True)
def _error(values: F32, scale: np.float32, low: int, high: int, least: float) -> tuple[float, float, float]:
    """Return Σ(w − sq)², Σwq and Σq², in float64; the sums so far once the error is above `least`."""
    error, cross, square = 0.0, 0.0, 0.0
    for value in values:
        step = min(max(np.rint(value / scale), np.float32(low)), np.float32(high))
        exact = np.float64(value)
        off = exact - np.float64(np.float32(step * scale))
        error += off * off
        if error > least:
            break
        cross += exact * np.float64(step)
        square += np.float64(step) * np.float64(step)
    return error, cross, square
