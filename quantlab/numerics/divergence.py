"""The entropy (KL) threshold search on a linear histogram of |x|: all candidates at once over prefix sums.

The idea is one talk's (S. Migacz, «8-bit inference with TensorRT», GTC 2017, session S7310): of all prefixes of the
histogram, keep the one that 128 levels describe with the least Kullback–Leibler divergence. The talk leaves the zero bin,
empty bins, ties and the value returned open, and programs differ exactly there; a `Dialect` states each choice.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numba import njit
from scipy.special import rel_entr

from quantlab.errors import InputError, UsageError
from quantlab.numerics.arrays import F64, I64, AnyArray
from quantlab.numerics.mxnet_divergence import mxnet_divergences

LEVELS = 128
"""Magnitudes of a signed byte: candidates start where each level is one bin wide."""

_NEAR = 1e-9  # candidates this close to the least divergence are computed again, term by term


@dataclass(frozen=True, slots=True)
class Dialect:
    """What one program makes of the points that the talk leaves open.

    Attributes
    ----------
    first_bin
        «kept»: counted as it is; «copied»: replaced by its neighbour, as values near 0 would dominate.
    last
        Largest prefix tried: all bins, or all but one.
    tie
        Which of several equal candidates wins.
    offset
        The threshold is (bins kept + offset) · width.
    empty
        A candidate that keeps no value at all: «never» wins, or «wins», as it does in a program that passes SciPy's NaN
        to numpy.argmin.
    """

    first_bin: Literal["kept", "copied"]
    last: Literal["all", "all but one"]
    tie: Literal["first", "last"]
    offset: float
    empty: Literal["never", "wins"] = "never"


DIALECTS: dict[str, Dialect] = {
    # Exact zeros are left out by the caller: 0 is representable in every scheme.
    "quantlab": Dialect("kept", "all", "last", 0.0),
    "gtc2017": Dialect("kept", "all but one", "first", 0.5),
    "tensorrt": Dialect("copied", "all", "first", 0.5),
    "pytorch-quantization": Dialect("copied", "all", "last", 0.0, "wins"),
}
DIALECT_NAMES = (*DIALECTS, "mxnet")


def entropy_threshold(counts: AnyArray, width: float, *, dialect: str = "quantlab") -> float:
    """Return amax, the magnitude at which to clip, from a plain linear histogram of |x|.

    Parameters
    ----------
    counts
        [bins] integers ≥ 0, at least 128; bin k counts k·width ≤ |x| < (k + 1)·width. Not changed. For «mxnet»,
        whose histogram is signed with an odd number of bins, bin 0 is the middle bin and the others are mirrored.
    width
        Width of a bin, > 0, in the tensor's unit.
    dialect
        quantlab, gtc2017, tensorrt, pytorch-quantization or mxnet.

    Returns
    -------
    amax
        In the tensor's unit; may exceed the last edge by half a bin where the dialect adds half a bin.

    Raises
    ------
    UsageError
        For an unknown dialect.
    InputError
        For fewer than 128 bins, negative counts or a width that is not positive.
    """
    curve = divergence_curve(counts, width, dialect=dialect)
    return float(curve.thresholds[curve.best])


@dataclass(frozen=True, slots=True)
class DivergenceCurve:
    """Every candidate: bins kept (int64), threshold and divergence in nats (float64), and the index of the best."""

    kept: I64
    thresholds: F64
    divergences: F64
    best: int


def divergence_curve(counts: AnyArray, width: float, *, dialect: str = "quantlab") -> DivergenceCurve:
    """Return every candidate of `entropy_threshold`, which see, with its divergence."""
    array = _checked(counts, width)
    if dialect == "mxnet":
        kept, divergences = mxnet_divergences(array)
        return DivergenceCurve(kept, _thresholds(kept, 0.5, width), divergences, int(np.argmin(divergences)))
    if dialect not in DIALECTS:
        raise UsageError(f"Unknown dialect «{dialect}»; the known ones are {', '.join(DIALECT_NAMES)}.")
    return _curve(array, width, DIALECTS[dialect])


def _checked(counts: AnyArray, width: float) -> I64:
    array = np.asarray(counts)
    if array.ndim != 1 or array.size < LEVELS:
        raise InputError(f"The entropy search needs at least {LEVELS} bins in one row, not {list(array.shape)}.")
    if array.dtype.kind not in "iu" or (array < 0).any():
        raise InputError("The entropy search needs integer counts ≥ 0.")
    if not (np.isfinite(width) and width > 0):
        raise InputError(f"The entropy search needs a positive bin width, not {width}.")
    return array.astype(np.int64)


def _curve(counts: I64, width: float, dialect: Dialect) -> DivergenceCurve:
    if dialect.first_bin == "copied":
        counts = np.concatenate([counts[1:2], counts[1:]])
    stop = counts.size if dialect.last == "all" else max(counts.size - 1, LEVELS)
    kept = np.arange(LEVELS, stop + 1)
    divergences = _all_divergences(counts, kept)
    if dialect.empty == "never":
        divergences[np.isnan(divergences)] = np.inf
    if not np.isfinite(divergences).any():  # nothing to choose by: keep everything
        return DivergenceCurve(kept, _thresholds(kept, dialect.offset, width), divergences, kept.size - 1)
    for i in np.flatnonzero(divergences <= np.nanmin(divergences) + _NEAR):
        divergences[i] = _divergence(counts, int(kept[i]))
    return DivergenceCurve(
        kept, _thresholds(kept, dialect.offset, width), divergences, _least(divergences, dialect.tie)
    )


def _thresholds(kept: I64, offset: float, width: float) -> F64:
    return (kept.astype(np.float64) + offset) * np.float64(width)


def _least(divergences: F64, tie: str) -> int:
    """Return the index of the least divergence; NaN counts as the least, as numpy.argmin has it."""
    if tie == "first":
        return int(np.argmin(divergences))
    return divergences.size - 1 - int(np.argmin(divergences[::-1]))


def _divergence(counts: I64, kept: int) -> float:
    """Return KL(P‖Q) of one candidate, term by term, in the order in which SciPy adds."""
    head = counts[:kept].astype(np.float64)
    starts = (np.arange(LEVELS) * kept + LEVELS - 1) // LEVELS
    filled = (counts[:kept] > 0).astype(np.int64)
    sums, sizes = np.add.reduceat(head, starts), np.add.reduceat(filled, starts)
    means = np.divide(sums, sizes, out=np.zeros(LEVELS), where=sizes > 0)
    q = np.where(filled > 0, np.repeat(means, np.diff(starts, append=kept)), 0.0)
    p = head
    p[-1] += counts[kept:].sum()
    if p.sum() == 0 or q.sum() == 0:
        return float("nan")
    return float(np.sum(rel_entr(p / p.sum(), q / q.sum())))


def _all_divergences(counts: I64, kept: I64) -> F64:
    """Return KL(P‖Q) of every candidate.

    With P the kept counts c plus the tail in its last bin, and Q the mean of a level over its non-empty bins, the sum over
    bins of p·ln(p/q) falls apart into a running sum of c·ln c and, for each level, its total times the log of its mean.
    """
    values = counts.astype(np.float64)
    logs = np.where(values > 0, values * np.log(np.where(values > 0, values, 1.0)), 0.0)
    zero = np.zeros(1)
    running = np.concatenate([zero, np.cumsum(values)])
    filled = np.concatenate([zero, np.cumsum(values > 0)])
    entropy = np.concatenate([zero, np.cumsum(logs)])
    return _scan(values, running, filled, entropy, kept)


@njit(nogil=True, cache=True)
def _scan(values: F64, running: F64, filled: F64, entropy: F64, kept: I64) -> F64:
    result = np.empty(kept.size)
    total = running[-1]
    for k in range(kept.size):
        i = kept[k]
        tail = total - running[i]
        inside = running[i]
        if inside == 0.0:
            result[k] = np.nan
            continue
        if tail > 0.0 and values[i - 1] == 0.0:
            result[k] = np.inf
            continue
        cross = 0.0
        mean = 0.0
        start = 0
        for level in range(LEVELS):
            stop = ((level + 1) * i + LEVELS - 1) // LEVELS
            mass = running[stop] - running[start]
            if mass > 0.0:
                mean = mass / (filled[stop] - filled[start])
                cross += mass * np.log(mean)
            start = stop
        last = values[i - 1] + tail
        own = entropy[i - 1]
        if last > 0.0:
            own += last * np.log(last)
        if tail > 0.0:
            cross += tail * np.log(mean)
        result[k] = (own - cross) / total + np.log(inside / total)
    return result
