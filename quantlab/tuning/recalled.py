"""Answers that are known already: FP32's, and those of an INT8 network to the samples that it has seen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from typing_extensions import Self

from quantlab.comparison.recording import Recording
from quantlab.data.batch import Batch
from quantlab.engines.engine import Engine
from quantlab.numerics.arrays import AnyArray, Tensors


class Places:
    """Where in a recording the answers to these batches lie: they are told by being the very same arrays.

    Parameters
    ----------
    batches
        In the order in which they were recorded; they are kept, so that no other array takes an address of theirs.
    """

    def __init__(self, batches: Iterable[Batch]) -> None:
        self._batches = tuple(batches)
        self._rows: dict[int, slice] = {}
        start = 0
        for batch in self._batches:
            self._rows[address(batch)] = slice(start, start + batch.samples)
            start += batch.samples

    def of(self, batch: Tensors) -> slice | None:
        """Return the rows of a batch; None if it is another one."""
        return self._rows.get(address(batch))


class Exact:
    """FP32's recorded answers, without hashing samples that are known; an Engine."""

    def __init__(self, recording: Recording, places: Places) -> None:
        self._recording, self._places, self._engine = recording, places, recording.engine()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def run(self, batch: Tensors) -> Mapping[str, AnyArray]:
        """Return the recorded rows of these samples."""
        rows = self._places.of(batch)
        if rows is None:
            return self._engine.run(batch)
        return {name: self._recording.outputs[name][rows] for name in self._engine.outputs}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        """Nothing is held."""


class Recalled:
    """An engine that answers a second time from memory; an Engine.

    Parameters
    ----------
    engine
        Answers the first time.
    kept
        The batches that will come again.

    Attributes
    ----------
    values
        Address of a batch → what the user's own comparison gave for it.
    """

    def __init__(self, engine: Engine, kept: Iterable[Batch]) -> None:
        self._engine, self._kept = engine, {address(batch) for batch in kept}
        self._answers: dict[int, dict[str, AnyArray]] = {}
        self.values: dict[int, AnyArray] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def run(self, batch: Tensors) -> Mapping[str, AnyArray]:
        """Return the answers."""
        key = address(batch)
        if key not in self._kept:
            return self._engine.run(batch)
        if key not in self._answers:
            self._answers[key] = {name: np.array(values) for name, values in self._engine.run(batch).items()}
        return self._answers[key]


def address(batch: Tensors) -> int:
    """Return what tells a batch from others as long as it is kept: where its first input lies."""
    return id(next(iter(batch.values())))
