"""Whether two roads to INT8 compute the same, on the CPU simulation of TensorRT's kernels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from quantlab.engines import ort, simulation
from quantlab.engines.engine import Engine
from quantlab.errors import InputError
from quantlab.graph.model import Model
from quantlab.numerics.arrays import AnyArray
from quantlab.numerics.error_sums import ErrorSums


@dataclass(frozen=True, slots=True)
class Equality:
    """How near two networks' outputs are.

    Attributes
    ----------
    samples
        How many were computed.
    same_bits
        Share, 0 … 1, of output values that are equal bit for bit.
    agreement
        Share of samples whose largest value of the first output is at the same index.
    sqnr_db
        Over all outputs, the first network's taken as exact; infinite where nothing differs.
    """

    samples: int
    same_bits: float
    agreement: float
    sqnr_db: float


@dataclass(slots=True)
class _Sums:
    samples: int = 0
    values: int = 0
    same: int = 0
    agreeing: int = 0
    errors: ErrorSums = ErrorSums()  # noqa: RUF009 - frozen

    def add(self, one: Mapping[str, AnyArray], two: Mapping[str, AnyArray]) -> None:
        for place, (name, values) in enumerate(one.items()):
            exact, got = np.asarray(values), np.asarray(two[name])
            self.values += exact.size
            self.same += int(np.sum((exact == got) | ((exact != exact) & (got != got))))  # noqa: PLR0124 - NaN
            self.errors = self.errors.merge(ErrorSums.of(exact, got))
            if place == 0:
                rows = exact.shape[0] if exact.ndim else 1
                flat = exact.reshape(rows, -1), got.reshape(rows, -1)
                self.samples += rows
                self.agreeing += int(np.sum(flat[0].argmax(1) == flat[1].argmax(1)))

    def result(self) -> Equality:
        if self.samples == 0:
            raise InputError("There is no sample to compare on.")
        return Equality(self.samples, self.same / self.values, self.agreeing / self.samples, self.errors.sqnr_db)


def equality(one: Model, two: Model, batches: Iterable[Mapping[str, AnyArray]]) -> Equality:
    """Compare two Q/DQ models with the same inputs and outputs, both simulated.

    Raises
    ------
    InputError
        For other outputs, no sample, or a model that cannot be run.
    """
    return _compared(simulation(one), simulation(two), batches)


def cost(plain: Model, quantized: Model, batches: Iterable[Mapping[str, AnyArray]]) -> Equality:
    """Compare a float model with a Q/DQ model, simulated: what INT8 costs on these samples.

    Raises
    ------
    InputError
        As `equality`.
    """
    return _compared(ort(plain), simulation(quantized), batches)


def _compared(one: Engine, two: Engine, batches: Iterable[Mapping[str, AnyArray]]) -> Equality:
    if list(one.outputs) != list(two.outputs):
        raise InputError(f"The models have other outputs: {', '.join(one.outputs)} and {', '.join(two.outputs)}.")
    sums = _Sums()
    for batch in batches:
        sums.add(one.run(dict(batch)), two.run(dict(batch)))
    return sums.result()
