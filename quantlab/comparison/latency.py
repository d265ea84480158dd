"""Latency of two engines, run in turn on one batch, so that a slow moment of the machine meets both."""

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from quantlab.comparison.backends import Backends
from quantlab.comparison.fixed_batch import cut, filled, fixed_rows
from quantlab.data.batch import Batch
from quantlab.engines.engine import Engine
from quantlab.errors import UsageError
from quantlab.numerics.arrays import Tensors


@dataclass(frozen=True, slots=True)
class Latency:
    """Times of both engines, round by round.

    Attributes
    ----------
    fp32, int8
        Seconds a batch, one a round; round i of both were neighbours.
    batch
        Samples a batch.
    backends
        What ran; they name runtime, version and processor.
    """

    fp32: tuple[float, ...]
    int8: tuple[float, ...]
    batch: int
    backends: Backends

    @property
    def fp32_ms(self) -> float:
        """FP32's median, in milliseconds a batch."""
        return _median_ms(self.fp32)

    @property
    def int8_ms(self) -> float:
        """INT8's median, in milliseconds a batch."""
        return _median_ms(self.int8)

    @property
    def fp32_spread_ms(self) -> float:
        """Distance of FP32's quartiles, in milliseconds a batch."""
        return _spread_ms(self.fp32)

    @property
    def int8_spread_ms(self) -> float:
        """Distance of INT8's quartiles, in milliseconds a batch."""
        return _spread_ms(self.int8)

    @property
    def speed(self) -> float:
        """INT8's speed over FP32's, the median over the rounds; above 1 INT8 is the faster."""
        return float(np.median(np.divide(self.fp32, self.int8)))


def measure_latency(
    fp32: Engine,
    int8: Engine,
    batch: Tensors,
    *,
    rounds: int = 20,
    warm_up: int = 3,
    clock: Callable[[], float] = perf_counter,
) -> Latency:
    """Time both engines on one batch, FP32 INT8 FP32 INT8 ….

    Parameters
    ----------
    batch
        One batch of inputs; cut or filled up to the size that the networks fix, where they do.
    rounds
        Measured runs of each.
    warm_up
        Runs of each before these, not counted.
    clock
        Tells seconds.

    Raises
    ------
    UsageError
        When there are no rounds.
    InputError
        When an engine refuses the batch.
    """
    if rounds < 1 or warm_up < 0:
        raise UsageError(f"Latency needs at least one round and no negative warm-up, not {rounds} and {warm_up}.")
    inputs = _fitted(Batch(dict(batch)).bind(fp32.inputs), fixed_rows(fp32, int8))
    times = [[seconds_of(engine, inputs, clock) for engine in (fp32, int8)] for _ in range(warm_up + rounds)]
    one, two = zip(*times[warm_up:], strict=True)
    return Latency(one, two, inputs.samples, Backends.of(fp32, int8))


def _fitted(batch: Batch, rows: int | None) -> Batch:
    part, _ = next(cut([(batch, None)], rows))
    return part if rows is None or not 0 < (part.rows or 0) < rows else filled(part, rows)


def seconds_of(engine: Engine, batch: Tensors, clock: Callable[[], float]) -> float:
    """Return how long an engine takes for one batch."""
    start = clock()
    engine.run(batch)
    return clock() - start


def _median_ms(times: tuple[float, ...]) -> float:
    return 1000 * float(np.median(times))


def _spread_ms(times: tuple[float, ...]) -> float:
    low, high = np.percentile(times, [25, 75])
    return 1000 * float(high - low)
