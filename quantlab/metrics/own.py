"""A metric out of a user's own function."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from quantlab.errors import UsageError
from quantlab.numerics.arrays import AnyArray, Tensors


@dataclass(frozen=True, slots=True)
class OwnMetric:
    """A function's values, a sample each; made by `metric`."""

    function: Callable[[Tensors, Any], AnyArray]
    name: str
    higher_is_better: bool
    needs_labels: bool
    in_points: bool

    def per_sample(self, outputs: Tensors, labels: Any) -> AnyArray:
        """Return what the function does."""
        return self.function(outputs, labels)


@dataclass(frozen=True, slots=True)
class OwnScore(OwnMetric):
    """The same, with a score that is no mean."""

    scoring: Callable[[AnyArray], float]

    def score(self, values: AnyArray) -> float:
        """Return the score of all samples' values."""
        return self.scoring(values)


def metric(
    function: Callable[[Tensors, Any], AnyArray],
    *,
    name: str | None = None,
    higher_is_better: bool = True,
    score: Callable[[AnyArray], float] | None = None,
    needs_labels: bool = True,
    in_points: bool = False,
) -> OwnMetric:
    """Make a metric of a function.

    Parameters
    ----------
    function
        Takes one engine's outputs by name and the batch's labels (None if there are none); returns the finite values of
        the samples, [samples], or [samples, …] with `score`.
    name
        By default the function's.
    higher_is_better
        False for errors and losses.
    score
        Makes one number of all samples' values; by default their mean.
    needs_labels
        False where the function can do without.
    in_points
        The score is a share, 0 … 1: what is lost of it is told in percentage points, and a limit in points can judge it.

    Raises
    ------
    UsageError
        When `function` or `score` cannot be called, or no name is known.
    """
    if not callable(function) or not (score is None or callable(score)):
        raise UsageError("ql.metric takes a function of (outputs, labels), and one of (values) as `score`.")
    called = name or getattr(function, "__name__", "")
    if not called or called == "<lambda>":
        raise UsageError("This function has no name of its own: give one, as in ql.metric(function, name=…).")
    if score is None:
        return OwnMetric(function, called, higher_is_better, needs_labels, in_points)
    return OwnScore(function, called, higher_is_better, needs_labels, in_points, score)
