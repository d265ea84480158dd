"""Images a second of `collect` with one worker and with more, each on a GPU of its own, and whether the bits are the same.

Run as `python -m tests.gpu.scaling --model MODEL.onnx --out FIGURES.json`; it needs as many GPUs as workers. `--cpu` rehearses
it with ONNX Runtime. Images are drawn once and handed out again and again, so that no disk is measured.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from quantlab import engines
from quantlab.calibration.histogram_set import HistogramSet
from quantlab.calibration.provenance import DataIdentity
from quantlab.collector.collect import CollectOptions, collect
from quantlab.data.batch import Batch
from quantlab.data.fingerprint import identify, short
from quantlab.engines.tensorrt.build_options import BuildOptions
from quantlab.numerics.arrays import F32
from quantlab.versions import versions
from quantlab.workers.declared import processes, ray
from quantlab.workers.spread import Spread

DISTINCT = 256
BATCH = 64
BUDGET = 8 * 2**30


class Repeated:
    """So many samples, sample i being image i % 256 of a seed; a data set that can be cut and read from nowhere."""

    def __init__(self, shape: tuple[int, ...], start: int, stop: int) -> None:
        self.shape, self.start, self.stop, self.batch = shape, start, stop, BATCH

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def sample_hashes(self) -> tuple[bytes, ...]:
        return tuple(blake2b(str(i).encode(), digest_size=32).digest() for i in range(self.start, self.stop))

    @property
    def identity(self) -> DataIdentity:
        return identify("repeated", self.sample_hashes, random=True)

    def sample_name(self, place: int) -> str:
        return f"image {self.start + place}"

    def part(self, start: int, stop: int) -> Repeated:
        return Repeated(self.shape, self.start + start, self.start + stop)

    def __iter__(self) -> Iterator[Batch]:
        block = drawn(self.shape)
        for at in range(self.start, self.stop, BATCH):
            places = range(at, min(at + BATCH, self.stop))
            hashes = tuple(map(short, Repeated(self.shape, places.start, places.stop).sample_hashes))
            yield Batch({"": block[[i % DISTINCT for i in places]]}, hashes=hashes)


_DRAWN: dict[tuple[int, ...], F32] = {}


def drawn(shape: tuple[int, ...]) -> F32:
    """Return the images, drawn once a process."""
    if shape not in _DRAWN:
        _DRAWN[shape] = np.random.default_rng(0).standard_normal((DISTINCT, *shape), dtype=np.float32)
    return _DRAWN[shape]


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def timed(engine: Any, data: Repeated, on: Spread | None) -> tuple[float, HistogramSet]:
    """Collect, and return how many seconds it took, start and end of the workers included."""
    start = time.perf_counter()
    found = collect(engine, data, options=CollectOptions(budget=BUDGET), on=on)
    return time.perf_counter() - start, found


def measured(engine: Any, shape: tuple[int, ...], asked: argparse.Namespace) -> dict[str, Any]:
    """Return the rates of each way and number of workers, and whether all give the same histograms.

    A rate is that of the images by which the longer run exceeds the shorter one, so that the start of workers and of their
    engines, which both runs have, is in neither.
    """
    few, many = (Repeated(shape, 0, count) for count in asked.images)
    _, expected = timed(engine, Repeated(shape, 0, 10 * BATCH), None)
    ways: dict[str, Any] = {}
    kinds = {"processes": processes} | ({"ray": ray} if find_spec("ray") else {})
    seen: list[dict[str, Any]] = []
    for kind in asked.kinds:
        for count in asked.workers:
            (short, _), (long, found) = (timed(engine, data, kinds[kind](count)) for data in (few, many))
            rate = (len(many) - len(few)) / (long - short)
            ways[f"{kind}, {count}"] = {"seconds": [short, long], "images_per_second": rate}
            say(f"{kind}, {count} workers: {ways[f'{kind}, {count}']}")
            seen.append(dict(found))
        one, most = (ways[f"{kind}, {count}"]["images_per_second"] for count in (asked.workers[0], asked.workers[-1]))
        ways[f"{kind}: {asked.workers[-1]} over {asked.workers[0]}"] = most / one
        say(f"{kind}: {asked.workers[-1]} over {asked.workers[0]}: {most / one:.3f}")
    return {"ways": ways, "same_histograms": all(one == seen[0] for one in seen), "tensors": len(expected)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--images", type=int, nargs=2, default=[40_000, 240_000], metavar=("FEW", "MANY"))
    parser.add_argument("--kinds", nargs="+", default=["ray"], choices=["processes", "ray"])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--timing-cache")
    parser.add_argument("--cpu", action="store_true", help="rehearse with ONNX Runtime")
    asked = parser.parse_args()
    start = time.perf_counter()
    if asked.cpu:
        opened: Any = engines.ort(asked.model, expose="quantizable", threads=1)
    else:
        options = BuildOptions(timing_cache=asked.timing_cache)
        opened = engines.trt(asked.model, expose="quantizable", on_device=True, options=options)
    with opened as engine:
        say(f"opened in {time.perf_counter() - start:.1f} s: {len(engine.outputs)} outputs, {engine.backend}")
        (spec,) = engine.inputs.values()
        shape = tuple(int(size) for size in spec.shape[1:])
        figures = {
            "model": engine.model_name,
            "images": asked.images,
            "versions": versions(engine.backend),
            **measured(engine, shape, asked),
        }
    asked.out.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
