"""Runs batches of any size on a network whose batch size is fixed."""

from collections.abc import Iterable, Iterator

import numpy as np

from quantlab.data.batch import Batch
from quantlab.engines.engine import Engine
from quantlab.errors import InputError
from quantlab.numerics.arrays import AnyArray, Tensors


def fixed_rows(*engines: Engine) -> int | None:
    """Return how many rows these engines take at a time: the least that one fixes; None where all leave it free."""
    first = [spec.shape[0] for engine in engines for spec in engine.inputs.values() if spec.shape]
    return min((size for size in first if isinstance(size, int) and size > 0), default=None)


def cut(batches: Iterable[tuple[Batch, AnyArray | None]], rows: int | None) -> Iterator[tuple[Batch, AnyArray | None]]:
    """Yield the batches, each with its labels, in pieces of at most so many rows; None leaves them whole.

    A batch without rows is one sample and stays whole.
    """
    for batch, labels in batches:
        if rows is None or batch.rows is None or batch.rows <= rows:
            yield batch, labels
            continue
        for start in range(0, batch.rows, rows):
            part = slice(start, start + rows)
            inputs = {name: values[part] for name, values in batch.items()}
            piece = Batch(inputs, names=batch.names[part], hashes=batch.hashes[part])
            yield piece, None if labels is None else labels[part]


def run_filled(engine: Engine, batch: Batch) -> Tensors:
    """Return the outputs for the batch; where the engine's size is larger, the first row fills it up and is left out.

    Raises
    ------
    InputError
        When the engine refuses the batch, or the rows of an output are not those of the filled batch.
    """
    size = fixed_rows(engine)
    if size is None or batch.rows is None or not 0 < batch.rows < size:
        return engine.run(batch)
    found = engine.run(filled(batch, size))
    return {name: _kept(name, values, batch.rows, size) for name, values in found.items()}


def filled(batch: Batch, rows: int) -> Batch:
    """Return the batch with its first row repeated at the end, up to so many rows; labels, names and hashes are left out."""
    short = rows - batch.samples
    return Batch({name: np.concatenate([v, np.repeat(v[:1], short, axis=0)]) for name, v in batch.items()})


def _kept(name: str, values: AnyArray, used: int, size: int) -> AnyArray:
    if values.shape[:1] != (size,):
        raise InputError(
            f"Tensor «{name}» {list(values.shape)} mixes the {size} samples of the model's fixed batch, so a batch of "
            f"{used} cannot be filled up: give a multiple of {size} samples, in batches of {size}, or leave the tensor out."
        )
    return values[:used]
