"""Top-k accuracy."""

from dataclasses import dataclass
from typing import ClassVar

from quantlab.errors import InputError, UsageError
from quantlab.metrics.classes import among_top, checked_labels, class_scores
from quantlab.numerics.arrays import AnyArray, Tensors


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
    in_points: ClassVar[bool] = True

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
