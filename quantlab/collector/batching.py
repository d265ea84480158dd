"""Cuts any stream of batches into batches of one size, so that results do not depend on how the user batched."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from quantlab.engines.cuda.device_array import DeviceArray
from quantlab.errors import InputError
from quantlab.numerics.arrays import AnyArray, Tensors


@dataclass(frozen=True, slots=True)
class EngineBatch:
    """What the engine runs at once.

    Attributes
    ----------
    inputs
        A full batch, by input name.
    used
        Leading rows that are samples, the rest being repeats; None where the inputs have no common first dimension and
        the whole batch is one sample.
    where
        The samples, in words, for messages.
    """

    inputs: dict[str, AnyArray]
    used: int | None
    where: str = ""

    def kept(self, output: AnyArray | DeviceArray) -> AnyArray | DeviceArray:
        """Return the rows of an output that belong to samples, where it lies."""
        full = self.used is None or (self.used,) == next(iter(self.inputs.values())).shape[:1]
        return output if full else output[: self.used]


@dataclass(frozen=True, slots=True)
class _Row:
    inputs: dict[str, AnyArray]
    name: str

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return tuple(value.shape for value in self.inputs.values())


def full_batches(batches: Iterable[Tensors], size_of: Callable[[Tensors], int]) -> Iterator[EngineBatch]:
    """Yield full batches of samples of one shape; `size_of` a sample tells how many, and the last of a shape is filled up.

    A runtime may choose another kernel, with other rounding, for another batch size: always running the same one is
    what makes a sample's activations the same in any company.
    """
    waiting: dict[tuple[tuple[int, ...], ...], list[_Row]] = {}
    sizes: dict[tuple[tuple[int, ...], ...], int] = {}
    for row in _rows(batches):
        size = sizes.setdefault(row.shapes, 0) or size_of(row.inputs)
        sizes[row.shapes] = size
        bucket = waiting.setdefault(row.shapes, [])
        bucket.append(row)
        if len(bucket) == size:
            yield _stacked(waiting.pop(row.shapes), size)
    for shapes, bucket in waiting.items():
        yield _stacked(bucket, sizes[shapes])


def whole_batches(batches: Iterable[Tensors]) -> Iterator[EngineBatch]:
    """Yield the batches as they come, each one sample to whoever counts."""
    for number, batch in enumerate(batches):
        yield EngineBatch({name: np.asarray(value) for name, value in batch.items()}, None, f"batch {number}")


def ordered_batches(batches: Iterable[Tensors], size: int) -> Iterator[EngineBatch]:
    """Yield batches of `size` rows strictly in the order of the stream; the last one may be smaller.

    Raises
    ------
    InputError
        When samples have different shapes.
    """
    bucket: list[_Row] = []
    for row in _rows(batches):
        if bucket and row.shapes != bucket[0].shapes:
            raise InputError("TensorRT's grid needs samples of one shape; resize the images, or pad the sequences.")
        bucket.append(row)
        if len(bucket) == size:
            yield _stacked(bucket, size)
            bucket = []
    if bucket:
        yield _stacked(bucket, len(bucket))


def parts(batch: EngineBatch, size: int) -> Iterator[EngineBatch]:
    """Yield a batch in pieces of exactly `size` rows, the last one filled up; a whole batch stays whole."""
    if batch.used is None:
        yield batch
        return
    used = batch.used
    for start in range(0, used, size):
        inputs = {name: value[start : start + size] for name, value in batch.inputs.items()}
        yield EngineBatch(_filled(inputs, size), min(size, used - start), batch.where)


def _rows(batches: Iterable[Tensors]) -> Iterator[_Row]:
    for number, batch in enumerate(batches):
        arrays = {name: np.asarray(value) for name, value in batch.items()}
        names = getattr(batch, "names", ())
        lengths = {value.shape[0] if value.ndim else None for value in arrays.values()}
        length = lengths.pop() if len(lengths) == 1 else None
        if length is None:
            raise InputError(f"The inputs of batch {number} have no common first dimension, but those before it had.")
        for i in range(length):
            name = names[i] if i < len(names) else f"sample {i} of batch {number}"
            yield _Row({key: value[i] for key, value in arrays.items()}, name)


def _stacked(rows: list[_Row], size: int) -> EngineBatch:
    inputs = {name: np.stack([row.inputs[name] for row in rows]) for name in rows[0].inputs}
    where = rows[0].name if len(rows) == 1 else f"the batch from «{rows[0].name}» to «{rows[-1].name}»"
    return EngineBatch(_filled(inputs, size), len(rows), where)


def _filled(inputs: dict[str, AnyArray], size: int) -> dict[str, AnyArray]:
    short = size - next(iter(inputs.values())).shape[0]
    if short == 0:
        return inputs
    return {name: np.concatenate([value, np.repeat(value[:1], short, axis=0)]) for name, value in inputs.items()}
