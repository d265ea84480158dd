"""Accuracy class by class, and its mean."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from quantlab.errors import UsageError
from quantlab.metrics.choices import labels_and_choices
from quantlab.numerics.arrays import F64, AnyArray, Tensors


@dataclass(frozen=True, slots=True)
class BalancedAccuracy:
    """Mean over the classes of the share of a class's samples that are found, so that a rare class counts as a frequent one.

    Brodersen et al., «The balanced accuracy and its posterior distribution», ICPR 2010. Classes without a sample do not
    count. A sample with NaN among its scores is wrong. Where classes have one or two samples, a bootstrap leaves whole
    classes out, and its interval is too narrow.

    Attributes
    ----------
    output
        The output with the scores [samples, classes]; None takes the only one that can be.
    """

    output: str | None = None
    in_points: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """«balanced accuracy»."""
        return "balanced accuracy"

    @property
    def higher_is_better(self) -> bool:
        """True."""
        return True

    def per_sample(self, outputs: Tensors, labels: AnyArray | None) -> F64:
        """Return (label, chosen class), float64[samples, 2].

        Raises
        ------
        InputError
            When labels are missing or do not fit the classes, or no output can be told to be class scores.
        """
        return labels_and_choices(outputs, labels, self.output, self.name)

    def score(self, values: AnyArray) -> float:
        """Return the mean of `by_class`, 0 … 1."""
        return float(np.mean(self.by_class(values)[1]))

    def by_class(self, values: AnyArray) -> tuple[AnyArray, F64]:
        """Return the classes that occur, int64[k], ascending, and the share of each one's samples that is found."""
        classes, place = np.unique(values[:, 0].astype(np.int64), return_inverse=True)
        right = np.bincount(place.ravel(), weights=values[:, 0] == values[:, 1])
        return classes, right / np.bincount(place.ravel())


@dataclass(frozen=True, slots=True)
class ClassAccuracy:
    """Share of one class's samples that are found (its recall).

    Attributes
    ----------
    label
        The class, from 0.
    output
        As for `BalancedAccuracy`.
    """

    label: int
    output: str | None = None
    in_points: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.label < 0:
            raise UsageError(f"Classes are counted from 0; there is no class {self.label}.")

    @property
    def name(self) -> str:
        """«accuracy of class 3»."""
        return f"accuracy of class {self.label}"

    @property
    def higher_is_better(self) -> bool:
        """True."""
        return True

    def per_sample(self, outputs: Tensors, labels: AnyArray | None) -> F64:
        """Return (label, chosen class), float64[samples, 2]; errors as of `BalancedAccuracy`."""
        return labels_and_choices(outputs, labels, self.output, self.name)

    def score(self, values: AnyArray) -> float:
        """Return the share, 0 … 1; NaN where the class has no sample."""
        own = values[values[:, 0] == self.label]
        return float(np.mean(own[:, 1] == self.label)) if len(own) else float("nan")
