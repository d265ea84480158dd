"""MXNet's dialect of the entropy search: a signed histogram of an odd number of bins, 255 levels, smoothing by 1e-4.

Apache MXNet, `contrib/quantization.py` (`_get_optimal_threshold`), documents the rules restated here.
"""

import numpy as np
from numba import njit

from quantlab.numerics.arrays import F64, I64

SIGNED_LEVELS = 255
SMOOTHING = 1e-4


def mxnet_divergences(counts: I64) -> tuple[I64, F64]:
    """Return the candidates (bins kept beside the middle one) and their divergences.

    `counts` are those of |x|: bin 0 is the middle bin, all others are mirrored, so a bin's values lie half on either side.
    A candidate whose smoothing would take more than a bin holds has an infinite divergence.
    """
    middle = 2.0 * counts[:1]
    signed = np.concatenate([counts[:0:-1], middle, counts[1:]]).astype(np.float64)
    half = counts.size - 1
    kept = np.arange(min(SIGNED_LEVELS // 2, half), half + 1)
    return kept, _scan(signed, np.concatenate([np.zeros(1), np.cumsum(signed)]), kept)


@njit(nogil=True, cache=True)
def _scan(signed: F64, running: F64, kept: I64) -> F64:
    result = np.empty(kept.size)
    half = signed.size // 2
    p = np.empty(signed.size)
    q = np.empty(signed.size)
    for k in range(kept.size):
        start, stop = half - kept[k], half + kept[k] + 1
        size = stop - start
        p[:size] = signed[start:stop]
        p[0] += running[start]
        p[size - 1] += running[-1] - running[stop]
        _levels(signed[start:stop], p, q, size)
        result[k] = _smoothed(p, q, size)
    return result


@njit(nogil=True, cache=True)
def _levels(inner: F64, p: F64, q: F64, size: int) -> None:
    """Fill q with the mean of each level over the bins in which p is not empty."""
    merged = size // SIGNED_LEVELS
    for level in range(SIGNED_LEVELS):
        first = level * merged
        last = first + merged if level < SIGNED_LEVELS - 1 else size
        mass = 0.0
        filled = 0
        for i in range(first, last):
            mass += inner[i]
            filled += p[i] > 0.0
        for i in range(first, last):
            q[i] = mass / filled if p[i] > 0.0 else 0.0


@njit(nogil=True, cache=True)
def _smoothed(p: F64, q: F64, size: int) -> float:
    """Return KL(P‖Q) with 1e-4 put into every empty bin and taken evenly from the others."""
    empty_p = empty_q = 0
    for i in range(size):
        empty_p += p[i] == 0.0
        empty_q += q[i] == 0.0
    if max(empty_p, empty_q) == size:
        return np.inf
    from_p = SMOOTHING * empty_p / (size - empty_p)
    from_q = SMOOTHING * empty_q / (size - empty_q)
    if from_p >= 1.0 or from_q >= 1.0:
        return np.inf
    total_p = total_q = 0.0
    cross = 0.0
    for i in range(size):
        x = SMOOTHING if p[i] == 0.0 else p[i] - from_p
        y = SMOOTHING if q[i] == 0.0 else q[i] - from_q
        total_p += x
        total_q += y
        if x > 0.0:
            if y <= 0.0:
                return np.inf
            cross += x * np.log(x / y)
    return cross / total_p + np.log(total_q / total_p)
