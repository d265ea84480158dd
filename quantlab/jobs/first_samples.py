"""The first batches of a data set, as a data set of its own."""

from collections.abc import Collection, Iterator

from PIL import Image

from quantlab.data import Batch, Dataset
from quantlab.data.stream import Stream


class FirstSamples(Stream):
    """A data set's first batches, until they hold so many samples; what the others are is never read."""

    __slots__ = ("_data",)

    def __init__(self, data: Dataset, samples: int, name: str) -> None:
        self._data = data

        def batches() -> Iterator[Batch]:
            seen = 0
            for batch in data:
                yield batch
                seen += batch.samples
                if seen >= samples:
                    return

        super().__init__(batches, name)

    def pictures(self, samples: Collection[int]) -> Iterator[tuple[int, Image.Image]]:
        """Yield the pictures that the whole set has of these samples."""
        drawn = getattr(self._data, "pictures", None)
        if drawn is not None:
            yield from drawn(samples)


def count_of(data: Dataset) -> int:
    """Return how many samples a set has; a stream is read once for it."""
    if isinstance(data, Stream):
        return sum(batch.samples for batch in data)
    return len(data)
