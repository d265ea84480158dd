"""Batches with their labels, whatever they come from."""

from collections.abc import Collection, Iterable, Iterator

from quantlab.data.batch import Batch, Dataset
from quantlab.data.stream import Stream, as_dataset
from quantlab.metrics.labels import Labels, as_labels
from quantlab.numerics.arrays import AnyArray, Tensors


class LabelledBatches:
    """A data set's batches, each with its labels; batches without samples are left out.

    Parameters
    ----------
    data
        A data set, or any iterable of {input name: array}, which becomes a stream.
    labels
        One a sample, in the data's order, or `Labels`, by name; they stand in for the data's own. None takes these.

    Raises
    ------
    InputError
        When there are not as many labels as samples, as soon as that is known.
    """

    def __init__(self, data: Dataset | Iterable[Tensors], labels: AnyArray | Labels | None) -> None:
        self.data: Dataset = as_dataset(data)
        self._labels = None if labels is None else as_labels(labels)
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
        return batch.labels if self._labels is None else self._labels.of(batch, start)

    def _check_count(self, samples: int) -> None:
        if self._labels is not None:
            self._labels.check(samples)
