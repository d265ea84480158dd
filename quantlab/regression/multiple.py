"""Many tests at once: p-values that hold for all of them together."""

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_array
from scipy.special import ndtr
from scipy.stats import false_discovery_control

from quantlab.errors import UsageError
from quantlab.numerics.arrays import F64

DRAWS = 10_000
"""Exchanges drawn: a p-value of 0.05 is then known to ± 0.004, and the same data give the same bits."""

_AT_ONCE = 2_000_000
_SEED = 0
_SAME = 1e-9
_HOPELESS = 0.5  # a test that cannot come below changes no p-value below: its samples are too few


def holm(p_values: Sequence[float]) -> F64:
    """Return p-values that hold for all tests together (Holm, Scandinavian Journal of Statistics 6, 1979, 65-70)."""
    given = _checked(p_values)
    order = np.argsort(given, kind="stable")
    steps = given[order] * np.arange(given.size, 0, -1)
    found = np.empty_like(given)
    found[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return found


def benjamini_hochberg(p_values: Sequence[float]) -> F64:
    """Return q-values: calling all tests up to one of them true is wrong for that share of them, on average.

    Benjamini and Hochberg, Journal of the Royal Statistical Society B 57, 1995, 289-300.
    """
    given = _checked(p_values)
    return np.asarray(false_discovery_control(given, method="bh"), np.float64) if given.size else given


def exchanged(differences: F64 | csr_array, weights: F64) -> F64:
    """Return one-sided p-values that hold for all tests together, if the two runs' answers may be exchanged.

    Single-step minP of Westfall and Young, «Resampling-Based Multiple Testing», 1993: where two networks are equally good, which
    of them gave which answer to a sample says nothing, so that each sample's differences may change sign, in all
    tests at once. Chance is what the smallest weighted p-value is then. Tests that depend on each other, and those that
    so few samples can never decide, cost nothing. Ties count half (mid-p, as in `mcnemar_above`).

    Parameters
    ----------
    differences
        float64[samples, tests]: what the candidate loses on a sample, 0 where the sample is not in the test; sparse or not, as
        50,000 samples in a thousand slices are 400 MB of zeros.
    weights
        float64[tests], adding up to 1: the part of the level that each test is given.

    Returns
    -------
    F64
        float64[tests]; 1 for a test of so few samples that no outcome comes below ½.
    """
    table = csr_array(differences)
    table.eliminate_zeros()
    sizes = np.sqrt(table.power(2).sum(axis=0))
    found = np.ones(sizes.size)
    most = abs(table).sum(axis=0) / np.where(sizes > 0, sizes, 1.0)
    able = np.flatnonzero((sizes > 0) & (ndtr(-most) / weights < _HOPELESS))
    if not able.size:
        return found
    rows = table[np.diff(table.indptr) > 0][:, able]
    scaled, share = csr_array(rows.multiply(1 / sizes[able])), weights[able]
    observed = ndtr(-scaled.sum(axis=0)) / share
    below, same = np.zeros(able.size), np.ones(able.size)
    draw = np.random.default_rng(_SEED)
    left = DRAWS
    while left:
        count = min(left, max(1, _AT_ONCE // max(rows.shape)))
        signs = draw.integers(0, 2, (count, rows.shape[0]), np.int8) * 2.0 - 1.0
        least = (ndtr(-(signs @ scaled)) / share).min(axis=1)[:, None]
        close = np.abs(least - observed) <= _SAME * observed
        below += np.sum((least < observed) & ~close, axis=0)
        same += close.sum(axis=0)
        left -= count
    found[able] = np.minimum((below + same / 2) / (DRAWS + 1), 1.0)
    return found


def _checked(p_values: Sequence[float]) -> F64:
    given = np.asarray(p_values, np.float64)
    if given.ndim != 1 or not np.all((given >= 0) & (given <= 1)):
        raise UsageError("P-values lie between 0 and 1, one a test.")
    return given
