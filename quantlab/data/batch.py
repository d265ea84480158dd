"""A batch of samples, and what every data set offers."""

from collections.abc import Collection, Iterator, Mapping
from typing import Protocol, runtime_checkable

import numpy as np

from quantlab.calibration.provenance import DataIdentity
from quantlab.errors import InputError, UsageError
from quantlab.numerics.arrays import I64, AnyArray
from quantlab.numerics.markup import card, table

UNNAMED = ""
"""The input name of data that do not name theirs; no model has it, since ONNX reserves it for «absent»."""


class Batch(dict[str, AnyArray]):
    """{input name: array} for some samples, with what is known of them; a dict wherever one is wanted.

    The samples are the rows of the inputs. Inputs whose first dimensions differ, or that have none, cannot be
    cut into rows: such a batch is one sample.

    Attributes
    ----------
    labels
        int64, one class a sample; None if unknown.
    names
        One name a sample, for messages and reports; empty if unknown.
    hashes
        What each sample was made from, as 16 hexadecimal digits: its hash in the sketch of the set's `DataIdentity`.
        Neither preprocessing nor the cut into batches changes it. Empty if unknown.

    Raises
    ------
    InputError
        When there are not as many labels, names or hashes as samples, or the labels are no integers.
    """

    # Not «keys», which a dict has already.
    __slots__ = ("hashes", "labels", "names")

    labels: I64 | None
    names: tuple[str, ...]
    hashes: tuple[str, ...]

    def __init__(
        self,
        inputs: Mapping[str, AnyArray],
        *,
        labels: AnyArray | None = None,
        names: tuple[str, ...] = (),
        hashes: tuple[str, ...] = (),
    ) -> None:
        super().__init__(inputs)
        self.labels = None if labels is None else self._checked_labels(np.asarray(labels))
        self.names = names
        self.hashes = hashes
        for what, given in (("names", names), ("hashes", hashes)):
            if given and len(given) != self.samples:
                raise InputError(f"A batch of {self.samples} samples has {len(given)} {what}: give one a sample.")

    @property
    def samples(self) -> int:
        """How many samples the batch holds."""
        rows = self.rows
        return 1 if rows is None else rows

    @property
    def rows(self) -> int | None:
        """The first dimension that all inputs share; None if there is none."""
        lengths = {values.shape[0] if values.ndim else None for values in self.values()}
        return lengths.pop() if len(lengths) == 1 else None

    def _repr_html_(self) -> str:
        rows = ((name or "the only input", str(values.dtype), list(values.shape)) for name, values in self.items())
        facts = {"samples": self.samples, "labelled": self.labels is not None}
        return card("Batch", facts, more=table(("input", "type", "shape"), rows))

    def _checked_labels(self, labels: AnyArray) -> I64:
        if labels.shape != (self.samples,) or labels.dtype.kind not in "iu":
            raise InputError(
                f"A batch of {self.samples} samples has the labels {labels.dtype}{list(labels.shape)}: "
                "give one integer a sample."
            )
        return labels.astype(np.int64, copy=False)

    def bind(self, inputs: Collection[str]) -> "Batch":
        """Return the batch with its unnamed input, if it has one, given the name of the model's only input.

        Raises
        ------
        InputError
            When the input is unnamed and the model has several.
        """
        if UNNAMED not in self:
            return self
        if len(inputs) != 1:
            raise InputError(
                f"The data do not say which input they are for, and the model has {len(inputs)} "
                f"({', '.join(inputs)}): name it with `input`."
            )
        (name,) = inputs
        renamed = {name if key == UNNAMED else key: values for key, values in self.items()}
        return Batch(renamed, labels=self.labels, names=self.names, hashes=self.hashes)


@runtime_checkable
class Dataset(Protocol):
    """Labelled or unlabelled samples that can be read again and again, in the same order."""

    @property
    def identity(self) -> DataIdentity:
        """What the samples are; nothing is decoded for it."""
        ...

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches; the last one may be smaller."""
        ...

    def __len__(self) -> int:
        """Count the samples."""
        ...


class Divisible(Dataset, Protocol):
    """A data set that can be read from any sample on, so that its parts can be given to several workers."""

    @property
    def batch(self) -> int:
        """Samples a batch."""
        ...

    @property
    def sample_hashes(self) -> tuple[bytes, ...]:
        """32 bytes a sample, in order; empty for one that is left out. `identity` is made of them."""
        ...

    def sample_name(self, place: int) -> str:
        """Return what a sample is called in messages."""
        ...

    def part(self, start: int, stop: int) -> "Divisible":
        """Return the samples from `start` to before `stop`; nothing is remembered of what was read here."""
        ...


def checked_batch_size(batch: int) -> int:
    """Return the number of samples a batch.

    Raises
    ------
    UsageError
        When it is not a positive integer.
    """
    if isinstance(batch, bool) or not isinstance(batch, (int, np.integer)) or batch < 1:
        raise UsageError(f"A batch needs a whole number of samples, at least 1, not {batch!r}.")
    return int(batch)
