"""A data set kept in memory, decoded once, and cut into small batches."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
from typing_extensions import Self

from quantlab.calibration.provenance import DataIdentity
from quantlab.data.batch import Batch, Dataset
from quantlab.errors import InputError

_TARGET = 1 << 17  # values of an input that run at once: more only leave the processor's cache
_ROWS = 64


class Held:
    """A data set kept in memory; a Dataset.

    Parameters
    ----------
    batches
        All of them.
    stages
        Numbers of batches, rising: so many of the first are an even choice from the whole.
    """

    def __init__(self, identity: DataIdentity, batches: tuple[Batch, ...], stages: tuple[int, ...] = ()) -> None:
        self._identity, self._batches, self._stages = identity, batches, stages

    @property
    def identity(self) -> DataIdentity:
        """Of the whole set."""
        return self._identity

    @classmethod
    def of(
        cls, data: Dataset, inputs: Mapping[str, Any], limit: int | None = None, *, stages: Sequence[int] = ()
    ) -> Self:
        """Read at most `limit` samples, spread evenly over the set.

        Parameters
        ----------
        stages
            Numbers of samples, rising. So many come first, spread evenly too, in batches of their own, so that they can be
            run without the others; numbers that are not smaller than the whole are left out.

        Raises
        ------
        InputError
            For a set without samples.
        """
        total, seen = len(data), 0
        held = min(total, total if limit is None else limit)
        sizes = [size for size in stages if size < held]
        parts: list[list[Batch]] = [[] for _ in range(len(sizes) + 1)]
        number = 0  # of the samples taken
        for given in data:
            batch = given.bind(list(inputs))
            chosen: list[list[int]] = [[] for _ in parts]
            for i in range(batch.samples):
                if limit is None or _taken(seen + i, total, limit):
                    chosen[_stage(number, held, sizes)].append(i)
                    number += 1
            seen += batch.samples
            for part, rows in zip(parts, chosen, strict=True):
                part.extend(_pieces(batch, rows, inputs) if rows else ())
        if not number:
            raise InputError(f"The data «{data.identity.name}» hold no sample to measure on.")
        joined = [_joined(part, inputs) if sizes else part for part in parts]
        counts = np.cumsum([len(part) for part in joined]).tolist()
        return cls(data.identity, tuple(batch for part in joined for batch in part), tuple(counts[:-1]))

    @classmethod
    def within(cls, data: Dataset, inputs: Mapping[str, Any], room: int) -> Dataset:
        """Return the set in memory if it takes at most `room` bytes there, else as it is."""
        kept, taken = list[Batch](), 0
        for given in data:
            batch = given.bind(list(inputs))
            taken += sum(array.nbytes for array in batch.values())
            if taken > room:
                return data
            kept += _pieces(batch, list(range(batch.samples)), inputs)
        return cls(data.identity, tuple(kept)) if kept else data

    @property
    def stages(self) -> tuple[Self, ...]:
        """Ever more of the samples, the whole set last; each begins with the batches of the one before."""
        parts = [type(self)(self._identity, self._batches[:count]) for count in self._stages]
        return (*parts, self)

    def after(self, other: Held) -> tuple[Batch, ...]:
        """Return the batches that follow those of an earlier stage."""
        return self._batches[len(other._batches) :]

    def __iter__(self) -> Iterator[Batch]:
        return iter(self._batches)

    def __len__(self) -> int:
        return sum(batch.samples for batch in self._batches)

    @property
    def labelled(self) -> bool:
        """Whether every sample has a label."""
        return all(batch.labels is not None for batch in self._batches)

    @property
    def labels_digest(self) -> str:
        """Of the labels, which an identity does not know of."""
        digest = hashlib.blake2b(digest_size=8)
        for batch in self._batches:
            digest.update(b"-" if batch.labels is None else batch.labels.tobytes())
        return digest.hexdigest()


def _taken(index: int, total: int, limit: int) -> bool:
    return total <= limit or (index + 1) * limit // total > index * limit // total


def _stage(index: int, total: int, sizes: Sequence[int]) -> int:
    """Return the first stage that a sample belongs to: each is chosen from the next larger one."""
    stage = len(sizes)
    while stage and _taken(index, total, sizes[stage - 1]):
        stage -= 1
        index, total = index * sizes[stage] // total, sizes[stage]
    return stage


def _most_rows(batch: Batch, inputs: Mapping[str, Any]) -> int:
    size = next((s.shape[0] for s in inputs.values() if s.shape and isinstance(s.shape[0], int)), None)
    values = max(prod(array.shape[1:]) for array in batch.values())
    return size or max(1, min(_ROWS, _TARGET // max(values, 1)))


def _pieces(batch: Batch, chosen: list[int], inputs: Mapping[str, Any]) -> Iterator[Batch]:
    if batch.rows is None:
        yield batch
        return
    rows = _most_rows(batch, inputs)
    for start in range(0, len(chosen), rows):
        part = chosen[start : start + rows]
        arrays = {name: np.ascontiguousarray(array[part]) for name, array in batch.items()}
        labels = None if batch.labels is None else batch.labels[part]
        names, hashes = (tuple(one[i] for i in part) if one else () for one in (batch.names, batch.hashes))
        yield Batch(arrays, labels=labels, names=names, hashes=hashes)


def _joined(batches: list[Batch], inputs: Mapping[str, Any]) -> list[Batch]:
    """Return the same samples in batches as large as they may be, where neighbours have one shape."""
    found: list[Batch] = []
    waiting: list[Batch] = []
    for batch in batches:
        if waiting and (
            _kind(waiting[0]) != _kind(batch)
            or sum(one.samples for one in waiting) + batch.samples > _most_rows(batch, inputs)
        ):
            found.append(_together(waiting))
            waiting = []
        waiting.append(batch)
        if batch.rows is None:
            found.append(_together(waiting))
            waiting = []
    return [*found, *([_together(waiting)] if waiting else [])]


def _kind(batch: Batch) -> tuple[Any, ...]:
    shapes = tuple((name, array.shape[1:], array.dtype) for name, array in batch.items())
    return batch.rows is None, shapes, batch.labels is None, not batch.names, not batch.hashes


def _together(batches: list[Batch]) -> Batch:
    if len(batches) == 1:
        return batches[0]
    arrays = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    labels = [batch.labels for batch in batches if batch.labels is not None]
    names = tuple(name for batch in batches for name in batch.names)
    hashes = tuple(one for batch in batches for one in batch.hashes)
    return Batch(arrays, labels=np.concatenate(labels) if labels else None, names=names, hashes=hashes)
