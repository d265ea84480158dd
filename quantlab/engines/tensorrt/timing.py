"""How long a plan takes on the GPU, measured by the GPU's own events, and what power it draws."""

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from quantlab.engines.tensorrt.engine import TrtEngine
from quantlab.errors import MachineError, UsageError
from quantlab.numerics.arrays import Tensors


@dataclass(frozen=True, slots=True)
class GpuTimes:
    """Milliseconds a batch from the first kernel's start to the last one's end; inputs and outputs stay on the GPU.

    Attributes
    ----------
    median_ms, p90_ms, min_ms
        Over the rounds.
    rounds
        Measured runs.
    batch
        Samples a batch.
    graph
        Whether the run was one launch of a CUDA graph, or a launch a kernel.
    """

    median_ms: float
    p90_ms: float
    min_ms: float
    rounds: int
    batch: int
    graph: bool


def time_engine(
    engine: TrtEngine, batch: Tensors, *, rounds: int = 200, warm_up: int = 20, graph: bool = False
) -> GpuTimes:
    """Time a plan on one batch.

    Raises
    ------
    UsageError
        When there are no rounds.
    InputError
        When the plan refuses the batch.
    """
    if rounds < 1 or warm_up < 0:
        raise UsageError(f"Timing needs at least one round and no negative warm-up, not {rounds} and {warm_up}.")
    launch, device = _launcher(engine, batch, graph=graph)
    for _ in range(warm_up):
        launch()
    device.wait()
    events = [(_event(device), _event(device)) for _ in range(rounds)]
    for start, end in events:
        device.stream.record(start)
        launch()
        device.stream.record(end)
    device.wait()
    times = np.sort([end - start for start, end in events])
    rows = next(iter(batch.values())).shape[0]
    middle, high = np.percentile(times, [50, 90])
    return GpuTimes(float(middle), float(high), float(times[0]), rounds, int(rows), graph)


@dataclass(frozen=True, slots=True)
class Power:
    """Mean electric power of the whole GPU while a plan runs without a pause.

    Attributes
    ----------
    watts
        Energy over time, both from NVML's counter.
    seconds
        How long.
    samples
        Samples that were run.
    """

    watts: float
    seconds: float
    samples: int


def mean_power(engine: TrtEngine, batch: Tensors, *, seconds: float = 2.0) -> Power:
    """Measure the power that a plan draws, as a CUDA graph in a loop; the first half second is not counted.

    Raises
    ------
    MachineError
        When NVML cannot be reached, or the GPU counts no energy.
    """
    launch, device = _launcher(engine, batch, graph=True)
    energy = _energy(str(device.core.pci_bus_id))
    rows = next(iter(batch.values())).shape[0]
    _loop(launch, device, 0.5)
    before, start = energy(), perf_counter()
    rounds = _loop(launch, device, seconds)
    used, passed = energy() - before, perf_counter() - start
    return Power(used / passed, passed, rounds * int(rows))


def _loop(launch: Callable[[], None], device: Any, seconds: float) -> int:
    """Keep the GPU busy: it is waited for once in 50 launches, while others are queued already."""
    end, rounds = perf_counter() + seconds, 0
    while perf_counter() < end:
        for _ in range(50):
            launch()
        rounds += 50
        device.wait()
    return rounds


def _launcher(engine: TrtEngine, batch: Tensors, *, graph: bool) -> tuple[Callable[[], None], Any]:
    prepared = engine.prepare(batch)
    device = prepared.device
    prepared.enqueue()  # what a context sets up in its first run cannot be captured
    device.wait()
    if not graph:
        return prepared.enqueue, device
    builder = device.stream.create_graph_builder()
    builder.begin_building("thread_local")
    prepared.enqueue_on(int(builder.stream.handle))
    built = builder.end_building().complete()
    return lambda: built.launch(device.stream), device


def _event(device: Any) -> Any:
    from cuda.core import EventOptions

    return device.core.create_event(EventOptions(timing_enabled=True))


def _energy(bus: str) -> Callable[[], float]:
    """Return a function that tells the joules that a GPU has used since its driver was loaded.

    The GPU is named by its place on the bus: NVML's numbers are not CUDA's, which CUDA_VISIBLE_DEVICES shifts.
    """
    try:
        import pynvml

        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByPciBusId(bus)
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except Exception as error:  # pynvml's errors share no base class with a missing package's
        raise MachineError(
            f"The GPU's power cannot be read ({error}): pip install 'quantlab[gpu]', or leave power out."
        ) from error
    return lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000
