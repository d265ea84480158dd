"""A metric's values of both engines on the same samples."""

from dataclasses import dataclass

import numpy as np

from quantlab.comparison.statistics import PairedCounts
from quantlab.errors import InputError
from quantlab.metrics.metric import Metric
from quantlab.numerics.arrays import F64, AnyArray, Tensors


@dataclass(frozen=True, slots=True, eq=False)
class PairedValues:
    """Values a sample, float64 [samples] or [samples, …], row i of both for sample i; finite."""

    fp32: F64
    int8: F64

    @classmethod
    def of(cls, metric: Metric, fp32: Tensors, int8: Tensors, labels: AnyArray | None) -> "PairedValues":
        """Return the metric's values of one batch.

        Raises
        ------
        InputError
            When a value is NaN or infinite, or both engines do not give as many.
        """
        pair = cls(_values(metric, fp32, fp32, labels), _values(metric, fp32, int8, labels))
        if pair.fp32.shape != pair.int8.shape:
            raise InputError(
                f"Metric «{metric.name}» gives values of shape {list(pair.fp32.shape)} for FP32 and "
                f"{list(pair.int8.shape)} for INT8; give one a sample."
            )
        return pair

    def merge(self, other: "PairedValues") -> "PairedValues":
        """Return the values of both batches, this one's first."""
        return PairedValues(np.concatenate([self.fp32, other.fp32]), np.concatenate([self.int8, other.int8]))

    def ordered(self) -> "PairedValues":
        """Return the pairs sorted by value: what follows from these does not depend on the samples' order."""
        count = len(self.fp32)
        columns = np.hstack([self.fp32.reshape(count, -1), self.int8.reshape(count, -1)])
        order = np.lexsort(columns.T[::-1])
        return PairedValues(self.fp32[order], self.int8[order])

    @property
    def binary(self) -> bool:
        """Whether every value is 0 or 1, one a sample."""
        return self.fp32.ndim == 1 and all(bool(np.isin(side, (0, 1)).all()) for side in (self.fp32, self.int8))

    @property
    def counts(self) -> PairedCounts:
        """Samples by which engine has the 1; for binary values."""
        one, two = self.fp32 == 1, self.int8 == 1
        return PairedCounts(*(int(np.sum(which)) for which in (one & two, one & ~two, ~one & two, ~one & ~two)))


def _values(metric: Metric, fp32: Tensors, outputs: Tensors, labels: AnyArray | None) -> F64:
    paired = getattr(metric, "per_pair", None)
    found = metric.per_sample(outputs, labels) if paired is None else paired(fp32, outputs, labels)
    values = np.array(found, np.float64)  # a copy: what a metric returns may be a view of an engine's buffer
    if not np.isfinite(values).all():
        row = int(np.argwhere(~np.isfinite(values))[0][0]) if values.ndim else 0
        raise InputError(
            f"Metric «{metric.name}» gives {values.ravel()[~np.isfinite(values.ravel())][0]} for sample {row} of the batch."
        )
    return values
