"""Whether sharing the work out changes a byte, what it costs, and how 50,000 images go through `collect`.

Run as `python -m tests.benchmarks.scaling`; it starts itself again for each measurement. `--short` leaves the long run out.
The simulation runs the loop's own ledger (which spans are handed out, which parts are merged) on a clock of its own, with
the seconds that were measured here.
"""

import argparse
import heapq
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from quantlab import data, engines
from quantlab.calibration.calibrate import calibrate
from quantlab.calibration.methods.entropy import Entropy
from quantlab.collector.collect import CollectOptions, collect
from quantlab.data.preprocess import Preprocess
from quantlab.numerics.histogram import Histogram
from quantlab.storage.calibration_cache import write_cache
from quantlab.storage.histograms_h5 import write_histograms
from quantlab.storage.scale_table_json import write_scale_table
from quantlab.workers.collecting import Counted
from quantlab.workers.declared import processes, ray
from quantlab.workers.ledger import Gaps, Stacks, pace_of
from quantlab.workers.part_form import Head
from quantlab.workers.pool import Facts
from quantlab.workers.shelf import Part, Shelf
from quantlab.workers.spread import Spread
from tests.benchmarks.figures import write_figures

SHIPPED = Path(__file__).parents[2] / "calib_data"
MODEL = SHIPPED / "fashion_net.onnx"
FASHION = Preprocess(layout="NCHW", color="GRAY", scale=1 / 255, mean=(0.2860,), std=(0.3530,))
IMAGES, STEP = 50_000, 5_000
TENSORS = 300
NETWORK = 1e9 / 8
"""Bytes a second between the driver and its workers, as of a network of 1 Gbit/s."""

Figures = dict[str, tuple[float | int | str, str]]
WAYS: dict[str, Callable[[], Spread | None]] = {
    "one process": lambda: None,
    "one process, in parts": Spread,
    "2 processes": lambda: processes(2),
    "4 processes": lambda: processes(4),
    "Ray, 2 workers": lambda: ray(2),
    "Ray, 4 workers": lambda: ray(4),
}


def _bytes(way: str) -> dict[str, Any]:
    """Collect the shipped calibration set one way; return digests of the histograms' content, table and cache."""
    source = data.arrays(SHIPPED / "calibration.npz", preprocess=FASHION, name="calibration")
    with tempfile.TemporaryDirectory() as folder, engines.ort(MODEL, expose="quantizable", threads=1) as engine:
        spread = WAYS[way]()
        start = time.perf_counter()
        found = collect(engine, source, on=spread)
        seconds = time.perf_counter() - start
        table = calibrate(found, Entropy())
        files = {name: Path(folder) / name for name in ("histograms.h5", "scales.json", "calibration.cache")}
        write_histograms(files["histograms.h5"], found)
        write_scale_table(files["scales.json"], table)
        tensors = tuple(row.tensor for row in table.rows)
        write_cache(
            files["calibration.cache"], table, model_tensors=tensors, version="8.6.1", algorithm="EntropyCalibration2"
        )
        digests = {name: sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
    return {"seconds": seconds, "images": len(source), **digests}


def _long(way: str) -> dict[str, Any]:
    """Collect 50,000 images one way; note resident memory, wall and CPU seconds at every 5,000."""
    notes: list[tuple[int, float, float, float]] = []

    def advance(done: int, total: int | None) -> None:
        if done // STEP > (notes[-1][0] // STEP if notes else -1):
            notes.append((done, _resident(), time.perf_counter(), time.process_time()))

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.npy"
        images = np.lib.format.open_memmap(path, "w+", np.uint8, (IMAGES, 28, 28, 1))
        random = np.random.default_rng(0)
        for at in range(0, IMAGES, 1000):
            images[at : at + 1000] = random.integers(0, 256, (1000, 28, 28, 1), np.uint8)
        images.flush()
        del images
        source = data.arrays(path, preprocess=FASHION, name="synthetic")
        with engines.ort(MODEL, expose="quantizable", threads=1) as engine:
            notes.append((0, _resident(), time.perf_counter(), time.process_time()))
            found = collect(engine, source, options=CollectOptions(workers=1, progress=advance), on=WAYS[way]())
    return {"notes": notes, "tensors": len(found)}


def _resident() -> float:
    """Return this process's resident memory in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _constants() -> dict[str, float]:
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

    The driver does one thing at a time: it stores what comes and reads what is to be merged. A worker counts, or merges eight
    parts; what travels takes the network's time. `seconds` is one sample's.
    """
    gaps, stacks = Gaps(samples, (), shard), Stacks(())
    driver = 0.0
    events: list[tuple[float, int, tuple[int, int], tuple[Part, ...]]] = []
    idle, pace, tick = workers, None, 0
    now = 0.0
    travel, own = cost["stored"] / NETWORK, cost["render"]
    while True:
        while idle:
            group = stacks.group()
            if group:
                driver = max(driver, now) + 8 * (cost["read"] + travel)
                busy = 8 * cost["parse"] + 7 * cost["merge"] + own
                span = (group[0].start, group[-1].stop)
            elif len(gaps):
                taken = gaps.take(workers, pace, pace_of(workers, None))
                driver = max(driver, now)
                span, busy = (taken.start, taken.stop), len(taken) * seconds + own
            else:
                break
            tick, idle = tick + 1, idle - 1
            heapq.heappush(events, (driver + busy, tick, span, group))
        if not events:
            break
        now, _, (start, stop), merged = heapq.heappop(events)
        driver = max(driver, now) + cost["put"] + travel
        part = Part(start, stop, Path())
        if merged:
            stacks.replace(merged, part)
        else:
            stacks.add(part)
            pace = seconds
        now, idle = driver, idle + 1
    end = driver + len(stacks.parts) * (cost["read"] + cost["parse"] + cost["merge"])
    return samples * seconds / (workers * end)


def _child(what: str, way: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.benchmarks.scaling", "--child", what, way]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _equality() -> Figures:
    found = {way: _child("bytes", way) for way in WAYS}
    first = found["one process"]
    figures: Figures = {}
    for way, one in found.items():
        for name in ("histograms.h5", "scales.json", "calibration.cache"):
            same = "the bytes of one process" if one[name] == first[name] else "OTHER BYTES"
            figures[f"{way}: {name}"] = (f"sha256:{one[name][:16]}, {same}", "digest")
        figures[f"{way}: rate, starting included"] = (one["images"] / one["seconds"], "images/s")
    return figures


def _steady() -> Figures:
    figures: Figures = {}
    notes = _child("long", "one process")["notes"]
    warm = notes[1][1]
    for before, after in pairwise(notes):
        images = after[0] - before[0]
        label = f"50,000 images, {before[0]:,} … {after[0]:,}"
        figures[f"{label}: rate"] = (images / (after[2] - before[2]), "images/s")
        figures[f"{label}: CPU"] = (1e3 * (after[3] - before[3]) / images, "ms an image")
        figures[f"{label}: resident memory after"] = (after[1], "MiB")
    rest = [note[1] for note in notes[1:]]
    costs = [(b[3] - a[3]) / (b[0] - a[0]) for a, b in pairwise(notes[1:])]
    figures["50,000 images: largest change of resident memory after the first 5,000"] = (
        100 * max(abs(one / warm - 1) for one in rest),
        "%",
    )
    figures["50,000 images: dearest 5,000 over cheapest, in CPU time"] = (max(costs) / min(costs), "ratio")
    return figures


def _model() -> Figures:
    cost = _constants()
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


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="leave the 50,000 images out")
    parser.add_argument("--child", nargs=2, metavar=("WHAT", "WAY"))
    asked = parser.parse_args()
    if asked.child:
        what, way = asked.child
        sys.stdout.write(json.dumps({"bytes": _bytes, "long": _long}[what](way)) + "\n")
        return
    figures = _equality() | _model() | ({} if asked.short else _steady())
    write_figures("scaling", "python -m tests.benchmarks.scaling", figures)


if __name__ == "__main__":
    main()
