"""Counts float32 values by the leading bits of their binary form: no range is needed and no order matters."""

from dataclasses import dataclass, field, replace

import numpy as np
from numba import njit

from quantlab.numerics.arrays import I64, AnyArray

SHIFT = 14
"""Low bits dropped: sign, exponent and the nine leading mantissa bits remain, 2**9 equal parts an octave."""

PARTS = 1 << (23 - SHIFT)
HALF = 256 * PARTS
"""Slots a sign; the upper half of the table holds the negative values."""

_INFINITE = 255 * PARTS
_INFINITE_BITS = 0x7F800000
_LANES = 4  # neighbours are often equal (zeros, clipped values): four tables keep their increments independent
_BLOCK = 8192  # values read twice: few enough to be still in the first-level cache the second time


@dataclass(slots=True)
class Tally:
    """A running count of one tensor's values at full resolution; mutable, and private to whoever counts.

    Attributes
    ----------
    slots
        int64[2**18], one for each value of a float32's upper 18 bits; the slots of zero, NaN and infinity stay empty.
    zeros
        Values below 2**-135 in magnitude: no scale can tell them from 0.
    nan, negative_infinite, positive_infinite
        Values kept apart.
    low, high
        Exact smallest and largest finite value; NaN before the first.
    """

    slots: I64 = field(default_factory=lambda: np.zeros(2 * HALF, np.int64))
    zeros: int = 0
    nan: int = 0
    negative_infinite: int = 0
    positive_infinite: int = 0
    low: float = float("nan")
    high: float = float("nan")

    @property
    def total(self) -> int:
        """Number of values, whatever they are."""
        return int(self.slots.sum()) + self.zeros + self.nan + self.negative_infinite + self.positive_infinite

    def add(self, values: AnyArray, lanes: AnyArray | None = None) -> None:
        """Count every element; anything but float32 is converted first (float64 rounds to nearest even).

        `lanes` from `new_lanes()` saves an allocation a call; it comes back all zero.
        """
        with np.errstate(over="ignore"):  # a float64 beyond float32's range is counted as infinite
            flat = np.ascontiguousarray(values, dtype=np.float32).ravel()
        if flat.size == 0:
            return
        lanes = new_lanes() if lanes is None else lanes
        low, high, smallest, largest = _count(flat.view(np.int32), lanes)
        _drain(lanes, self.slots, min(smallest, largest) >> SHIFT, largest >> SHIFT)
        self.zeros += int(self.slots[0] + self.slots[HALF])
        self.slots[[0, HALF]] = 0
        if largest >= _INFINITE_BITS:
            flat = self._set_aside(flat)
            if flat.size == 0:
                return
            first, last = float(flat.min()) + 0.0, float(flat.max()) + 0.0
        else:
            first, last = _float(low), _float(high)
        self.low = float(np.fmin(self.low, first))
        self.high = float(np.fmax(self.high, last))

    def _set_aside(self, flat: AnyArray) -> AnyArray:
        """Move NaN and infinities out of the slots; return the finite values."""
        self.slots[_INFINITE:HALF] = 0
        self.slots[HALF + _INFINITE :] = 0
        self.nan += int(np.count_nonzero(np.isnan(flat)))
        self.negative_infinite += int(np.count_nonzero(np.isneginf(flat)))
        self.positive_infinite += int(np.count_nonzero(np.isposinf(flat)))
        return flat[np.isfinite(flat)]

    def padded(self, zeros: int) -> "Tally":
        """Return the count of the same values and this many zeros."""
        if not zeros:
            return self
        low, high = float(np.fmin(self.low, 0.0)), float(np.fmax(self.high, 0.0))
        return replace(self, zeros=self.zeros + zeros, low=low, high=high)

    def clipped(self, low: float, high: float) -> "Tally":
        """Return the count of min(max(x, low), high); exact where `can_clip(low, high)`."""
        slots = self.slots.copy()
        from_above = self.positive_infinite if np.isfinite(high) else 0
        from_below = self.negative_infinite if np.isfinite(low) else 0
        above = _gathered(slots[:HALF], high) + from_above
        below = _gathered(slots[HALF:], -low) + from_below
        _put(slots[:HALF], high, above)
        _put(slots[HALF:], -low, below)
        ends = [self.low, self.high, *([low] if from_below else []), *([high] if from_above else [])]
        first, last = float(np.fmin.reduce(ends)), float(np.fmax.reduce(ends))
        return replace(
            self,
            slots=slots,
            zeros=self.zeros + (above if high == 0 else 0) + (below if low == 0 else 0),
            negative_infinite=self.negative_infinite - from_below,
            positive_infinite=self.positive_infinite - from_above,
            low=float(np.minimum(np.maximum(first, low), high)) + 0.0,
            high=float(np.minimum(np.maximum(last, low), high)) + 0.0,
        )


def can_clip(low: float, high: float) -> bool:
    """Tell whether clipping's outcome can be counted from the counts: 0 inside, and both bounds at a slot's edge."""
    return low <= 0 <= high and _at_edge(-low) and _at_edge(high)


def _at_edge(bound: float) -> bool:
    if np.isfinite(bound) and bound > float(np.finfo(np.float32).max):
        return False
    bits = int(np.float32(bound).view(np.uint32))
    return float(np.float32(bound)) == bound and bits & ((1 << SHIFT) - 1) == 0


def _slot(bound: float) -> int:
    return int(np.float32(bound).view(np.uint32) & np.uint32(0x7FFFFFFF)) >> SHIFT


def _gathered(side: I64, bound: float) -> int:
    """Empty the slots from a bound upwards and return what was in them."""
    if not np.isfinite(bound):
        return 0
    start = _slot(bound)
    count = int(side[start:].sum())
    side[start:] = 0
    return count


def _put(side: I64, bound: float, count: int) -> None:
    if np.isfinite(bound) and bound != 0:
        side[_slot(bound)] = count


def new_lanes() -> AnyArray:
    """Return an empty working table for `Tally.add`: int32[2**18, 4], of which untouched pages cost nothing."""
    return np.zeros((2 * HALF, _LANES), np.int32)


def _float(ordered: int) -> float:
    """Undo the map of a float32's bits to integers of the same order."""
    bits = np.int32(ordered)
    return float((bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF))).view(np.float32)) + 0.0


@njit(nogil=True, cache=True)
def _count(bits: AnyArray, lanes: AnyArray) -> tuple[int, int, int, int]:
    """Count into the lanes; return the ordered minimum and maximum and the extreme non-zero magnitudes' bits."""
    low, high = np.int32(0x7FFFFFFF), np.int32(-0x80000000)
    smallest, largest = np.uint32(0xFFFFFFFF), np.uint32(0)
    for start in range(0, bits.size, _BLOCK):
        block = bits[start : start + _BLOCK]
        for i in range(block.size):
            ordered = block[i] ^ ((block[i] >> np.int32(31)) & np.int32(0x7FFFFFFF))
            low = min(low, ordered)
            high = max(high, ordered)
            magnitude = np.uint32(block[i]) & np.uint32(0x7FFFFFFF)
            smallest = min(smallest, np.uint32(magnitude - np.uint32(1)))  # zero wraps round to the largest
            largest = max(largest, magnitude)
        whole = block.size - block.size % 4
        for i in range(0, whole, 4):
            lanes[np.uint32(block[i]) >> np.uint32(14), 0] += np.int32(1)
            lanes[np.uint32(block[i + 1]) >> np.uint32(14), 1] += np.int32(1)
            lanes[np.uint32(block[i + 2]) >> np.uint32(14), 2] += np.int32(1)
            lanes[np.uint32(block[i + 3]) >> np.uint32(14), 3] += np.int32(1)
        for i in range(whole, block.size):
            lanes[np.uint32(block[i]) >> np.uint32(14), 0] += np.int32(1)
    return low, high, smallest, largest


@njit(nogil=True, cache=True)
def _drain(lanes: AnyArray, slots: I64, first: int, last: int) -> None:
    """Add the lanes to the slots and empty them: slot 0 and `first` to `last` of either sign were touched."""
    for sign in range(2):
        for slot in range(first, last + 1):
            row = sign * HALF + slot
            slots[row] += lanes[row, 0] + lanes[row, 1] + lanes[row, 2] + lanes[row, 3]
            lanes[row, 0] = lanes[row, 1] = lanes[row, 2] = lanes[row, 3] = 0
        zero = sign * HALF
        slots[zero] += lanes[zero, 0] + lanes[zero, 1] + lanes[zero, 2] + lanes[zero, 3]
        lanes[zero, 0] = lanes[zero, 1] = lanes[zero, 2] = lanes[zero, 3] = 0
