"""MXNet's published entropy search (`_get_optimal_threshold`) as plain loops, in float64."""

import numpy as np
from scipy.stats import entropy

from quantlab.numerics.arrays import F64, I64

LEVELS, SMOOTHING = 255, 1e-4


def smoothed(p: F64) -> F64 | None:
    """Move 1e-4 into every empty bin, evenly off the others; None where that leaves no distribution."""
    empty = p == 0
    if empty.all():
        return None
    taken = SMOOTHING * empty.sum() / (~empty).sum()
    result = np.where(empty, SMOOTHING, p - taken)
    return result if taken < 1 and np.all(result > 0) else None


def plain_divergences(signed: I64) -> F64:
    """Every candidate of a signed histogram, from 127 bins beside the middle one on."""
    half, found = signed.size // 2, []
    for beside in range(LEVELS // 2, half + 1):
        inner = signed[half - beside : half + beside + 1]
        p = inner.astype(np.float64)
        p[0] += signed[: half - beside].sum()
        p[-1] += signed[half + beside + 1 :].sum()
        merged = inner.size // LEVELS
        q = np.zeros(inner.size)
        for level in range(LEVELS):
            start = level * merged
            stop = inner.size if level == LEVELS - 1 else start + merged
            filled = np.count_nonzero(p[start:stop])
            if filled:
                q[start:stop] = inner[start:stop].sum() / filled
        q[p == 0] = 0
        smooth_p, smooth_q = smoothed(p), smoothed(q)
        if smooth_p is None or smooth_q is None:
            found.append(np.inf)
        else:
            found.append(float(entropy(smooth_p, smooth_q)))
    return np.array(found)


def mirrored(counts: I64) -> I64:
    """The signed histogram of a tensor and its mirror image: the middle bin holds both."""
    return np.concatenate([counts[:0:-1], 2 * counts[:1], counts[1:]])
