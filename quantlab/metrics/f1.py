"""F1: the harmonic mean of precision and recall, of one class or averaged over all."""

from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias, get_args

import numpy as np

from quantlab.errors import InputError, UsageError
from quantlab.metrics.choices import labels_and_choices
from quantlab.numerics.arrays import F64, AnyArray, Tensors

Average: TypeAlias = Literal["binary", "macro", "micro"]
"""binary: of class 1 alone; macro: mean of the classes'; micro: of all decisions together."""


@dataclass(frozen=True, slots=True)
class F1:
    """2 · TP / (2 · TP + FP + FN), van Rijsbergen, «Information Retrieval», 1979, chapter 7, with equal weights.

    Macro averages over the classes that are a label or a choice of some sample, as Opitz and Burst, «Macro F1 and macro
    F1», 2019, name «averaged F1». Micro equals accuracy where every sample has one label and every row a choice. A
    sample with NaN among its scores chooses no class: it misses its label and is no false positive of any. Where classes
    have one or two samples, a bootstrap leaves whole classes out, and its interval is too narrow.

    Attributes
    ----------
    average
        See `Average`.
    output
        The output with the scores [samples, classes]; None takes the only one that can be.
    """

    average: Average = "macro"
    output: str | None = None
    in_points: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.average not in get_args(Average):
            raise UsageError(f"F1 is averaged as {', '.join(get_args(Average))}, not «{self.average}».")

    @property
    def name(self) -> str:
        """«F1 (macro)»."""
        return f"F1 ({self.average})"

    @property
    def higher_is_better(self) -> bool:
        """True."""
        return True

    def per_sample(self, outputs: Tensors, labels: AnyArray | None) -> F64:
        """Return (label, chosen class), float64[samples, 2].

        Raises
        ------
        InputError
            When labels are missing, do not fit the classes, or are more than 0 and 1 for «binary»; or when no output can
            be told to be class scores.
        """
        found = labels_and_choices(outputs, labels, self.output, self.name)
        if self.average == "binary" and found.max(initial=0) > 1:
            raise InputError(
                f"{self.name} is for the classes 0 and 1, but there is a class {found.max():.0f}: take macro."
            )
        return found

    def score(self, values: AnyArray) -> float:
        """Return F1, 0 … 1; NaN for «binary» where class 1 is neither a label nor a choice."""
        classes, hits, called, real = counts(values)
        if self.average == "binary":
            one = classes == 1
            hits, called, real = hits[one], called[one], real[one]
        if self.average == "micro":
            hits, called, real = hits.sum(keepdims=True), called.sum(keepdims=True), real.sum(keepdims=True)
        return float(np.mean(2 * hits / (called + real))) if len(hits) else float("nan")


def counts(values: AnyArray) -> tuple[AnyArray, F64, F64, F64]:
    """Return the classes that occur, ascending, and of each one: samples found, chosen, labelled."""
    label, choice = values[:, 0].astype(np.int64), values[:, 1].astype(np.int64)
    size = int(max(label.max(), choice.max())) + 1
    real = np.bincount(label, minlength=size).astype(np.float64)
    called = np.bincount(choice[choice >= 0], minlength=size).astype(np.float64)
    hits = np.bincount(label[label == choice], minlength=size).astype(np.float64)
    known = np.flatnonzero(called + real)
    return known, hits[known], called[known], real[known]
