"""The histogram that every method reads: log-linear, signed, and merged exactly."""

from dataclasses import dataclass

import numpy as np
from typing_extensions import Self

from quantlab.errors import InputError
from quantlab.numerics.arrays import F64, I64, AnyArray
from quantlab.numerics.counting import HALF, PARTS, Tally

FINE_OCTAVES = 3
COARSE_OCTAVES = 10
COARSE_PARTS = 128
BINS = 1 + COARSE_OCTAVES * COARSE_PARTS + FINE_OCTAVES * PARTS
"""Bins a sign: one for all small values, ten octaves of 128 parts, three octaves of 512."""

LOWEST_TOP = FINE_OCTAVES + COARSE_OCTAVES
HIGHEST_TOP = 254
_OCTAVES = FINE_OCTAVES + COARSE_OCTAVES
_FINE_START = 1 + COARSE_OCTAVES * COARSE_PARTS


@dataclass(frozen=True, slots=True)
class LinearGrid:
    """Equal bins over [0, bins·width] of |x|."""

    bins: int
    width: float

    def __post_init__(self) -> None:
        if self.bins < 1 or not (np.isfinite(self.width) and self.width > 0):
            raise InputError(f"A linear grid needs at least one bin and a positive width, not {self}.")


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """Counts of one tensor's float32 values, whatever their range; a value that merges exactly.

    The bins follow the binary exponent of the largest magnitude, `top` (biased as in IEEE 754). The octave `top` and the
    two below it are cut into 512 equal parts each, the next ten octaves into 128, and all smaller magnitudes share
    one bin a sign. Every edge is a binary fraction and coarse bins are unions of fine ones, so counting together and
    merging give the same bits, in any order and any split.

    Attributes
    ----------
    counts
        int64[2, 2817]: row 0 negative, row 1 positive values; column by rising magnitude, [edge, next edge).
    top
        Biased exponent of the highest octave, 13 … 254.
    zeros
        Values below 2**-135 in magnitude.
    nan, negative_infinite, positive_infinite
        Values that are in no bin.
    low, high
        Exact smallest and largest finite value; NaN when there is none.
    """

    counts: I64
    top: int
    zeros: int
    nan: int
    negative_infinite: int
    positive_infinite: int
    low: float
    high: float

    def __post_init__(self) -> None:
        if self.counts.shape != (2, BINS) or self.counts.dtype != np.int64:
            raise InputError(f"A histogram holds int64[2, {BINS}], not {self.counts.dtype}{list(self.counts.shape)}.")
        if not LOWEST_TOP <= self.top <= HIGHEST_TOP:
            raise InputError(f"A histogram's top octave lies in {LOWEST_TOP} … {HIGHEST_TOP}, not {self.top}.")
        object.__setattr__(self, "counts", self.counts.copy())
        self.counts.flags.writeable = False

    @classmethod
    def of(cls, values: AnyArray) -> Self:
        """Count an array of any shape; anything but float32 is converted to it first."""
        tally = Tally()
        tally.add(values)
        return cls.from_tally(tally)

    @classmethod
    def from_tally(cls, tally: Tally) -> Self:
        """Fold a full-resolution count."""
        slots = tally.slots.reshape(2, HALF)[::-1]  # a float32's sign bit puts the negative half last
        used = np.flatnonzero(slots.any(axis=0))
        top = max(LOWEST_TOP, int(used[-1]) // PARTS) if used.size else LOWEST_TOP
        fine = slots[:, (top + 1 - FINE_OCTAVES) * PARTS : (top + 1) * PARTS]
        coarse = slots[:, (top + 1 - _OCTAVES) * PARTS : (top + 1 - FINE_OCTAVES) * PARTS]
        rest = slots[:, : (top + 1 - _OCTAVES) * PARTS].sum(axis=1, keepdims=True)
        counts = np.concatenate([rest, _paired(coarse, PARTS // COARSE_PARTS), fine], axis=1)
        return cls(
            counts,
            top,
            tally.zeros,
            tally.nan,
            tally.negative_infinite,
            tally.positive_infinite,
            tally.low,
            tally.high,
        )

    def merge(self, other: "Histogram") -> "Histogram":
        """Return the histogram of both tensors' values together; exact, commutative and associative."""
        top = max(self.top, other.top)
        return Histogram(
            _raised(self, top) + _raised(other, top),
            top,
            self.zeros + other.zeros,
            self.nan + other.nan,
            self.negative_infinite + other.negative_infinite,
            self.positive_infinite + other.positive_infinite,
            float(np.fmin(self.low, other.low)),
            float(np.fmax(self.high, other.high)),
        )

    @property
    def total(self) -> int:
        """Number of finite values, zeros included."""
        return int(self.counts.sum()) + self.zeros

    @property
    def nonfinite(self) -> int:
        """Number of NaN and infinite values."""
        return self.nan + self.negative_infinite + self.positive_infinite

    @property
    def amax(self) -> float:
        """Exact largest finite magnitude; 0 for an empty tensor."""
        return 0.0 if np.isnan(self.low) else max(abs(self.low), abs(self.high))

    def magnitudes(self) -> I64:
        """Return int64[2817]: the counts of |x|, zeros left out."""
        return self.counts.sum(axis=0)

    def edges(self) -> F64:
        """Return float64[2818], the exact bin edges in magnitude, from 0 to 2**(top − 126)."""
        return _edges(self.top)

    def rebin(self, grid: LinearGrid) -> I64:
        """Return int64[grid.bins] of |x|, zeros in the first bin: the one way to another grid.

        A bin cut by an edge is shared out as if its values lay evenly in it, by rounding the running total; what lies
        beyond the grid falls in its last bin. The sum is kept.
        """
        ends = np.minimum(self.edges(), self.amax)  # the last bin's values end at the maximum
        running = np.concatenate([[0], np.cumsum(self.magnitudes())])
        wanted = np.arange(1, grid.bins + 1) * grid.width
        below = np.rint(np.interp(wanted, ends, running)).astype(np.int64)
        last = int(np.searchsorted(self.edges(), self.amax, side="right")) - 1
        if self.edges()[last] == self.amax:  # its bin holds the maximum alone, and edges belong to the bin above
            below[wanted <= self.amax] = np.minimum(below[wanted <= self.amax], running[last])
        below[-1] = running[-1]
        counts = np.diff(below, prepend=0)
        counts[0] += self.zeros
        return counts

    def __eq__(self, other: object) -> bool:
        """Tell whether both hold the same counts, bit for bit."""
        if not isinstance(other, Histogram):
            return NotImplemented
        return _apart(self) == _apart(other) and np.array_equal(self.counts, other.counts)

    __hash__ = None  # type: ignore[assignment]

    def _repr_html_(self) -> str:
        return (
            f"<b>Histogram</b> of {self.total:,} values in [{self.low:.6g}, {self.high:.6g}], "
            f"{self.zeros:,} zeros, {self.nonfinite:,} not finite"
        )


def _apart(histogram: Histogram) -> tuple[str, ...]:
    """Return everything but the counts in a form in which NaN equals itself."""
    names = ("top", "zeros", "nan", "negative_infinite", "positive_infinite", "low", "high")
    return tuple(repr(float(getattr(histogram, name))) for name in names)


def _paired(counts: I64, size: int) -> I64:
    """Add up groups of `size` neighbouring columns."""
    return counts.reshape(2, -1, size).sum(axis=2)


def _raised(histogram: Histogram, top: int) -> I64:
    """Return the counts on the grid of a higher top octave."""
    counts = histogram.counts
    for _ in range(min(top - histogram.top, _OCTAVES)):
        rest = counts[:, :1] + counts[:, 1 : 1 + COARSE_PARTS].sum(axis=1, keepdims=True)
        coarser = _paired(counts[:, _FINE_START : _FINE_START + PARTS], PARTS // COARSE_PARTS)
        kept = counts[:, 1 + COARSE_PARTS : _FINE_START]
        fine = counts[:, _FINE_START + PARTS :]
        counts = np.concatenate([rest, kept, coarser, fine, np.zeros((2, PARTS), np.int64)], axis=1)
    return counts


def _edges(top: int) -> F64:
    def octave(exponent: int, parts: int) -> F64:
        return np.ldexp(1.0 + np.arange(parts) / parts, exponent - 127)

    coarse = [octave(top + 1 - _OCTAVES + i, COARSE_PARTS) for i in range(COARSE_OCTAVES)]
    fine = [octave(top + 1 - FINE_OCTAVES + i, PARTS) for i in range(FINE_OCTAVES)]
    return np.concatenate([[0.0], *coarse, *fine, [np.ldexp(1.0, top - 126)]])
