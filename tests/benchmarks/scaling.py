"""Whether sharing the work out changes a byte, what starting costs, how fast it then is, and how 50,000 images go through `collect`.

Run as `python -m tests.benchmarks.scaling`; it starts itself again for each measurement. `--short` leaves the long runs out.
The machine should be quiet: processor time is a little dearer while others use the same cores and caches.
"""

import argparse
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
from quantlab.data.arrays import Arrays
from quantlab.data.preprocess import Preprocess
from quantlab.storage.calibration_cache import write_cache
from quantlab.storage.histograms_h5 import write_histograms
from quantlab.storage.scale_table_json import write_scale_table
from quantlab.workers.declared import processes, ray
from quantlab.workers.spread import Spread
from tests.benchmarks.figures import write_figures
from tests.benchmarks.scaling_model import Figures, model

SHIPPED = Path(__file__).parents[2] / "calib_data"
MODEL = SHIPPED / "fashion_net.onnx"
FASHION = Preprocess(layout="NCHW", color="GRAY", scale=1 / 255, mean=(0.2860,), std=(0.3530,))
IMAGES, FEW = 50_000, 20_000
WINDOW = 500
"""Images between two notes at least."""

WAYS: dict[str, Callable[[], Spread | None]] = {
    "one process": lambda: None,
    "one process, in parts": Spread,
    "2 processes": lambda: processes(2),
    "4 processes": lambda: processes(4),
    "Ray, 2 workers": lambda: ray(2),
    "Ray, 4 workers": lambda: ray(4),
}


def _bytes(way: str) -> dict[str, str]:
    """Collect the shipped calibration set one way; return digests of the histograms' content, table and cache."""
    source = data.arrays(SHIPPED / "calibration.npz", preprocess=FASHION, name="calibration")
    with tempfile.TemporaryDirectory() as folder, engines.ort(MODEL, expose="quantizable", threads=1) as engine:
        spread = WAYS[way]()
        found = collect(engine, source, on=spread)
        table = calibrate(found, Entropy())
        files = {name: Path(folder) / name for name in ("histograms.h5", "scales.json", "calibration.cache")}
        write_histograms(files["histograms.h5"], found)
        write_scale_table(files["scales.json"], table)
        tensors = tuple(row.tensor for row in table.rows)
        write_cache(
            files["calibration.cache"], table, model_tensors=tensors, version="8.6.1", algorithm="EntropyCalibration2"
        )
        return {name: sha256(path.read_bytes()).hexdigest() for name, path in files.items()}


def _notes(way: str, images: int) -> list[list[float]]:
    """Collect synthetic images one way; note images done, resident MiB, wall and CPU seconds of this process as it goes."""
    notes: list[list[float]] = []

    def advance(done: int, _: int | None) -> None:
        last = notes[-1][0] if notes else -1
        if done > last and (last <= 0 or done == images or done >= last + WINDOW):
            notes.append([done, _resident(), time.perf_counter(), time.process_time()])

    with tempfile.TemporaryDirectory() as folder:
        source = _synthetic(Path(folder) / "images.npy", images)
        with engines.ort(MODEL, expose="quantizable", threads=1) as engine:
            advance(0, None)
            collect(engine, source, options=CollectOptions(workers=1, progress=advance), on=WAYS[way]())
    return notes


def _synthetic(path: Path, count: int) -> Arrays:
    images = np.lib.format.open_memmap(path, "w+", np.uint8, (count, 28, 28, 1))
    random = np.random.default_rng(0)
    for at in range(0, count, 1000):
        images[at : at + 1000] = random.integers(0, 256, (1000, 28, 28, 1), np.uint8)
    images.flush()
    return data.arrays(path, preprocess=FASHION, name="synthetic")


def _resident() -> float:
    """Return this process's resident memory in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _child(what: str, way: str) -> Any:
    command = [sys.executable, "-m", "tests.benchmarks.scaling", "--child", what, way]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def _equality() -> Figures:
    found = {way: _child("bytes", way) for way in WAYS}
    first = found["one process"]
    return {
        f"{way}: {name}": (
            f"sha256:{digest[:16]}, {'the' if digest == first[name] else 'OTHER THAN THE'} bytes of one process",
            "digest",
        )
        for way, one in found.items()
        for name, digest in one.items()
    }


def _rates() -> Figures:
    """Return what starting takes, until the first part is there, and the rate from then on."""
    figures: Figures = {}
    for way in WAYS:
        (_, _, begun, _), first, *_, last = _child("few", way)
        figures[f"{way}: first images done after"] = (first[2] - begun, "s")
        figures[f"{way}: rate from then on"] = ((last[0] - first[0]) / (last[2] - first[2]), "images/s")
    return figures


def _steady(way: str) -> Figures:
    """Return memory and rates of each fifth; the cheapest 500 images of a fifth tell most of what others on the machine do not."""
    figures: Figures = {}
    notes = _child("many", way)
    cheapest = []
    for number, fifth in enumerate(_fifths(notes), 1):
        label = f"50,000 images, {way}, fifth {number}"
        windows = [(after[3] - before[3]) / (after[0] - before[0]) for before, after in pairwise(fifth)]
        images, wall, cpu = (fifth[-1][place] - fifth[0][place] for place in (0, 2, 3))
        cheapest.append(min(windows))
        figures[f"{label}: rate"] = (images / wall, "images/s")
        figures[f"{label}: CPU"] = (1e3 * cpu / images, "ms an image")
        figures[f"{label}: CPU of its cheapest {WINDOW} images or part"] = (1e3 * min(windows), "ms an image")
        figures[f"{label}: resident memory after"] = (fifth[-1][1], "MiB")
    warm = _fifths(notes)[0][-1][1]
    change = max(abs(note[1] / warm - 1) for note in notes if note[0] >= IMAGES / 5)
    figures[f"50,000 images, {way}: largest change of resident memory after the first fifth"] = (100 * change, "%")
    figures[f"50,000 images, {way}: CPU of the last fifth over the first, cheapest images"] = (
        cheapest[-1] / cheapest[0],
        "ratio",
    )
    return figures


def _fifths(notes: list[list[float]]) -> list[list[list[float]]]:
    """Return the notes of each fifth, its first and last shared with its neighbours."""
    ends = [next(i for i, note in enumerate(notes) if note[0] >= IMAGES * part / 5) for part in range(6)]
    return [notes[start : stop + 1] for start, stop in pairwise(ends)]


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="leave the 50,000 images out")
    parser.add_argument("--child", nargs=2, metavar=("WHAT", "WAY"))
    asked = parser.parse_args()
    if asked.child:
        what, way = asked.child
        found = _bytes(way) if what == "bytes" else _notes(way, FEW if what == "few" else IMAGES)
        sys.stdout.write(json.dumps(found) + "\n")
        return
    figures = _equality() | _rates() | model()
    if not asked.short:
        figures |= _steady("one process")
    write_figures("scaling", "python -m tests.benchmarks.scaling", figures)


if __name__ == "__main__":
    main()
