"""A score that knows how to weigh its samples, so that a bootstrap sorts them once and not in each draw."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from quantlab.numerics.arrays import I64, AnyArray


@runtime_checkable
class Weighable(Protocol):
    """A metric with a score of its own and a way to weigh samples; see `Metric`."""

    def score(self, values: AnyArray) -> float:
        """Return the score of all values."""
        ...

    def weighted(self, values: AnyArray) -> Callable[[I64], float]:
        """Return a function from how often each sample counts, int64[samples], to the score."""
        ...


@dataclass(frozen=True, slots=True)
class WeighedScore:
    """A metric's score as a function of the values, with `weighted` beside it."""

    metric: Weighable

    def __call__(self, values: AnyArray) -> float:
        """Return the score of all values."""
        return self.metric.score(values)

    def weighted(self, values: AnyArray) -> Callable[[I64], float]:
        """Return a function from how often each sample counts, int64[samples], to the score."""
        return self.metric.weighted(values)
