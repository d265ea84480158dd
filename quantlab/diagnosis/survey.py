"""One pass over the data that keeps what diagnosing needs: each sample's extremes, and histograms of disjoint parts."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from quantlab.calibration.provenance import DataIdentity
from quantlab.collector.batching import EngineBatch, full_batches, whole_batches
from quantlab.collector.collect import DEFAULT_BUDGET, Progress
from quantlab.collector.counters import TallyCounter
from quantlab.collector.deriving import Plan, derive_histograms, plan_counting
from quantlab.collector.sizing import measure
from quantlab.data.batch import Batch, Dataset
from quantlab.data.fingerprint import hash_arrays
from quantlab.data.stream import Stream, as_dataset
from quantlab.diagnosis.layout import check_layout
from quantlab.diagnosis.sample_choice import Chosen, SampleChoice
from quantlab.engines.cuda.device_array import Arrays, as_array
from quantlab.engines.engine import Engine
from quantlab.errors import InputError
from quantlab.numerics.arrays import F64, AnyArray, Tensors
from quantlab.numerics.histogram import Histogram

PARTS = 16
"""Disjoint parts at most; a sample's part follows from its content alone, so the data's order leaves no trace."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample of the data: its place, from 0, its name, and a hash of what the network got."""

    index: int
    name: str
    digest: bytes


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Some of the samples: how many, and the histogram of each tensor over them."""

    samples: int
    histograms: Mapping[str, Histogram]

    def merge(self, other: "Part") -> "Part":
        """Return both parts together; exact."""
        merged = {name: found.merge(other.histograms[name]) for name, found in self.histograms.items()}
        return Part(self.samples + other.samples, merged)


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """What one pass saw.

    Attributes
    ----------
    data
        The samples' identity.
    samples
        In the order in which they ran.
    tensors
        Those observed, in graph order.
    low, high
        float64[samples, tensors]: each sample's smallest and largest finite value; NaN where a sample has none.
    parts
        Up to 16 disjoint parts of the samples, none empty.
    leading
        By tensor, the histogram of the sample with the largest magnitude alone; of equals, the first.
    chosen
        A few samples as the network got them, for `preprocessing`.
    """

    data: DataIdentity
    samples: tuple[Sample, ...]
    tensors: tuple[str, ...]
    low: F64
    high: F64
    parts: tuple[Part, ...]
    leading: Mapping[str, Histogram]
    chosen: Chosen

    @property
    def whole(self) -> Mapping[str, Histogram]:
        """The histogram of each tensor over all samples."""
        total = self.parts[0]
        for part in self.parts[1:]:
            total = total.merge(part)
        return total.histograms

    @property
    def amax(self) -> F64:
        """float64[samples, tensors]: each sample's largest finite magnitude; 0 where it has no finite value."""
        return np.nan_to_num(np.maximum(np.abs(self.low), np.abs(self.high)))


@dataclass(frozen=True, slots=True)
class SurveyOptions:
    """How to look at the data.

    Attributes
    ----------
    budget
        Bytes of exposed activations at a time; one sample's may exceed it, as all tensors are seen at once.
    nonfinite
        refuse: NaN and infinities are an error that names tensor and sample; count: they are left out.
    choose
        Samples kept for `preprocessing`, those of the smallest hash.
    progress
        Told the samples done and how many there will be.
    """

    budget: int = DEFAULT_BUDGET
    nonfinite: Literal["refuse", "count"] = "refuse"
    choose: int = 128
    progress: Progress | None = None


def survey(engine: Engine, data: Dataset | Iterable[Tensors], *, options: SurveyOptions | None = None) -> Survey:
    """Return what each sample and each part of the data show in the engine's float outputs.

    Raises
    ------
    InputError
        For NaN or infinity, samples that do not fit the model, or no sample at all.
    """
    settings = options or SurveyOptions()
    source = as_dataset(data)
    plan = plan_counting(engine, tensorrt=False)
    roll = _Roll(source, engine, SampleChoice(settings.choose))
    found = _Found(plan.wanted)
    total = None if isinstance(source, Stream) else len(source)
    with nullcontext(engine) if plan.counted == tuple(engine.outputs) else engine.exposing(plan.counted) as counting:
        for batch in roll.cut(counting, plan, settings.budget):
            samples = roll.of(batch)
            outputs = counting.run(batch.inputs)
            for row, sample in enumerate(samples):
                where = slice(None) if batch.used is None else slice(row, row + 1)
                values: Arrays = {tensor: as_array(outputs[tensor])[where] for tensor in plan.counted}
                found.add(sample, _histograms(values, plan, sample, settings))
            if settings.progress is not None:
                settings.progress(len(found.samples), total)
    return found.survey(source.identity, roll.choice.chosen)


class _Roll:
    """The data as the engine takes them, and who the rows of an engine batch are."""

    def __init__(self, data: Dataset, engine: Engine, choice: SampleChoice) -> None:
        self.choice = choice
        self._data, self._inputs = data, engine.inputs
        self._waiting: dict[tuple[tuple[int, ...], ...], deque[Sample]] = {}
        self._count = 0

    def cut(self, engine: Engine, plan: Plan, budget: int) -> Iterator[EngineBatch]:
        """Yield engine batches of the size that the collector would choose."""
        batches = self._bound()
        first = next(batches, None)
        if first is None:
            raise InputError("There is nothing to diagnose: the data hold no sample.")
        check_layout(engine.inputs, first)
        sizing = measure(engine, plan.counted, first, budget)
        if sizing.whole:
            yield from whole_batches(self._noted(first, batches, whole=True))
        else:
            yield from full_batches(self._noted(first, batches, whole=False), sizing.batch)

    def of(self, batch: EngineBatch) -> list[Sample]:
        """Return the samples of an engine batch; rows of one shape come out in the order in which they went in."""
        if batch.used is None:
            return [self._waiting[()].popleft()]
        queue = self._waiting[tuple(value.shape[1:] for value in batch.inputs.values())]
        return [queue.popleft() for _ in range(batch.used)]

    def _bound(self) -> Iterator[Batch]:
        for item in self._data:
            batch = (item if isinstance(item, Batch) else Batch(item)).bind(self._inputs)
            if all(np.shape(value)[:1] != (0,) for value in batch.values()):
                yield batch

    def _noted(self, first: Batch, others: Iterator[Batch], *, whole: bool) -> Iterator[Batch]:
        batch: Batch | None = first
        while batch is not None:
            for shapes, sample in self._rows(batch, whole=whole):
                self._waiting.setdefault(shapes, deque()).append(sample)
            yield batch
            batch = next(others, None)

    def _rows(self, batch: Batch, *, whole: bool) -> Iterator[tuple[tuple[tuple[int, ...], ...], Sample]]:
        arrays: dict[str, AnyArray] = {name: np.asarray(value) for name, value in batch.items()}
        if whole or batch.rows is None:
            yield (), self._sample(arrays, batch.names[0] if batch.names else "")
            return
        for row in range(batch.rows):
            inputs = {name: value[row] for name, value in arrays.items()}
            sample = self._sample(inputs, batch.names[row] if batch.names else "")
            label = None if batch.labels is None else int(batch.labels[row])
            self.choice.offer(sample.digest, inputs, label)
            yield tuple(value.shape for value in inputs.values()), sample

    def _sample(self, inputs: Mapping[str, AnyArray], name: str) -> Sample:
        index = self._count
        self._count += 1
        # A file name may hold bytes that are no text; JSON and HTML take text only.
        shown = name.encode("utf-8", "backslashreplace").decode() or f"sample {index}"
        return Sample(index, shown, hash_arrays(inputs))


def _histograms(values: Arrays, plan: Plan, sample: Sample, settings: SurveyOptions) -> dict[str, Histogram]:
    counter = TallyCounter(plan.counted, workers=1, refuse_nonfinite=settings.nonfinite == "refuse")
    try:
        counter.add(values, f"«{sample.name}»")
        return derive_histograms(counter.finish(), plan)
    finally:
        counter.close()


@dataclass(slots=True)
class _Found:
    """What was seen so far; mutable, and private to one pass."""

    tensors: tuple[str, ...]
    samples: list[Sample] = field(default_factory=list)
    low: list[list[float]] = field(default_factory=list)
    high: list[list[float]] = field(default_factory=list)
    parts: dict[int, Part] = field(default_factory=dict)
    leading: dict[str, Histogram] = field(default_factory=dict)

    def add(self, sample: Sample, histograms: Mapping[str, Histogram]) -> None:
        self.samples.append(sample)
        self.low.append([histograms[tensor].low for tensor in self.tensors])
        self.high.append([histograms[tensor].high for tensor in self.tensors])
        place = int.from_bytes(sample.digest[:8], "big") % PARTS
        part = Part(1, histograms)
        self.parts[place] = self.parts[place].merge(part) if place in self.parts else part
        for tensor, found in histograms.items():
            if tensor not in self.leading or found.amax > self.leading[tensor].amax:
                self.leading[tensor] = found

    def survey(self, data: DataIdentity, chosen: Chosen) -> Survey:
        parts = tuple(self.parts[place] for place in sorted(self.parts))
        low, high = np.array(self.low, np.float64), np.array(self.high, np.float64)
        return Survey(data, tuple(self.samples), self.tensors, low, high, parts, self.leading, chosen)
