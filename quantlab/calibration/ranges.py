"""The range of real values that a tensor's integers shall cover."""

import math
from dataclasses import dataclass

from quantlab.errors import InputError


@dataclass(frozen=True, slots=True)
class Range:
    """Finite bounds, low ≤ high, in the tensor's own unit."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low <= self.high):
            raise InputError(f"A range needs finite bounds, low first, not ({self.low}, {self.high}).")

    @property
    def amax(self) -> float:
        """The larger magnitude of the two bounds."""
        return max(abs(self.low), abs(self.high))

    def union(self, other: "Range") -> "Range":
        """Return the smallest range that covers both."""
        return Range(min(self.low, other.low), max(self.high, other.high))
