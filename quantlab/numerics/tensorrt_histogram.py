"""The histogram of TensorRT's own calibrators: its bin width comes from the first batch, so order matters by design."""

from dataclasses import dataclass, replace

import numpy as np
from numba import njit

from quantlab.errors import InputError
from quantlab.numerics.arrays import F32, I64, AnyArray
from quantlab.numerics.markup import card

BINS = 2048


@dataclass(frozen=True, slots=True)
class TensorRTGrid:
    """The grid of TensorRT ≤ 10's calibrators, for the batch size that TensorRT would be given.

    TensorRT 8.6's rules, recovered from real caches: 2,048 bins of |x|; width = max|x| of the first batch / 2,048; when a later batch
    exceeds the range, neighbouring bins merge in pairs and the width doubles.
    """

    batch: int = 32

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise InputError(f"A calibration batch holds at least one sample, not {self.batch}.")


@dataclass(frozen=True, slots=True, eq=False)
class TensorRTHistogram:
    """Counts of |x| on TensorRT's grid.

    Attributes
    ----------
    counts
        int64[2048]; bin k counts k·width ≤ |x| < (k + 1)·width, the last one its upper edge too. Zeros are in bin 0.
    width
        Bin width, in the tensor's unit; 0 while only zeros were seen.
    amax
        Exact largest magnitude.
    negative
        Whether any value was below 0.
    batch
        Samples in the first batch, which fixed the width.
    """

    counts: I64
    width: float
    amax: float
    negative: bool
    batch: int

    def __post_init__(self) -> None:
        if self.counts.shape != (BINS,) or self.counts.dtype != np.int64:
            raise InputError(
                f"TensorRT's histogram holds int64[{BINS}], not {self.counts.dtype}{list(self.counts.shape)}."
            )
        object.__setattr__(self, "counts", self.counts.copy())
        self.counts.flags.writeable = False

    @classmethod
    def starting(cls, first_batch_amax: float, *, batch: int) -> "TensorRTHistogram":
        """Return the empty histogram whose width the first batch's maximum fixes.

        Raises
        ------
        InputError
            For a maximum that is negative, NaN or infinite.
        """
        if not (np.isfinite(first_batch_amax) and first_batch_amax >= 0):
            raise InputError(f"The first batch's largest magnitude cannot be {first_batch_amax}.")
        return cls(np.zeros(BINS, np.int64), first_batch_amax / BINS, 0.0, False, batch)

    def added(self, values: AnyArray) -> "TensorRTHistogram":
        """Return the histogram with one more batch, or a part of one, counted.

        Raises
        ------
        InputError
            For NaN or infinity.
        """
        with np.errstate(over="ignore"):
            flat = np.ascontiguousarray(values, dtype=np.float32).ravel()
        if flat.size == 0:
            return self
        low, high = float(flat.min()), float(flat.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise InputError("NaN or infinity has no place on TensorRT's grid.")
        amax = max(self.amax, -low, high)
        wide = _widened(self, amax)
        counts = wide.counts.copy()
        _count(flat, wide.width, counts)
        return replace(wide, counts=counts, amax=amax, negative=self.negative or low < 0)

    def merge(self, _other: object) -> "TensorRTHistogram":
        """Refuse: two such histograms have unrelated widths.

        Raises
        ------
        InputError
            Always.
        """
        raise InputError(
            f"Histograms on TensorRT's grid depend on batch order and cannot be merged ({self.batch} samples a batch); "
            "collect on the default grid, or on one worker."
        )

    def __eq__(self, other: object) -> bool:
        """Tell whether both hold the same counts on the same grid."""
        if not isinstance(other, TensorRTHistogram):
            return NotImplemented
        mine = (self.width, self.amax, self.negative, self.batch)
        return mine == (other.width, other.amax, other.negative, other.batch) and np.array_equal(
            self.counts, other.counts
        )

    __hash__ = None  # type: ignore[assignment]

    def _repr_html_(self) -> str:
        facts = {
            "values": int(self.counts.sum()),
            "largest": self.amax,
            "bin width": self.width,
            "first batch": self.batch,
        }
        return card("Histogram on TensorRT's grid", facts)


def _widened(histogram: TensorRTHistogram, amax: float) -> TensorRTHistogram:
    counts, width = histogram.counts, histogram.width
    if width == 0:
        return replace(histogram, width=amax / BINS)
    while amax > width * BINS:
        counts = np.concatenate([counts.reshape(-1, 2).sum(axis=1), np.zeros(BINS // 2, np.int64)])
        width *= 2
    return replace(histogram, counts=counts, width=width)


@njit(nogil=True, cache=True)
def _count(values: F32, width: float, counts: I64) -> None:
    if width == 0.0:
        counts[0] += values.size
        return
    for i in range(values.size):
        counts[min(int(abs(np.float64(values[i])) / width), BINS - 1)] += 1
