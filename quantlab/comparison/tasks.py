"""Task metrics: what an output is worth, sample by sample."""

from dataclasses import dataclass
from typing import Any, Protocol

from quantlab.comparison.classes import among_top, checked_labels, class_scores
from quantlab.errors import InputError, UsageError
from quantlab.numerics.arrays import AnyArray, Tensors


class Metric(Protocol):
    """A value a sample, whose mean over the samples is the score.

    A metric of one's own is any object with these members. Two more are looked for: `score(values) -> float` makes
    the score of the values where it is not their mean (the samples' order says nothing), and `needs_labels = False`
    says that `per_sample` can do with `labels=None`.
    """

    @property
    def name(self) -> str:
        """What people call it, for instance «top-1»."""
        ...

    @property
    def higher_is_better(self) -> bool:
        """False for errors and losses."""
        ...

    def per_sample(self, outputs: Tensors, labels: Any) -> AnyArray:
        """Return the finite values of one batch, [samples]; or [samples, …] where `score` makes one number of them.

        Parameters
        ----------
        outputs
            One engine's outputs by name, valid during the call only.
        labels
            The batch's labels, samples first; None if there are none.
        """
        ...


@dataclass(frozen=True, slots=True)
class TopK:
    """Share of samples whose label is among the k largest class scores.

    Of equal scores the class with the smaller index counts as the larger. A sample with NaN among its scores is wrong.

    Attributes
    ----------
    k
        At least 1.
    output
        The output with the scores [samples, classes]; None takes the only one that can be.
    """

    k: int
    output: str | None = None

    def __post_init__(self) -> None:
        if self.k < 1:
            raise UsageError(f"TopK takes at least the first class: k is {self.k}.")

    @property
    def name(self) -> str:
        """«top-1», «top-5»."""
        return f"top-{self.k}"

    @property
    def higher_is_better(self) -> bool:
        """True."""
        return True

    def per_sample(self, outputs: Tensors, labels: AnyArray | None) -> AnyArray:
        """Return whether each label is among the k largest scores, bool[samples].

        Raises
        ------
        InputError
            When labels are missing or do not fit the classes, or no output can be told to be class scores.
        """
        if labels is None:
            raise InputError(f"{self.name} needs labels.")
        scores = class_scores(outputs, self.output)
        return among_top(scores, checked_labels(labels, scores), self.k)
