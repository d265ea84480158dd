"""Everything that one pass over the data sees, a batch at a time."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from quantlab.comparison.agreement import Agreement
from quantlab.comparison.classes import chosen_classes, find_class_scores
from quantlab.comparison.paired import PairedValues
from quantlab.comparison.tasks import Metric
from quantlab.comparison.tensors import TensorSums
from quantlab.data.batch import Batch
from quantlab.errors import InputError
from quantlab.numerics.arrays import AnyArray, Tensors


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
    samples
        How many.
    values
        The values of each metric, in the metrics' order.
    agreement, nan
        See there.
    outputs, tensors
        Error sums of the networks' outputs and of inner tensors, by name.
    """

    samples: int
    values: tuple[PairedValues, ...]
    agreement: Agreement
    nan: NanSamples
    outputs: Mapping[str, TensorSums]
    tensors: Mapping[str, TensorSums]

    def merge(self, other: "Observation") -> "Observation":
        """Return what both showed, this one's samples first."""
        return Observation(
            self.samples + other.samples,
            tuple(one.merge(two) for one, two in zip(self.values, other.values, strict=True)),
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
        return Observation(count, values, self._agreement(metrics), nan, outputs, tensors)

    def _agreement(self, metrics: tuple[Metric, ...]) -> Agreement:
        named = (getattr(metric, "output", None) for metric in metrics)
        output = next((name for name in named if name is not None), None)
        one, two = find_class_scores(self.fp32, output), find_class_scores(self.int8, output)
        if one is None or two is None or len(one) != self.batch.samples:
            return Agreement()
        return Agreement.of(chosen_classes(one), chosen_classes(two), self.labels, self.batch.names)


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


def _with_nan(outputs: Tensors, samples: int) -> int:
    found = np.zeros(samples, np.bool_)
    for values in outputs.values():
        if values.dtype.kind == "f" and values.ndim and len(values) % samples == 0:
            found |= np.isnan(values).reshape(samples, -1).any(axis=1)
    return int(found.sum())
