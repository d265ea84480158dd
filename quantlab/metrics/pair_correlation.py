"""Correlation of embeddings' cosines with people's judgements of the same pairs."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from quantlab.errors import InputError
from quantlab.metrics.correlation import Kind, checked_kind, correlation
from quantlab.metrics.embedding_cosine import embeddings, unit
from quantlab.numerics.arrays import F64, I64, AnyArray, Tensors

_HEAD = 2  # a row begins with the sample's number and how many partners it has room for


@dataclass(frozen=True, slots=True)
class PairCorrelation:
    """Correlation of the cosines of pairs of samples with people's judgements, −1 … 1 (scipy.stats).

    A bootstrap draws samples, not pairs: a pair is drawn as often as both its samples together (Snijders and Borgatti,
    «Non-parametric standard errors and tests for network statistics», Connections 22, 1999), since pairs that share a
    sample are not independent. Where no sample is in two pairs, the interval is wider than it need be.

    Attributes
    ----------
    kind
        spearman (of the ranks) or pearson (of the values).
    output
        The embeddings [samples, dimensions]; None takes the only one that can be.
    """

    kind: Kind = "spearman"
    output: str | None = None
    in_points: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checked_kind(self.kind)

    @property
    def name(self) -> str:
        """«Spearman of pairs» or «Pearson of pairs»."""
        return f"{self.kind.capitalize()} of pairs"

    @property
    def higher_is_better(self) -> bool:
        """True."""
        return True

    def per_sample(self, outputs: Tensors, labels: AnyArray | None) -> F64:
        """Return each sample's label row and its embedding scaled to length 1, float64[samples, 2 + 2·partners + dimensions].

        Parameters
        ----------
        labels
            Rows of `pair_labels`.

        Raises
        ------
        InputError
            When labels are missing or no such rows, or no output can be told to be embeddings.
        """
        rows = unit(embeddings(outputs, self.output))
        known = np.zeros(0) if labels is None else np.asarray(labels)
        if known.ndim != 2 or len(known) != len(rows) or known.shape[1] < _HEAD or known.dtype.kind != "f":
            raise InputError(
                f"{self.name} needs judgements of pairs as labels: a CSV file «first,second,value», or the rows that "
                "`pair_labels` returns."
            )
        return np.hstack([known, rows])

    def score(self, values: AnyArray) -> float:
        """Return the correlation; NaN for fewer than two pairs, or where one side is constant."""
        return self.weighted(values)(np.ones(len(values), np.int64))

    def weighted(self, values: AnyArray) -> Callable[[I64], float]:
        """Return a function from how often each sample counts, int64[samples], to the score; the pairs are found once.

        A pair of samples that count c and d times counts c · d times.
        """
        own, row_of, place = np.unique(values[:, 0].astype(np.int64), return_index=True, return_inverse=True)
        rows, room = values[row_of], int(values[0, 1])
        partner = rows[:, _HEAD : _HEAD + room].astype(np.int64)
        found = np.searchsorted(own, partner).clip(max=len(own) - 1)
        one, slot = np.nonzero((own[found] == partner) & (partner >= 0))
        two = found[one, slot]
        embedding = rows[:, _HEAD + 2 * room :]
        cosine = np.einsum("ij,ij->i", embedding[one], embedding[two])
        human = rows[:, _HEAD + room : _HEAD + 2 * room][one, slot]

        def score(counts: I64) -> float:
            times = np.bincount(place.ravel(), weights=counts, minlength=len(own)).astype(np.int64)
            repeats = times[one] * times[two]
            return correlation(self.kind, np.repeat(cosine, repeats), np.repeat(human, repeats))

        return score


def pair_labels(samples: int, pairs: Iterable[tuple[int, int, float]]) -> F64:
    """Return judgements of pairs as labels, a row a sample: its number, room for r partners, r partners, r judgements.

    Parameters
    ----------
    samples
        How many there are, numbered from 0 in the data's order.
    pairs
        (first, second, judgement); a pair is held by its first sample.

    Returns
    -------
    float64[samples, 2 + 2·r]
        r is the largest number of pairs of which one sample is the first; −1 is no partner.

    Raises
    ------
    InputError
        When a number is none of a sample's, a sample is paired with itself, or a judgement is not finite.
    """
    held: list[list[tuple[int, float]]] = [[] for _ in range(samples)]
    for first, second, value in pairs:
        if not (0 <= first < samples and 0 <= second < samples) or first == second or not np.isfinite(value):
            raise InputError(
                f"There is no pair ({first}, {second}) with the judgement {value} among {samples} samples."
            )
        held[first].append((second, value))
    room = max(map(len, held), default=0)
    rows = np.zeros((samples, _HEAD + 2 * room))
    rows[:, 0], rows[:, 1], rows[:, _HEAD : _HEAD + room] = np.arange(samples), room, -1
    for row, partners in zip(rows, held, strict=True):
        for slot, (second, value) in enumerate(partners):
            row[_HEAD + slot], row[_HEAD + room + slot] = second, value
    return rows
