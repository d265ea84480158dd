"""Correlation of predictions with people's values."""

from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias, get_args

import numpy as np

from quantlab.errors import InputError, UsageError
from quantlab.metrics.outputs import the_output
from quantlab.numerics.arrays import F64, AnyArray, Tensors

Kind: TypeAlias = Literal["spearman", "pearson"]
"""spearman: of the ranks, equal ones sharing theirs; pearson: of the values."""


@dataclass(frozen=True, slots=True)
class Correlation:
    """Correlation of one predicted number a sample with its label, −1 … 1 (scipy.stats).

    Attributes
    ----------
    kind
        See `Kind`.
    output
        The predictions [samples] or [samples, 1]; None takes the only one that can be.
    """

    kind: Kind = "spearman"
    output: str | None = None
    in_points: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checked_kind(self.kind)

    @property
    def name(self) -> str:
        """«Spearman» or «Pearson»."""
        return self.kind.capitalize()

    @property
    def higher_is_better(self) -> bool:
        """True."""
        return True

    def per_sample(self, outputs: Tensors, labels: AnyArray | None) -> F64:
        """Return (prediction, label), float64[samples, 2].

        Raises
        ------
        InputError
            When labels are missing or not one number a sample, or no output can be told to be predictions.
        """
        found = the_output(outputs, self.output, _one_a_sample, "predictions [samples] or [samples, 1]").reshape(-1)
        if labels is None:
            raise InputError(f"{self.name} needs labels, a number a sample.")
        known = np.asarray(labels)
        if known.shape != found.shape or known.dtype.kind not in "iuf":
            raise InputError(
                f"{self.name} needs {len(found)} numbers here as labels, not {known.dtype}{list(known.shape)}."
            )
        return np.stack([found, known], axis=1).astype(np.float64)

    def score(self, values: AnyArray) -> float:
        """Return the correlation; NaN for fewer than two samples, or where one side is constant."""
        return correlation(self.kind, values[:, 0], values[:, 1])


def checked_kind(kind: str) -> None:
    """Refuse a correlation that nobody knows.

    Raises
    ------
    UsageError
        Listing those that there are.
    """
    if kind not in get_args(Kind):
        raise UsageError(f"A correlation is {' or '.join(get_args(Kind))}, not «{kind}».")


def correlation(kind: Kind, one: AnyArray, two: AnyArray) -> float:
    """Return the correlation of two vectors, −1 … 1; NaN for fewer than two values, or where one side is constant."""
    from scipy.stats import pearsonr, spearmanr

    if len(one) < 2 or np.ptp(one) == 0 or np.ptp(two) == 0:
        return float("nan")
    found = spearmanr(one, two) if kind == "spearman" else pearsonr(one, two)
    return float(found.statistic)


def _one_a_sample(values: AnyArray) -> bool:
    return values.dtype.kind == "f" and (values.ndim == 1 or (values.ndim == 2 and values.shape[1] == 1))
