"""Batches with their labels, whatever they come from."""

from collections.abc import Collection, Iterable, Iterator

import numpy as np

from quantlab.data.batch import Batch, Dataset
from quantlab.data.stream import Stream, as_dataset
from quantlab.errors import InputError
from quantlab.numerics.arrays import AnyArray, Tensors


class LabelledBatches:
    """A data set's batches, each with its labels; batches without samples are left out.

    Parameters
    ----------
    data
        A data set, or any iterable of {input name: array}, which becomes a stream.
    labels
        One a sample, in the data's order; they stand in for the data's own. None takes these.

    Raises
    ------
    InputError
        When there are not as many labels as samples, as soon as that is known.
    """

    def __init__(self, data: Dataset | Iterable[Tensors], labels: AnyArray | None) -> None:
        self.data: Dataset = as_dataset(data)
        self._labels = None if labels is None else np.asarray(labels)
        self.total = None if isinstance(self.data, Stream) else len(self.data)
        if self.total is not None:
            self._check_count(self.total)

    def batches(self, inputs: Collection[str]) -> Iterator[tuple[Batch, AnyArray | None]]:
        """Yield each batch, bound to the model's inputs, with its labels."""
        seen = 0
        for item in self.data:
            batch = (item if isinstance(item, Batch) else Batch(item)).bind(inputs)
            if batch.samples == 0:
                continue
            yield batch, self._of(batch, seen)
            seen += batch.samples
        self._check_count(seen)

    def _of(self, batch: Batch, start: int) -> AnyArray | None:
        if self._labels is None:
            return batch.labels
        found = self._labels[start : start + batch.samples]
        if len(found) < batch.samples:
            raise InputError(f"There are {len(self._labels)} labels, but more samples: give one a sample.")
        return found

    def _check_count(self, samples: int) -> None:
        if self._labels is not None and self._labels.shape[:1] != (samples,):
            raise InputError(
                f"There are labels of shape {list(self._labels.shape)} for {samples} samples: give one a sample."
            )
