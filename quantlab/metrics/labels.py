"""Labels that are not one integer a sample: texts, numbers, masks, boxes and pairs, by a sample's name or its place."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Protocol

import numpy as np

from quantlab.data.batch import Batch
from quantlab.errors import InputError
from quantlab.numerics.arrays import AnyArray


class Labels(Protocol):
    """Hands out the labels of a batch, samples first."""

    def of(self, batch: Batch, start: int) -> AnyArray:
        """Return the labels of a batch whose first sample is number `start` of the data, from 0.

        Raises
        ------
        InputError
            When a sample has none.
        """
        ...

    def check(self, samples: int) -> None:
        """Refuse labels that are for another number of samples.

        Raises
        ------
        InputError
            Saying how many there are of both.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class RowLabels:
    """One label a row, [samples, …], in the data's order."""

    rows: AnyArray

    def of(self, batch: Batch, start: int) -> AnyArray:
        """Return the rows from `start` on, [batch, …]."""
        found = self.rows[start : start + batch.samples]
        if len(found) < batch.samples:
            raise InputError(f"There are {len(self.rows)} labels, but more samples: give one a sample.")
        return found

    def check(self, samples: int) -> None:
        """Refuse rows that are not as many as the samples."""
        if self.rows.shape[:1] != (samples,):
            raise InputError(
                f"There are labels of shape {list(self.rows.shape)} for {samples} samples: give one a sample."
            )


@dataclass(frozen=True, slots=True, eq=False)
class NamedLabels:
    """One label a name; a sample's own name is looked up, then its file name without folders.

    Attributes
    ----------
    by_name
        The labels.
    dtype
        Of the arrays handed out: str for texts, object for boxes.
    place
        The file they come from, for messages.
    """

    by_name: Mapping[str, Any]
    dtype: type
    place: str

    def of(self, batch: Batch, start: int) -> AnyArray:
        """Return the labels of the batch's names, [batch, …]."""
        return stacked([self.by_name[name] for name in self.names(batch, start)], self.dtype)

    def names(self, batch: Batch, start: int) -> Sequence[str]:
        """Return the name in `by_name` of each sample."""
        if not batch.names:
            raise InputError(
                f"The labels in '{self.place}' are by name, but the samples from {start} on have none: list the labels in the "
                "data's order, without names."
            )
        return [self._name(name) for name in batch.names]

    def check(self, samples: int) -> None:
        """Accept any number: a sample without a label is refused when it comes, and a label without a sample does no harm."""

    def _name(self, name: str) -> str:
        for known in (name, PurePosixPath(name).name):
            if known in self.by_name:
                return known
        raise InputError(f"'{self.place}' has no label for the sample «{name}».")


@dataclass(frozen=True, slots=True, eq=False)
class PairLabels:
    """Rows of `pair_labels`, by name or, without names, by place.

    Attributes
    ----------
    rows
        float64[samples, …].
    names
        Of the rows, if the pairs are of names: {name: row}.
    """

    rows: AnyArray
    names: NamedLabels | None

    def of(self, batch: Batch, start: int) -> AnyArray:
        """Return the rows of the batch; a sample in no pair gets one without partners."""
        if self.names is not None:
            return np.stack([self.rows[self.names.by_name[name]] for name in self.names.names(batch, start)])
        known = self.rows[start : start + batch.samples]
        lone = np.tile(_lone(self.rows), (batch.samples - len(known), 1))
        lone[:, 0] = np.arange(start + len(known), start + batch.samples)
        return np.concatenate([known, lone])

    def check(self, samples: int) -> None:
        """Refuse pairs of samples that there are not."""
        if self.names is None and len(self.rows) > samples:
            raise InputError(
                f"The pairs name sample {len(self.rows) - 1}, but there are only {samples}, counted from 0."
            )


def as_labels(labels: AnyArray | Labels) -> Labels:
    """Return labels as they are, or an array's rows."""
    return labels if hasattr(labels, "of") and hasattr(labels, "check") else RowLabels(np.asarray(labels))


def stacked(found: Sequence[Any], dtype: type) -> AnyArray:
    """Return the labels as one array [samples, …]; of objects, each stays one element."""
    if dtype is not object:
        return np.array(found, dtype)
    rows = np.empty(len(found), object)
    rows[:] = found
    return rows


def _lone(rows: AnyArray) -> AnyArray:
    row = rows[0].copy()
    room = int(row[1])
    row[2 : 2 + room], row[2 + room :] = -1, 0
    return np.asarray(row)
