"""Time from a built FP32 TensorRT engine and images in pinned memory to finished histograms, and whether they are right.

Run as `python -m tests.gpu.collecting --model MODEL.onnx --data IMAGES --out FIGURES.json`; IMAGES is the folder of the
ImageNet sample (with `calib` and `order.txt`), or a float32 .npy file of preprocessed images. It needs a GPU.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from quantlab import engines
from quantlab.collector.collect import CollectOptions, collect
from quantlab.collector.deriving import Plan, derive_histograms, plan_counting
from quantlab.data import images
from quantlab.engines.cuda.device_array import DeviceArray, on_host
from quantlab.engines.cuda.device_tally import DeviceTally
from quantlab.engines.cuda.memory import Device, pinned
from quantlab.engines.tensorrt.build_options import BuildOptions
from quantlab.numerics.arrays import AnyArray
from quantlab.numerics.counting import Tally
from quantlab.numerics.histogram import Histogram
from quantlab.versions import versions
from tests.benchmarks.sample import PREPROCESS

ROUNDS = 3
BATCH = 32
BUDGET = 8 * 2**30
Batches = list[dict[str, AnyArray]]


class Clock:
    """Seconds by what they were spent on."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def of(self, what: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[what] = self.seconds.get(what, 0.0) + time.perf_counter() - start


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def preprocessed(data: Path, limit: int) -> AnyArray:
    """Return float32 [limit, 3, height, width]."""
    if data.suffix == ".npy":
        return np.asarray(np.load(data, mmap_mode="r")[:limit])
    by_class = {int(path.name[:4]): path for path in (data / "calib").iterdir()}
    order = [by_class[int(line)] for line in (data / "order.txt").read_text().split()]
    found = images(order[:limit], preprocess=PREPROCESS, batch=64, label_pattern=r"^(\d{4})_", name="calib")
    return np.concatenate([dict(batch.bind(["x"]))["x"] for batch in found])


def pinned_batches(values: AnyArray, name: str) -> Batches:
    """Return the images in page-locked memory, cut into batches without a copy."""
    block = pinned(values.shape)
    block[...] = values
    return [{name: block[i : i + BATCH]} for i in range(0, len(block), BATCH)]


def in_parts(engine: Any, batches: Batches, plan: Plan) -> tuple[dict[str, float], dict[str, Histogram]]:
    """Do by hand what `collect` does, without its hashing and stacking, and tell the parts."""
    clock, device = Clock(), Device()
    with clock.of("open"):
        counting = DeviceTally(plan.counted)
    name = next(iter(engine.inputs))
    room = device.allocate(batches[0][name].nbytes)
    for batch in batches:
        values = batch[name]
        with clock.of("h2d"):
            device.upload(values, room)
            device.wait()
        with clock.of("run"):
            outputs = engine.run({name: DeviceArray(room.pointer, values.shape, values.dtype, 0, room)})
        with clock.of("count"):
            _count(counting, outputs, plan.counted)
    with clock.of("finish"):
        tallies = counting.finish()
    with clock.of("fold"):
        found = derive_histograms(tallies, plan)
    counting.close()
    return clock.seconds, found


def _count(counting: DeviceTally, outputs: Mapping[str, Any], tensors: Iterable[str]) -> None:
    for tensor in tensors:
        counting.add(tensor, outputs[tensor])
    counting.totals()


def wrong_counts(engine: Any, batches: Batches, plan: Plan) -> dict[str, list[str]]:
    """Count two batches' activations on both sides; return the tensors that differ, counted and derived ones apart."""
    counting, here = DeviceTally(plan.wanted), {tensor: Tally() for tensor in plan.wanted}
    for batch in batches:
        outputs = engine.run(batch)
        _count(counting, outputs, plan.wanted)
        for tensor, tally in here.items():
            tally.add(on_host(outputs[tensor]))
    there = counting.finish()
    counting.close()
    derived = derive_histograms({tensor: here[tensor] for tensor in plan.counted}, plan)
    return {
        "counted": [t for t in plan.wanted if t not in there or not same(there[t], here[t])],
        "derived": [t for t in plan.rules if derived[t] != Histogram.from_tally(here[t])],
    }


def same(one: Tally, two: Tally) -> bool:
    names = ("zeros", "nan", "negative_infinite", "positive_infinite", "low", "high")
    return np.array_equal(one.slots, two.slots) and all(
        repr(float(getattr(one, name))) == repr(float(getattr(two, name))) for name in names
    )


def measured(engine: Any, batches: Batches) -> dict[str, Any]:
    """Return every figure of an open engine; the first collection compiles the kernel and opens a context."""
    plan = plan_counting(engine, tensorrt=False)
    options = CollectOptions(budget=BUDGET)
    clock = Clock()
    with clock.of("first"):
        found = collect(engine, batches, options=options)
    for number in range(ROUNDS):
        with clock.of(str(number)):
            collect(engine, batches, options=options)
    first, *walls = clock.seconds.values()
    say(f"collections: the first {first:.3f} s, then {[round(wall, 3) for wall in walls]} s")
    parts = [in_parts(engine, batches, plan) for _ in range(ROUNDS)]
    say(f"parts {parts[-1][0]}")
    wrong = wrong_counts(engine, batches[:2], plan)
    say(f"tensors that differ from the CPU's count: {wrong}")
    counted = [h for t, h in found.items() if isinstance(h, Histogram) and t in plan.counted]
    return {
        "collect_seconds": statistics.median(walls),
        "collect_seconds_each": walls,
        "first_collect_seconds": first,
        "parts_seconds": {k: statistics.median(p[0][k] for p in parts) for k in parts[0][0]},
        "parts_total_seconds": statistics.median(sum(p[0].values()) for p in parts),
        "parts_differ_from_collect": [t for t in plan.wanted if parts[-1][1][t] != found[t]],
        "tensors": len(plan.wanted),
        "counted": len(plan.counted),
        "values_counted": sum(h.total + h.nonfinite for h in counted),
        "compared_on_cpu": {"batches": len(batches[:2]), "tensors": len(plan.wanted)},
        "differ_from_cpu_count": wrong["counted"],
        "differ_from_derivation": wrong["derived"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=512)
    parser.add_argument("--timing-cache")
    asked = parser.parse_args()
    values = preprocessed(asked.data, asked.limit)
    say(f"images {values.shape}")
    start = time.perf_counter()
    options = BuildOptions(timing_cache=asked.timing_cache)
    with engines.trt(asked.model, expose="all", on_device=True, options=options) as engine:
        built = time.perf_counter() - start
        say(f"built in {built:.1f} s: {len(engine.outputs)} outputs")
        batches = pinned_batches(values, next(iter(engine.inputs)))
        figures = {
            "model": engine.model_name,
            "images": len(values),
            "batch": BATCH,
            "build_seconds": built,
            "device": Device().name,
            "versions": versions(engine.backend),
            **measured(engine, batches),
        }
    asked.out.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    say(f"collect: {figures['collect_seconds']:.3f} s (median of {ROUNDS})")


if __name__ == "__main__":
    main()
