"""Rules: which method and scheme a tensor gets, by name; the first that matches wins."""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import isfinite
from typing import Any

from quantlab.calibration.ranges import Range
from quantlab.calibration.schemes import Scheme
from quantlab.errors import UsageError


@dataclass(frozen=True, slots=True)
class Rule:
    """Tensors whose name is `pattern`, or matches it as a shell pattern, get this method, or this scheme, or both."""

    pattern: str
    method: Any = None
    scheme: Scheme | None = None

    def matches(self, tensor: str) -> bool:
        """Tell whether the rule applies to a tensor."""
        return tensor == self.pattern or fnmatchcase(tensor, self.pattern)


@dataclass(frozen=True, slots=True)
class Fixed:
    """A range set by hand, whatever was observed."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (isfinite(self.low) and isfinite(self.high) and self.low <= self.high):
            raise UsageError(f"A fixed range has finite bounds, its lower bound first, not ({self.low}, {self.high}).")

    def __call__(self, _histogram: object, /) -> Range:
        """Return the range."""
        return Range(self.low, self.high)
