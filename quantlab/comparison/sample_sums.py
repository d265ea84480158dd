"""Error sums of every sample of a batch at once, each as if it were alone."""

from collections.abc import Iterator

import numpy as np
from numba import njit

from quantlab.numerics.arrays import F64, AnyArray

COLUMNS = ("signal", "other", "cross", "noise", "largest")
"""Sums of x², y², x·y and (x − y)², and max |x − y|."""

_BLOCK = 1 << 18
"""Elements."""


def sample_sums(exact: AnyArray, got: AnyArray, samples: int) -> F64:
    """Return float64[parts, 5], a row a sample and the columns as in `COLUMNS`; see `parts` for what a sample is.

    Each sum is added up in float64 in the order of the elements, so that its bits do not depend on other samples.
    """
    count = parts(exact, samples)
    both_single = exact.dtype == np.float32 and got.dtype == np.float32
    dtype = np.float32 if both_single else np.float64
    sums = np.zeros((count, len(COLUMNS)))
    _add(_rows(exact, count, dtype), _rows(got, count, dtype), sums)
    return sums


def parts(values: AnyArray, samples: int) -> int:
    """Return into how many samples a batch's tensor is cut, as equal parts of its first dimension.

    A tensor whose first dimension the samples do not divide, such as a scalar, is one part.
    """
    length = len(values) if values.ndim else 0
    return samples if length and length % samples == 0 else 1


def blocks(values: AnyArray, samples: int) -> Iterator[tuple[AnyArray, int]]:
    """Yield a batch's tensor in pieces that fit the cache, or of one sample where that does not, with their samples."""
    count = parts(values, samples)
    if count == 1:
        yield values, 1
        return
    rows, group = len(values) // count, max(1, _BLOCK * count // max(values.size, 1))
    for start in range(0, count, group):
        stop = min(start + group, count)
        yield values[start * rows : stop * rows], stop - start


def _rows(values: AnyArray, count: int, dtype: type) -> AnyArray:
    return np.ascontiguousarray(values, dtype).reshape(count, values.size // count)


@njit(nogil=True, cache=True)
def _add(exact: AnyArray, got: AnyArray, sums: F64) -> None:
    for row in range(exact.shape[0]):
        signal = other = cross = noise = largest = 0.0
        for i in range(exact.shape[1]):
            x, y = np.float64(exact[row, i]), np.float64(got[row, i])
            gap = x - y
            signal += x * x
            other += y * y
            cross += x * y
            noise += gap * gap
            largest = max(largest, abs(gap))
        sums[row, 0], sums[row, 1], sums[row, 2], sums[row, 3], sums[row, 4] = signal, other, cross, noise, largest
