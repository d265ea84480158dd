"""An engine's times and power, measured on the device where it has one."""

from collections.abc import Iterable
from dataclasses import replace

from quantlab.comparison.cost import BatchTime, Cost, Power, batch_of, of_plan, time_batches
from quantlab.engines.engine import Engine
from quantlab.engines.tensorrt.engine import TrtEngine
from quantlab.engines.tensorrt.timing import mean_power, time_engine
from quantlab.numerics.arrays import Tensors


def measured_cost(engine: Engine, samples: Tensors, sizes: Iterable[int], *, rounds: int = 200) -> Cost:
    """Return an engine's times and what its plan tells; a plan is timed on the GPU, with and without CUDA graph.

    Parameters
    ----------
    samples
        One batch of inputs, cut to each size or repeated up to it.
    rounds
        Measured runs of each size.

    Raises
    ------
    UsageError
        When there are no rounds, or a size is no positive number.
    InputError
        When the engine refuses a size.
    """
    if not isinstance(engine, TrtEngine):
        return Cost(times=time_batches(engine, samples, sizes, rounds=rounds))
    times = tuple(_plan_time(engine, samples, size, rounds, graph=g) for size in sizes for g in (False, True))
    return replace(of_plan(engine), times=times)


def measured_power(engine: TrtEngine, samples: Tensors, size: int, *, seconds: float = 2.0) -> Power:
    """Return the mean power of the GPU while a plan runs batches of one size without a pause.

    Raises
    ------
    MachineError
        When NVML cannot be reached.
    """
    found = mean_power(engine, batch_of(samples, size), seconds=seconds)
    return Power(found.watts, size, found.samples / found.seconds)


def _plan_time(engine: TrtEngine, samples: Tensors, size: int, rounds: int, *, graph: bool) -> BatchTime:
    found = time_engine(engine, batch_of(samples, size), rounds=rounds, graph=graph)
    return BatchTime(size, found.median_ms, found.p90_ms, graph, "device")
