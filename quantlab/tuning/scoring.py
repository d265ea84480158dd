"""Measures candidates on one set: FP32's answers are recorded once, each candidate runs in simulation."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import sqrt
from time import perf_counter
from typing import Any, TypeAlias

import numpy as np
from typing_extensions import Self

from quantlab import engines
from quantlab.comparison.comparison import CompareOptions, compare
from quantlab.comparison.fixed_batch import run_filled
from quantlab.comparison.one_pass import Progress
from quantlab.comparison.recording import Recording, record
from quantlab.data.batch import Dataset
from quantlab.engines.engine import Engine
from quantlab.errors import InputError
from quantlab.graph.model import Model
from quantlab.metrics.metric import Metric
from quantlab.numerics.arrays import F64, AnyArray, Tensors
from quantlab.tuning.ahead import Ahead
from quantlab.tuning.candidate import Candidate
from quantlab.tuning.held import Held
from quantlab.tuning.recalled import Exact, Places, Recalled, address
from quantlab.tuning.score import Score

__all__ = ["RANKS", "Fidelity", "Held", "Scorer"]

RANKS = 2
"""Stages whose samples are few: their noise is kept one by one, to tell differences from chance."""

Fidelity: TypeAlias = Callable[[Tensors, Tensors], AnyArray]
"""(FP32's outputs, INT8's outputs) of a batch → a value a sample, larger is better; 1 for equal ones."""


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
    places
        Where `recorded` has its answers to the batches that were recorded; None: they are looked for by their content.
    """

    reference: Model
    data: Held
    recorded: Recording
    metrics: tuple[Metric, ...] = ()
    fidelity: Fidelity | None = None
    level: float = 0.95
    threads: int | None = field(default=None)
    places: Places | None = None

    @classmethod
    def begin(
        cls, reference: Model, data: Dataset, *, limit: int | None = None, stages: Sequence[int] = (), **known: Any
    ) -> Self:
        """Read the samples and let FP32 answer.

        Parameters
        ----------
        stages
            So many samples, rising, a candidate can be measured on first; see `staged`.

        Raises
        ------
        InputError
            When there is no sample, one cannot be run, or FP32's answer to it holds NaN or infinity.
        """
        threads = known.get("threads") or os.cpu_count() or 1
        with engines.ort(reference, threads=1) as engine:
            held = Held.of(data, engine.inputs, limit, stages=stages)
            if threads == 1:
                recorded = record(engine, held)
        if threads > 1:
            with Ahead(lambda: engines.ort(reference, threads=1), threads, held) as several:
                recorded = record(several, held)
        _check_finite(recorded, data)
        return cls(reference, held, recorded, places=Places(held), **known)

    @property
    def stages(self) -> tuple[Scorer, ...]:
        """Scorers on ever more of the samples, this one last."""
        return (*(replace(self, data=part) for part in self.data.stages[:-1]), self)

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
        return self.staged(candidate, (self,), lambda _scores: True, progress)[-1]

    def staged(
        self,
        candidate: Candidate,
        stages: Sequence[Scorer],
        goes_on: Callable[[tuple[Score, ...]], bool],
        progress: Progress | None = None,
    ) -> tuple[Score, ...]:
        """Return what a candidate costs on ever more samples, until it need not go on; no sample runs twice.

        Parameters
        ----------
        stages
            Of `stages`, the first ones or all.
        goes_on
            Told the scores so far, before each further stage.

        Raises
        ------
        QuantlabError
            As `score`.
        """
        model, scores = candidate.simulated(), list[Score]()
        few = stages[:RANKS] if len(stages) > 1 else ()
        again = (stages[-2] if len(stages) > RANKS else few[-1]).data if few else ()
        with Ahead(lambda: candidate.opened(model, 1), self.threads or os.cpu_count() or 1, ()) as engine:
            recalled, done = Recalled(engine, again), None
            for stage in stages:
                if scores and not goes_on(tuple(scores)):
                    break
                engine.go_on(stage.data if done is None else stage.data.after(done))
                score = stage._measured(recalled, recalled.values, progress)
                scores.append(replace(score, noise=stage._noise(recalled)) if stage in few else score)
                done = stage.data
        return tuple(scores)

    def against_itself(self) -> Score:
        """Return what FP32 loses against itself: what can be measured at all."""
        return self.score_engine(self._exact())

    def _exact(self) -> Exact:
        return Exact(self.recorded, self.places or Places(()))

    def score_engine(self, engine: Engine, progress: Progress | None = None) -> Score:
        """Return what an engine over the INT8 network costs."""
        return self._measured(engine, {}, progress)

    def _measured(self, engine: Engine, known: dict[int, AnyArray], progress: Progress | None) -> Score:
        started = perf_counter()
        exact = self._exact()
        watched = _Watched(engine, exact, self.fidelity, self.data, known) if self.fidelity else engine
        options = CompareOptions(final=False, level=self.level, progress=progress)
        found = compare(exact, watched, self.data, metrics=self.metrics, options=options)
        fidelity = watched.result() if isinstance(watched, _Watched) else None
        return Score.of(found, fidelity, perf_counter() - started)

    def _noise(self, engine: Engine) -> tuple[float, ...]:
        """Return the noise of each sample over the signal of all, averaged over the outputs of floats."""
        exact, shares = self._exact(), list[F64]()
        rows = [(run_filled(exact, batch), run_filled(engine, batch), batch.samples) for batch in self.data]
        for name in self.recorded.outputs:
            if self.recorded.outputs[name].dtype.kind != "f":
                continue
            signal = sum(float(np.square(one[name], dtype=np.float64).sum()) for one, _, _ in rows)
            noise = [
                np.square(np.subtract(one[name], two[name], dtype=np.float64)).reshape(n, -1) for one, two, n in rows
            ]
            shares.append(np.concatenate([each.sum(axis=1) for each in noise]) / (signal or 1.0))
        return tuple(np.mean(shares, axis=0).tolist()) if shares else ()


class _Watched:
    """An engine whose answers are compared by the user's function on the way; an Engine."""

    def __init__(
        self, engine: Engine, exact: Engine, fidelity: Fidelity, data: Held, known: dict[int, AnyArray]
    ) -> None:
        self._engine, self._exact, self._fidelity, self._known = engine, exact, fidelity, known
        self._coming = iter([batch.samples for batch in data])
        self._held = {address(batch) for batch in data}
        self.inputs, self.outputs = engine.inputs, engine.outputs
        self.values: list[AnyArray] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def run(self, batch: Tensors) -> Mapping[str, AnyArray]:
        found, key = self._engine.run(batch), address(batch)
        rows = next(self._coming)  # of a batch that was filled up to a fixed size, the first
        values = self._known.get(key)
        if values is None:
            values = self._compared(self._exact.run(batch), found, rows)
        if key in self._held:  # an array that was filled up may leave its address to the next
            self._known[key] = values
        self.values.append(values)
        return found

    def _compared(self, exact: Tensors, found: Tensors, rows: int) -> AnyArray:
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
        return values

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
