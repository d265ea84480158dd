"""Which samples go on the walk, and in which batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from quantlab.data.batch import Batch, Dataset
from quantlab.engines.engine import TensorSpec
from quantlab.errors import InputError
from quantlab.numerics.arrays import AnyArray

_READ = 4  # samples read for one taken, at most: spread over the set, but without decoding a huge one

Row = dict[str, AnyArray]


def sample_batches(data: Dataset, inputs: Mapping[str, TensorSpec], *, samples: int, batch: int) -> list[Row]:
    """Return at most `samples` samples, spread evenly over the set's beginning, in batches of one shape each.

    Where the model fixes its batch size, that is taken instead of `batch` and samples that do not fill one are left
    out. Inputs without a common first dimension are a batch as they come, and one sample.

    Raises
    ------
    InputError
        Not one full batch; NaN or infinity in a sample.
    """
    size = next((spec.shape[0] for spec in inputs.values() if spec.shape and isinstance(spec.shape[0], int)), None)
    waiting: dict[tuple[tuple[int, ...], ...], list[Row]] = {}
    found: list[Row] = []
    for row, whole in _taken(data, inputs, samples):
        if whole:
            found.append(row)
            continue
        bucket = waiting.setdefault(tuple(value.shape for value in row.values()), [])
        bucket.append(row)
        if len(bucket) == (size or batch):
            found.append(_stacked(bucket))
            bucket.clear()
    if size is None:
        found += [_stacked(bucket) for bucket in waiting.values() if bucket]
    if not found:
        raise InputError(f"The data hold no full batch of {size or 1} samples, which the model needs: give more.")
    return found


def samples_of(batches: list[Row]) -> int:
    """Return how many samples there are."""
    return sum(Batch(batch).samples for batch in batches)


def _taken(data: Dataset, inputs: Mapping[str, TensorSpec], samples: int) -> Iterator[tuple[Row, bool]]:
    """Yield samples, and whether each is a whole batch."""
    read = min(len(data), _READ * samples)
    count = min(read, samples)
    chosen = iter([i * read // count for i in range(count)])
    wanted, seen = next(chosen, None), 0
    for given in data:
        bound = given.bind(list(inputs))
        rows = bound.rows
        for i in range(rows or 1):
            if wanted is None:
                return
            if seen == wanted:
                row = dict(bound) if rows is None else {name: value[i : i + 1] for name, value in bound.items()}
                _check(row, given.names[i] if i < len(given.names) else f"sample {seen}")
                yield row, rows is None
                wanted = next(chosen, None)
            seen += 1


def _check(row: Row, name: str) -> None:
    for tensor, value in row.items():
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise InputError(f"Input «{tensor}» of «{name}» holds NaN or infinity: leave the sample out.")


def _stacked(rows: list[Row]) -> Row:
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
