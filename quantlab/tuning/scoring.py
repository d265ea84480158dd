"""Measures candidates on one set: FP32's answers are recorded once, each candidate runs in simulation."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import prod, sqrt
from time import perf_counter
from typing import Any, TypeAlias

import numpy as np
from typing_extensions import Self

from quantlab import engines
from quantlab.calibration.provenance import DataIdentity
from quantlab.comparison.comparison import CompareOptions, compare
from quantlab.comparison.one_pass import Progress
from quantlab.comparison.recording import Recording, record
from quantlab.comparison.tasks import Metric
from quantlab.data.batch import Batch, Dataset
from quantlab.engines.engine import Engine
from quantlab.errors import InputError
from quantlab.graph.model import Model
from quantlab.numerics.arrays import AnyArray, Tensors
from quantlab.tuning.ahead import Ahead
from quantlab.tuning.candidate import Candidate
from quantlab.tuning.score import Score

Fidelity: TypeAlias = Callable[[Tensors, Tensors], AnyArray]
"""(FP32's outputs, INT8's outputs) of a batch → a value a sample, larger is better; 1 for equal ones."""

_TARGET = 1 << 17  # values of an input that run at once: more only leave the processor's cache


class Held:
    """A data set kept in memory, decoded once, and cut into small batches; a Dataset."""

    def __init__(self, identity: DataIdentity, batches: tuple[Batch, ...]) -> None:
        self._identity, self._batches = identity, batches

    @property
    def identity(self) -> DataIdentity:
        """Of the whole set."""
        return self._identity

    @classmethod
    def of(cls, data: Dataset, inputs: Mapping[str, Any], limit: int | None = None) -> Self:
        """Read at most `limit` samples, spread evenly over the set.

        Raises
        ------
        InputError
            For a set without samples.
        """
        total, kept, seen = len(data), list[Batch](), 0
        for given in data:
            batch = given.bind(list(inputs))
            chosen = [i for i in range(batch.samples) if limit is None or _taken(seen + i, total, limit)]
            seen += batch.samples
            if chosen:
                kept += _pieces(batch, chosen, inputs)
        if not kept:
            raise InputError(f"The data «{data.identity.name}» hold no sample to measure on.")
        return cls(data.identity, tuple(kept))

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


@dataclass(frozen=True, slots=True, eq=False)
class Scorer:
    """One set of samples, what FP32 answers to them, and how candidates are held against that.

    Attributes
    ----------
    reference
        The user's float model.
    data
        The samples.
    recorded
        FP32's answers.
    metrics
        Of the task; empty without labels.
    fidelity
        The user's own comparison; None if there is none.
    level
        Nominal coverage of intervals.
    threads
        Of ONNX Runtime; None is one a core.
    """

    reference: Model
    data: Held
    recorded: Recording
    metrics: tuple[Metric, ...] = ()
    fidelity: Fidelity | None = None
    level: float = 0.95
    threads: int | None = field(default=None)

    @classmethod
    def begin(cls, reference: Model, data: Dataset, *, limit: int | None = None, **known: Any) -> Self:
        """Read the samples and let FP32 answer.

        Raises
        ------
        InputError
            When there is no sample, one cannot be run, or FP32's answer to it holds NaN or infinity.
        """
        threads = known.get("threads")
        with engines.ort(reference, threads=threads) as engine:
            held = Held.of(data, engine.inputs, limit)
            recorded = record(engine, held)
        _check_finite(recorded, data)
        return cls(reference, held, recorded, **known)

    def first(self, samples: int) -> Scorer:
        """Return a scorer on about so many of the samples, spread evenly: cheaper, for ranking."""
        if samples >= len(self.data):
            return self
        inputs = self.recorded.inputs
        return replace(self, data=Held.of(self.data, inputs, samples))

    def score(self, candidate: Candidate, progress: Progress | None = None) -> Score:
        """Return what a candidate costs.

        Raises
        ------
        QuantlabError
            As `quantize`; InputError where a sample cannot be run.
        """
        model = candidate.simulated()
        with Ahead(lambda: candidate.opened(model, 1), self.threads or os.cpu_count() or 1, self.data) as engine:
            return self.score_engine(engine, progress)

    def score_engine(self, engine: Engine, progress: Progress | None = None) -> Score:
        """Return what an engine over the INT8 network costs."""
        started = perf_counter()
        exact = self.recorded.engine()
        watched = _Watched(engine, exact, self.fidelity, self.data) if self.fidelity else engine
        options = CompareOptions(final=False, level=self.level, progress=progress)
        found = compare(exact, watched, self.data, metrics=self.metrics, options=options)
        fidelity = watched.result() if isinstance(watched, _Watched) else None
        return Score.of(found, fidelity, perf_counter() - started)


class _Watched:
    """An engine whose answers are compared by the user's function on the way; an Engine."""

    def __init__(self, engine: Engine, exact: Engine, fidelity: Fidelity, data: Held) -> None:
        self._engine, self._exact, self._fidelity = engine, exact, fidelity
        self._coming = iter([batch.samples for batch in data])
        self.inputs, self.outputs = engine.inputs, engine.outputs
        self.values: list[AnyArray] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def run(self, batch: Tensors) -> Mapping[str, AnyArray]:
        found, exact = self._engine.run(batch), self._exact.run(batch)
        rows = next(self._coming)  # of a batch that was filled up to a fixed size, the first
        given = self._fidelity(_shown(exact, rows), _shown(found, rows))
        try:
            values = np.asarray(given, np.float64)
        except (TypeError, ValueError):
            values = np.array(np.nan)
        if values.shape != (rows,) or not np.isfinite(values).all():
            raise InputError(
                f"The fidelity function gives {_described(given, values)} for a batch of {rows} samples; one finite number a "
                "sample is due."
            )
        self.values.append(values)
        return found

    def result(self) -> tuple[float, float]:
        every = np.concatenate(self.values)
        return float(every.mean()), float(every.std(ddof=1) / sqrt(len(every))) if len(every) > 1 else 1.0


def _shown(outputs: Tensors, rows: int) -> dict[str, AnyArray]:
    """Return the first rows of each output, which nobody can write to: they are measured afterwards."""
    found = {name: values[:rows].view() for name, values in outputs.items()}
    for values in found.values():
        values.flags.writeable = False
    return found


def _check_finite(recorded: Recording, data: Dataset) -> None:
    for name, values in recorded.outputs.items():
        if values.dtype.kind != "f":
            continue
        broken = np.flatnonzero(~np.isfinite(values).all(axis=tuple(range(1, values.ndim))))
        if len(broken):
            raise InputError(
                f"FP32's own output «{name}» holds NaN or infinity for {len(broken)} of {len(values)} samples of "
                f"«{data.identity.name}»: leave them out, or mend the network."
            )


def _described(given: Any, values: AnyArray) -> str:
    if not values.ndim:
        return f"{given!r:.60}"
    return f"{list(values.shape)} numbers{'' if np.isfinite(values).all() else ', NaN or infinity among them,'}"


def _taken(index: int, total: int, limit: int) -> bool:
    return total <= limit or (index + 1) * limit // total > index * limit // total


def _pieces(batch: Batch, chosen: list[int], inputs: Mapping[str, Any]) -> Iterator[Batch]:
    if batch.rows is None:
        yield batch
        return
    size = next((s.shape[0] for s in inputs.values() if s.shape and isinstance(s.shape[0], int)), None)
    values = max(prod(array.shape[1:]) for array in batch.values())
    rows = size or max(1, min(64, _TARGET // max(values, 1)))
    for start in range(0, len(chosen), rows):
        part = chosen[start : start + rows]
        arrays = {name: np.ascontiguousarray(array[part]) for name, array in batch.items()}
        labels = None if batch.labels is None else batch.labels[part]
        yield Batch(arrays, labels=labels, names=tuple(batch.names[i] for i in part) if batch.names else ())
