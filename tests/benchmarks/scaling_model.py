"""The cost model of workers: what a part of 300 tensors costs, measured, and up to 1,000 workers simulated with it.

The simulation runs the loop's own ledger (which spans are handed out, which parts are merged) on a clock of its own.
"""

from __future__ import annotations

import heapq
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from quantlab.numerics.histogram import Histogram
from quantlab.workers.collecting import Counted
from quantlab.workers.ledger import Gaps, Stacks, pace_of
from quantlab.workers.part_form import Head
from quantlab.workers.pool import Facts
from quantlab.workers.shelf import Part, Shelf

TENSORS = 300
NETWORK = 1e9 / 8
"""Bytes a second between the driver and its workers, either way, as of a network of 1 Gbit/s."""
HEARING = 1.5e-3
"""Seconds until the driver knows which of 1,000 actors has answered, and has the answer: `ray.wait` and `ray.get`, as tried out."""

Figures = dict[str, tuple[float | int | str, str]]


def constants() -> dict[str, float]:
    """Measure what a part of 300 tensors costs: bytes, and seconds of each thing that is done to it."""
    random = np.random.default_rng(0)
    facts, hashes = Facts.of("onnxruntime"), tuple(random.bytes(32) for _ in range(64))
    kinds = [
        random.laplace(size=300_000),
        np.maximum(random.standard_normal(300_000), 0),
        random.standard_normal(300_000),
    ]
    made = [Histogram.of((values * 3).astype(np.float32)) for values in kinds]
    part = Counted(Head((facts,), hashes), {f"layer{i}/output": made[i % 3] for i in range(TENSORS)})
    data_of_part = part.render()
    with tempfile.TemporaryDirectory() as folder:
        shelf = Shelf(Path(folder), "0" * 32)
        stored = shelf.put(0, 64, data_of_part)
        return {
            "raw": float(sum(one.counts.nbytes for one in part.histograms.values())),
            "stored": float(len(data_of_part)),
            "render": _timed(part.render),
            "parse": _timed(lambda: Counted.parse(data_of_part)),
            "merge": _timed(lambda: part.merge(part)),
            "put": _timed(lambda: shelf.put(0, 64, data_of_part)),
            "read": _timed(lambda: shelf.read(stored)),
        }


def _timed(work: Callable[[], object], rounds: int = 5) -> float:
    """Return the shortest of some times, in CPU and waiting seconds: others share this machine."""
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best


def simulated(samples: int, workers: int, seconds: float, cost: dict[str, float], shard: int = 64) -> float:
    """Return the efficiency, 0 … 1, of so many workers: their counting time over all their time, until one result is there.

    The driver does one thing at a time: it hears of an answer, stores the part, reads what is to be merged. Its network does one
    thing at a time in either direction, beside it: Ray fetches what is ready. A worker counts, or merges eight parts. `seconds`
    is one sample's.
    """
    gaps, stacks = Gaps(samples, (), shard), Stacks(())
    driver = coming = going = 0.0
    events: list[tuple[float, int, tuple[int, int], tuple[Part, ...]]] = []
    idle, pace, tick = workers, None, 0
    now = 0.0
    travel, own = cost["stored"] / NETWORK, cost["render"]
    while True:
        while idle:
            group = stacks.group()
            if group:
                driver = max(driver, now) + 8 * cost["read"]
                going = start = max(going, driver) + 8 * travel
                busy = 8 * cost["parse"] + 7 * cost["merge"] + own
                span = (group[0].start, group[-1].stop)
            elif len(gaps):
                taken = gaps.take(workers, pace, pace_of(workers, None))
                start = driver = max(driver, now)
                span, busy = (taken.start, taken.stop), len(taken) * seconds + own
            else:
                break
            tick, idle = tick + 1, idle - 1
            heapq.heappush(events, (start + busy, tick, span, group))
        if not events:
            break
        now, _, (first, stop), merged = heapq.heappop(events)
        coming = max(coming, now) + travel
        driver = max(driver, coming) + cost["put"] + HEARING
        part = Part(first, stop, Path())
        if merged:
            stacks.replace(merged, part)
        else:
            stacks.add(part)
            pace = seconds
        now, idle = driver, idle + 1
    end = driver + len(stacks.parts) * (cost["read"] + cost["parse"] + cost["merge"])
    return samples * seconds / (workers * end)


def model() -> Figures:
    """Return the costs of a part, and what follows from them."""
    cost = constants()
    figures: Figures = {
        f"a part of {TENSORS} tensors in memory": (cost["raw"] / 1e6, "MB"),
        f"a part of {TENSORS} tensors stored and sent": (cost["stored"] / 1e6, "MB"),
        "worker: storing form of a part": (cost["render"], "s"),
        "worker: reading a part": (cost["parse"], "s"),
        "worker: merging two parts": (cost["merge"], "s"),
        "driver: writing a part, fsync included": (cost["put"], "s"),
        "driver: reading a part and its checksum": (cost["read"], "s"),
    }
    for label, samples, seconds in (
        ("50,000 images at 30 ms", 50_000, 0.03),
        ("1,281,167 images at 1 ms", 1_281_167, 0.001),
        ("1,281,167 images at 30 ms", 1_281_167, 0.03),
        ("1,281,167 images at 1 s", 1_281_167, 1.0),
        ("10,000,000 images at 1 s", 10_000_000, 1.0),
    ):
        for workers in (1, 8, 64, 256, 1000):
            share = simulated(samples, workers, seconds, cost)
            figures[f"simulated: {label}, {workers:,} workers: efficiency"] = (100 * share, "%")
            figures[f"simulated: {label}, {workers:,} workers: time"] = (samples * seconds / share / workers, "s")
    return figures
