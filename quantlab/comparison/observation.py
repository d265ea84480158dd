"""Everything that one pass over the data sees, a batch at a time."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from quantlab.comparison.agreement import Agreement, printable
from quantlab.comparison.paired import PairedValues
from quantlab.comparison.sample_sums import COLUMNS, sample_sums
from quantlab.comparison.sample_table import MetricKind, SampleTable
from quantlab.comparison.tensors import TensorSums
from quantlab.data.batch import Batch
from quantlab.errors import InputError
from quantlab.metrics.classes import UNDECIDED, chosen_classes, find_class_scores
from quantlab.metrics.metric import Metric
from quantlab.numerics.arrays import F64, I64, AnyArray, Tensors

_ROUNDING = 1e-3
"""How far the sum of a row of shares may be from 1."""


@dataclass(frozen=True, slots=True)
class NanSamples:
    """Samples with NaN among an engine's outputs."""

    fp32: int = 0
    int8: int = 0

    def merge(self, other: "NanSamples") -> "NanSamples":
        """Return the samples of both sets."""
        return NanSamples(self.fp32 + other.fp32, self.int8 + other.int8)


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """What one batch, or any number of them, showed.

    Attributes
    ----------
    table
        Every sample for itself.
    agreement, nan
        See there.
    outputs, tensors
        Error sums of the networks' outputs and of inner tensors, by name.
    """

    table: SampleTable
    agreement: Agreement
    nan: NanSamples
    outputs: Mapping[str, TensorSums]
    tensors: Mapping[str, TensorSums]

    @property
    def samples(self) -> int:
        """How many."""
        return len(self.table)

    @property
    def values(self) -> tuple[PairedValues, ...]:
        """The values of each metric, in the metrics' order."""
        return tuple(self.table.values.values())

    def merge(self, other: "Observation") -> "Observation":
        """Return what both showed, this one's samples first."""
        return Observation(
            self.table.merge(other.table),
            self.agreement.merge(other.agreement, offset=self.samples),
            self.nan.merge(other.nan),
            {name: self.outputs[name].merge(sums) for name, sums in other.outputs.items()},
            {name: self.tensors[name].merge(sums) for name, sums in other.tensors.items()},
        )


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """The outputs of both engines for one batch, by name; valid until an engine's next run."""

    batch: Batch
    labels: AnyArray | None
    fp32: Tensors
    int8: Tensors

    def observe(self, metrics: tuple[Metric, ...], tensors: Mapping[str, TensorSums]) -> Observation:
        """Return what this batch shows.

        Raises
        ------
        InputError
            When outputs or labels do not fit a metric, or each other.
        """
        count = self.batch.samples
        values = tuple(PairedValues.of(metric, self.fp32, self.int8, self.labels) for metric in metrics)
        for metric, pair in zip(metrics, values, strict=True):
            if pair.fp32.shape[:1] != (count,):
                raise InputError(
                    f"Metric «{metric.name}» gives {len(np.atleast_1d(pair.fp32))} values for {count} samples: "
                    "give one a sample."
                )
        outputs = {n: TensorSums.of(n, self.fp32[n], self.int8[n], samples=count) for n in self.fp32}
        nan = NanSamples(_with_nan(self.fp32, count), _with_nan(self.int8, count))
        chosen = self._chosen(metrics)
        agreement = Agreement()
        if chosen is not None:
            agreement = Agreement.of(chosen.fp32, chosen.int8, self.labels, self.batch.names)
        return Observation(self._table(metrics, values, chosen), agreement, nan, outputs, tensors)

    def _chosen(self, metrics: tuple[Metric, ...]) -> "_Chosen | None":
        named = (getattr(metric, "output", None) for metric in metrics)
        output = next((name for name in named if name is not None), None)
        one, two = find_class_scores(self.fp32, output), find_class_scores(self.int8, output)
        if one is None or two is None or len(one) != self.batch.samples:
            return None
        classes = chosen_classes(one)
        return _Chosen(classes, chosen_classes(two), _confidence(one, classes))

    def _table(
        self, metrics: tuple[Metric, ...], values: tuple[PairedValues, ...], chosen: "_Chosen | None"
    ) -> SampleTable:
        names = unique_names(metrics)
        labels = self.labels
        is_class = labels is not None and labels.shape == (self.batch.samples,) and labels.dtype.kind in "iu"
        signal, noise = self._sums()
        return SampleTable(
            signal,
            noise,
            keys=self.batch.hashes,
            names=tuple(map(printable, self.batch.names)),
            labels=labels.astype(np.int64) if labels is not None and is_class else None,
            fp32_class=None if chosen is None else chosen.fp32,
            int8_class=None if chosen is None else chosen.int8,
            confidence=None if chosen is None else chosen.confidence,
            values=dict(zip(names, values, strict=True)),
            metrics={name: MetricKind.of(metric) for name, metric in zip(names, metrics, strict=True)},
        )

    def _sums(self) -> tuple[F64, F64]:
        """Return signal and noise of each sample's first output; NaN where it has no row a sample, or not finite ones."""
        name, samples = next(iter(self.fp32)), self.batch.samples
        sums = sample_sums(self.fp32[name], self.int8[name], samples)
        if len(sums) != samples:
            return np.full(samples, np.nan), np.full(samples, np.nan)
        both = sums[:, [COLUMNS.index("signal"), COLUMNS.index("noise")]]
        known = np.where(np.isfinite(both).all(axis=1, keepdims=True), both, np.nan)
        return known[:, 0], known[:, 1]


@dataclass(frozen=True, slots=True, eq=False)
class _Chosen:
    """The classes that both engines choose for one batch, and how sure FP32 is."""

    fp32: I64
    int8: I64
    confidence: F64


class Merging:
    """Merges observations as they come, neighbours of like size first, so that each value is copied only log(batches) times."""

    def __init__(self) -> None:
        self._stack: list[tuple[int, Observation]] = []

    def add(self, observation: Observation) -> None:
        """Take the next one."""
        self._stack.append((1, observation))
        while len(self._stack) > 1 and self._stack[-2][0] == self._stack[-1][0]:
            self._merge_last()

    def total(self) -> Observation:
        """Return all of them as one.

        Raises
        ------
        InputError
            When there was none.
        """
        if not self._stack:
            raise InputError("There is nothing to compare on: the data hold no sample.")
        while len(self._stack) > 1:
            self._merge_last()
        return self._stack[0][1]

    def _merge_last(self) -> None:
        (one, first), (two, second) = self._stack[-2:]
        self._stack[-2:] = [(one + two, first.merge(second))]


def unique_names(metrics: tuple[Metric, ...]) -> tuple[str, ...]:
    """Return the metrics' names, the second of the same name as «name #2»."""
    names = [metric.name for metric in metrics]
    return tuple(
        f"{name} #{names[:place].count(name) + 1}" if name in names[:place] else name
        for place, name in enumerate(names)
    )


def _confidence(scores: AnyArray, classes: I64) -> F64:
    """Return the share of each row's class: of scores that are shares already, or of their softmax; NaN for none."""
    values = scores.astype(np.float64)
    best = values.max(axis=1)
    with np.errstate(invalid="ignore", over="ignore"):
        softmax = 1 / np.exp(values - best[:, np.newaxis]).sum(axis=1)
        shares = (values >= 0).all(axis=1) & (np.abs(values.sum(axis=1) - 1) < _ROUNDING)
    return np.where(classes == UNDECIDED, np.nan, np.where(shares, best, softmax))


def _with_nan(outputs: Tensors, samples: int) -> int:
    found = np.zeros(samples, np.bool_)
    for values in outputs.values():
        if values.dtype.kind == "f" and values.ndim and len(values) % samples == 0:
            found |= np.isnan(values).reshape(samples, -1).any(axis=1)
    return int(found.sum())
