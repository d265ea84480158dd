"""What an engine costs: time by batch size, bytes, building, power."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from quantlab.comparison.fixed_batch import fixed_rows
from quantlab.comparison.latency import seconds_of
from quantlab.data.batch import Batch
from quantlab.engines.engine import Engine
from quantlab.errors import InputError, UsageError
from quantlab.numerics.arrays import Tensors


@dataclass(frozen=True, slots=True)
class BatchTime:
    """How long one batch takes.

    Attributes
    ----------
    batch
        Samples.
    median_ms, p90_ms
        Milliseconds a batch: the middle one of the rounds, and what nine of ten stay within.
    graph
        Whether the batch ran as a CUDA graph, without the processor launching each kernel.
    where
        host: from arrays to arrays in the processor's memory; device: from device buffers to device buffers.
    """

    batch: int
    median_ms: float
    p90_ms: float
    graph: bool = False
    where: str = "host"


@dataclass(frozen=True, slots=True)
class Power:
    """What the GPU drew while the engine ran one batch after the other.

    Attributes
    ----------
    watts
        Mean over the whole board.
    batch
        Samples a batch.
    samples_per_second
        How many passed meanwhile.
    """

    watts: float
    batch: int
    samples_per_second: float

    @property
    def joules_per_sample(self) -> float:
        """Energy of one sample, idle power included."""
        return self.watts / self.samples_per_second


@dataclass(frozen=True, slots=True)
class Cost:
    """What is known of an engine's cost; None or () where it was not measured.

    Attributes
    ----------
    times
        A time a batch size, with and without CUDA graph.
    model_bytes
        Of the plan or the model's file.
    device_bytes
        Scratch memory that a context takes on the GPU, without the weights.
    build_seconds
        What building took.
    power
        Measured while running.
    """

    times: tuple[BatchTime, ...] = ()
    model_bytes: int | None = None
    device_bytes: int | None = None
    build_seconds: float | None = None
    power: Power | None = None

    def time(self, batch: int, *, graph: bool) -> BatchTime | None:
        """Return the time of one batch size; None if it was not measured."""
        return next((t for t in self.times if (t.batch, t.graph) == (batch, graph)), None)


def of_plan(engine: Engine) -> Cost:
    """Return what an engine's plan tells: bytes, scratch memory and build time; an engine without a plan has none."""
    card: Any = getattr(getattr(engine, "plan", None), "card", None)
    if card is None:
        return Cost()
    return Cost(model_bytes=card.size, device_bytes=card.device_memory, build_seconds=card.build_seconds)


def time_batches(
    engine: Engine,
    samples: Tensors,
    sizes: Iterable[int],
    *,
    rounds: int = 20,
    warm_up: int = 3,
    clock: Callable[[], float] = perf_counter,
) -> tuple[BatchTime, ...]:
    """Time an engine from arrays to arrays, one batch size after the other.

    Parameters
    ----------
    samples
        One batch of inputs, cut to each size or repeated up to it.
    rounds, warm_up
        Measured runs of each size, and runs before these.
    clock
        Tells seconds.

    Raises
    ------
    UsageError
        When there are no rounds, or a size is no positive number.
    InputError
        When the model fixes another batch size, or refuses the batch.
    """
    if rounds < 1 or warm_up < 0:
        raise UsageError(f"A time needs at least one round and no negative warm-up, not {rounds} and {warm_up}.")
    fixed = fixed_rows(engine)
    found = []
    for size in sizes:
        if fixed is not None and size != fixed:
            raise InputError(f"The model fixes a batch of {fixed}, so a batch of {size} cannot be timed.")
        inputs = batch_of(samples, size)
        times = [seconds_of(engine, inputs, clock) for _ in range(warm_up + rounds)][warm_up:]
        found.append(BatchTime(size, 1000 * float(np.median(times)), 1000 * float(np.percentile(times, 90))))
    return tuple(found)


def batch_of(samples: Tensors, size: int) -> Mapping[str, Any]:
    """Return so many rows of the samples, from the first on, over and over.

    Raises
    ------
    UsageError
        When the size is no positive number.
    InputError
        When the samples have no rows.
    """
    rows = Batch(dict(samples)).rows
    if size < 1:
        raise UsageError(f"A batch has at least one sample, not {size}.")
    if not rows:
        raise InputError("The samples have no rows, so no batch of another size can be made of them.")
    order = np.arange(size) % rows
    return {name: values[order] for name, values in samples.items()}
