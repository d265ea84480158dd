"""Runs the FP32 engine over calibration batches and counts every wanted tensor, one batch in memory at a time."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import chain
from typing import Literal, Protocol, TypeAlias

import numpy as np

from quantlab.calibration.histogram_set import HistogramSet
from quantlab.calibration.provenance import Provenance
from quantlab.collector.batching import EngineBatch, full_batches, ordered_batches, parts, whole_batches
from quantlab.collector.counters import TallyCounter, TensorRTCounter
from quantlab.collector.deriving import Plan, derive_histograms, derive_tensorrt, plan_counting
from quantlab.collector.sizing import Sizing, measure
from quantlab.data.batch import Batch, Dataset
from quantlab.data.stream import Stream, as_dataset
from quantlab.engines.cuda.device_array import Arrays, as_array
from quantlab.engines.engine import Engine
from quantlab.errors import InputError, UsageError
from quantlab.numerics.arrays import Tensors
from quantlab.numerics.counting import Tally
from quantlab.numerics.histogram import Histogram
from quantlab.numerics.tensorrt_histogram import TensorRTGrid, TensorRTHistogram
from quantlab.versions import versions

DEFAULT_BUDGET = 512 * 2**20
"""Bytes of exposed activations held at a time."""

Progress: TypeAlias = Callable[[int, int | None], None]
"""Called after each engine batch with the samples done, over all passes, and how many there will be (or None)."""


@dataclass(frozen=True, slots=True)
class CollectOptions:
    """How to collect; nothing but the budget can change a bit of the result on the default grid.

    Attributes
    ----------
    budget
        Bytes of exposed activations in memory, the host's or the GPU's, at a time: it sets the engine's batch, and splits the tensors into
        several passes over the data where one sample alone exceeds it. Passes change no bit, as all run the same graph;
        a smaller engine batch may, where the runtime has other kernels for it.
    nonfinite
        refuse: NaN and infinities are an error that names tensor and batch; count: they are counted apart.
    workers
        Threads that count; None is one a core.
    progress
        Told how far it is.
    """

    budget: int = DEFAULT_BUDGET
    nonfinite: Literal["refuse", "count"] = "refuse"
    workers: int | None = None
    progress: Progress | None = None


class Collects(Protocol):
    """What collects in the place of this process: `ql.processes(4)`, `ql.ray(workers=4)`."""

    def collect(self, engine: Engine, data: Dataset, options: CollectOptions) -> HistogramSet:
        """Return the histograms that `collect` returns without it, to the same bits."""
        ...


def collect(
    engine: Engine,
    batches: Iterable[Tensors],
    *,
    grid: TensorRTGrid | None = None,
    options: CollectOptions | None = None,
    on: Collects | None = None,
) -> HistogramSet:
    """Return the histogram of each of the engine's float outputs over all batches.

    What an engine leaves on a GPU (`on_device=True` of TensorRT, any array with DLPack) is counted there, to the same
    bits as on a CPU, so that such histograms merge with all others. The activations themselves are each runtime's own.

    Parameters
    ----------
    engine
        Runs the FP32 network with the wanted tensors as outputs: `ql.engines.ort(path, expose="quantizable")`.
    batches
        A data set, or any iterable of {input name: array}; read again where the budget asks for several passes.
    grid
        None counts log-linear histograms: the same bits for any batch size, order or split of the data, on the same
        processor type and runtime version. A TensorRTGrid repeats what TensorRT's own calibrators count, which
        depends on order; it is counted on the host, so outputs on a GPU are copied.
    options
        Memory, threads, progress.
    on
        Workers that share the samples: `ql.processes(4)`, `ql.ray(workers=4)`; None counts in this process. The bits are
        the same. It takes data that can be cut, and no TensorRTGrid.

    Raises
    ------
    InputError
        For NaN or infinity, batches that do not fit the model, or no data at all.
    UsageError
        For workers with a TensorRTGrid.
    """
    if not hasattr(engine, "restrict"):
        raise UsageError(
            f"collect needs an engine, for instance ql.engines.ort(…, expose='quantizable'), not {engine!r:.60}."
        )
    settings = options or CollectOptions()
    data = as_dataset(batches)
    if on is not None and grid is not None:
        raise UsageError(
            "TensorRT's grid depends on the order of the samples, so one process counts it: leave the workers out."
        )
    if on is not None:
        return on.collect(engine, data, settings)
    plan = plan_counting(engine, tensorrt=grid is not None)
    histograms: dict[str, Histogram] | dict[str, TensorRTHistogram]
    # All passes share this one graph, so that the budget, which sets their number, changes no bit.
    with nullcontext(engine) if plan.counted == tuple(engine.outputs) else engine.exposing(plan.counted) as counting:
        run = _Run(counting, data, plan, settings)
        if run.first is None:
            raise InputError("There is nothing to calibrate on: the data hold no sample.")
        sizing = measure(counting, plan.counted, run.first, settings.budget)
        if grid is None:
            name, histograms = "log-linear", _log_linear(run, sizing)
        else:
            name, histograms = _tensorrt(run, sizing, grid)
    return HistogramSet(
        {t: histograms[t] for t in plan.wanted},
        Provenance(engine.model_digest, engine.model_name, (data.identity,), versions(engine.backend), name),
        {t: engine.outputs[t].shape for t in plan.wanted},
        plan.sources,
    )


class Counting:
    """An engine that counts one part of the data after the other, each as `collect` counts the whole.

    Parameters
    ----------
    engine
        Computes `plan.counted`, and nothing else.
    plan
        What is counted and what follows from it.
    settings
        As for `collect`.
    """

    def __init__(self, engine: Engine, plan: Plan, settings: CollectOptions) -> None:
        self._engine, self._plan, self._settings = engine, plan, settings
        self._sizing: Sizing | None = None

    def count(self, part: Dataset) -> dict[str, Histogram]:
        """Return the histogram of every wanted tensor over a part, which may hold no sample.

        Raises
        ------
        InputError
            As `collect`.
        UsageError
            When the model mixes the rows of a batch, so that parts would not count what the whole counts.
        """
        run = _Run(self._engine, part, self._plan, self._settings)
        if run.first is None:
            return {tensor: Histogram.from_tally(Tally()) for tensor in self._plan.wanted}
        if self._sizing is None:  # shapes decide it, so any part's first batch does
            self._sizing = measure(self._engine, self._plan.counted, run.first, self._settings.budget)
        if self._sizing.whole:
            raise UsageError(
                f"«{self._engine.model_name}» mixes the samples of a batch, so its data cannot be cut: leave the workers out."
            )
        found = _log_linear(run, self._sizing)
        return {tensor: found[tensor] for tensor in self._plan.wanted}


class _Run:
    """One collection's engine, data, plan and progress; the first batch is read once, although it is needed early."""

    def __init__(self, engine: Engine, data: Dataset, plan: Plan, settings: CollectOptions) -> None:
        self.engine, self.plan, self.settings = engine, plan, settings
        self._data = data
        self._total = None if isinstance(data, Stream) else len(data)
        self._done = 0
        self._started = self._bound()
        self.first: Tensors | None = next(self._started, None)

    def batches(self, number: int) -> Iterator[Tensors]:
        """Return the batches of a pass over the data."""
        return chain(filter(None, [self.first]), self._started) if number == 0 else self._bound()

    def cut(self, number: int, sizing: Sizing, ordered: int | None = None) -> Iterator[EngineBatch]:
        """Return a pass's data as the engine takes them; `ordered` is the batch size of a grid that depends on order."""
        if sizing.whole:
            return whole_batches(self.batches(number))
        if ordered is not None:
            return ordered_batches(self.batches(number), ordered)
        return full_batches(self.batches(number), sizing.batch)

    def engine_for(self, tensors: tuple[str, ...]) -> AbstractContextManager[Engine]:
        """Return an engine that computes these tensors: the user's own, left open, where it does just that."""
        return nullcontext(self.engine) if tensors == tuple(self.engine.outputs) else self.engine.restrict(tensors)

    def outputs(self, part: Engine, batch: EngineBatch, tensors: tuple[str, ...]) -> Arrays:
        """Run a batch and return the rows that belong to samples, where the engine left them."""
        found = part.run(batch.inputs)
        return {tensor: batch.kept(as_array(found[tensor])) for tensor in tensors}

    def counted(self, batch: EngineBatch, passes: int) -> None:
        """Report progress."""
        self._done += batch.used or 1
        if self.settings.progress is not None:
            self.settings.progress(self._done, self._total and self._total * passes)

    def _bound(self) -> Iterator[Tensors]:
        for batch in self._data:
            if all(np.shape(value)[:1] != (0,) for value in batch.values()):  # an empty batch has nothing to count
                yield batch.bind(self.engine.inputs) if isinstance(batch, Batch) else batch


def _log_linear(run: _Run, sizing: Sizing) -> dict[str, Histogram]:
    settings = run.settings
    workers = settings.workers or os.cpu_count() or 1
    counter = TallyCounter(run.plan.counted, workers=workers, refuse_nonfinite=settings.nonfinite == "refuse")
    try:
        for number, tensors in enumerate(sizing.passes):
            with run.engine_for(tensors) as part:
                for batch in run.cut(number, sizing):
                    counter.add(run.outputs(part, batch, tensors), batch.where)
                    run.counted(batch, len(sizing.passes))
        tallies = counter.finish()
    finally:
        counter.close()
    return derive_histograms(tallies, run.plan)


def _tensorrt(run: _Run, sizing: Sizing, grid: TensorRTGrid) -> tuple[str, dict[str, TensorRTHistogram]]:
    counter = TensorRTCounter(run.plan.counted, batch=grid.batch)
    order = hashlib.blake2b(digest_size=16)
    for number, tensors in enumerate(sizing.passes):
        with run.engine_for(tensors) as part:
            for index, batch in enumerate(run.cut(number, sizing, grid.batch)):
                if number == 0:
                    for value in batch.inputs.values():
                        order.update(value.data)
                size = sizing.batch({name: value[0] for name, value in batch.inputs.items()}) if batch.used else 1
                if index == 0:  # its maximum fixes the bin width, so it runs twice
                    for piece in parts(batch, size):
                        counter.measure(run.outputs(part, piece, tensors), piece.where)
                for piece in parts(batch, size):
                    counter.add(run.outputs(part, piece, tensors), piece.where)
                    run.counted(piece, len(sizing.passes))
    name = f"tensorrt, batch {grid.batch}, order blake2b:{order.hexdigest()}"
    return name, derive_tensorrt(counter.histograms, run.plan)
