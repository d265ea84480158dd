"""One plan for images of two sizes: its scales from quantlab over both, or from TensorRT's own calibration at one of them.

    python -m tests.gpu.shapes --model yolov3_tiny.onnx --calibration calib/ --evaluation eval/ --out FOLDER \\
        [--timing-cache FILE] [--engines ort]

The network's height and width are made free. Of the same images at 320×320 and 416×416 quantlab's histograms are merged;
TensorRT calibrates at one shape, so its MinMax calibration runs once at each. Each table is simulated on the CPU beside it.
`shapes.json` is written after every step, and what fails stands in it. `--engines ort` needs no GPU: simulations alone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx

from quantlab import engines
from quantlab.builder import QuantizeOptions, quantize
from quantlab.caches.tensors import cache_tensors, with_aliases
from quantlab.calibration.calibrate import calibrate
from quantlab.calibration.histogram_set import HistogramSet
from quantlab.calibration.methods.names import parse_method
from quantlab.calibration.scale_table import ScaleTable
from quantlab.calibration.trt_cache import cache_of, header, parse_cache
from quantlab.collector.collect import collect
from quantlab.data import Preprocess, images
from quantlab.data.batch import Batch
from quantlab.engines.cuda.memory import Device
from quantlab.engines.engine import Engine
from quantlab.engines.tensorrt.build_options import BuildOptions, FromCache, NativeCalibration, Profile
from quantlab.engines.tensorrt.engine import TrtEngine
from quantlab.engines.tensorrt.runtime import library
from quantlab.errors import QuantlabError
from quantlab.graph.model import load_model
from quantlab.numerics.arrays import F32
from quantlab.numerics.error_sums import ErrorSums
from quantlab.versions import versions
from tests.gpu.detection import GREY, SIDE, box_agreement
from tests.gpu.measure import say, write
from tests.gpu.shape_ranges import Ranges, across, gap
from tests.gpu.subjects import INPUT, InMemory, ordered
from tests.gpu.variants import TARGET

SIDES = (320, 416)
PHOTO = 224 / SIDE
"""The photo's share of a side, the rest is grey: filling it, the network would find next to nothing."""
BATCH = 8
CALIBRATION, EVALUATION = 64, 32
HEADS = ("coarse", "fine")
COLUMNS = ("coarse_sqnr_db", "fine_sqnr_db", "ap50", "same_top_class")

Figures: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Bench:
    """The network with free height and width; by side its images, its histograms and each amax that TensorRT found."""

    model: onnx.ModelProto
    calibration: Mapping[int, InMemory]
    evaluation: Mapping[int, InMemory]
    timing_cache: str | None
    rehearsal: bool
    histograms: dict[int, HistogramSet] = field(default_factory=dict)
    native: dict[int, Ranges] = field(default_factory=dict)

    def table(self, *sides: int, method: str = "squared-error") -> ScaleTable:
        """Return scales over the histograms of these sides."""
        merged = self.histograms[sides[0]]
        for side in sides[1:]:
            merged = merged.merge(self.histograms[side])
        return calibrate(merged, parse_method(method))

    def options(self, calibrated: int | None = None) -> BuildOptions:
        """Return options for one profile from one small image to eight large ones, calibrated at a side's shape."""
        largest = shape(SIDES[-1])
        return BuildOptions(
            precision=("fp32", "int8"),
            profiles=(Profile({INPUT: ((1, *shape(SIDES[0])[1:]), largest, largest)}),),
            calibration_profile=Profile.only({INPUT: shape(calibrated)}) if calibrated else None,
            timing_cache=self.timing_cache,
        )

    def openers(self) -> Iterator[tuple[str, Callable[[], Engine]]]:
        """Yield each engine's name and how it is opened, the simulations first."""
        for side in SIDES:
            yield f"simulated, MinMax at {side}", partial(self.simulated, self.table(side, method="minmax"))
        for name, sides in {"320": (320,), "416": (416,), "both": SIDES}.items():
            yield f"simulated, squared error at {name}", partial(self.simulated, self.table(*sides))
        if not self.rehearsal:
            yield "TensorRT, squared error at both", self.from_cache
            yield from ((f"TensorRT's own MinMax at {side}", partial(self.calibrated_at, side)) for side in SIDES)

    def simulated(self, table: ScaleTable) -> Engine:
        return engines.ort(quantize(self.model, table, options=QuantizeOptions(target=TARGET)).model, optimize=False)

    def from_cache(self) -> Engine:
        """Open the plan whose scales are quantlab's over both shapes."""
        table = with_aliases(self.table(*SIDES), cache_tensors(load_model(self.model)).aliases)
        cache = cache_of(table, header(library().version, "EntropyCalibration2"))
        sets = tuple(data.identity for data in self.calibration.values())
        return engines.trt(self.model, options=self.options(), int8=FromCache(cache, sets))

    def calibrated_at(self, side: int) -> Engine:
        """Open the plan that TensorRT calibrates at one shape, and keep the scales that it found."""
        source = NativeCalibration(algorithm="minmax", batches=self.calibration[side], batch=BATCH)
        engine = engines.trt(self.model, options=self.options(side), int8=source)
        self.native[side] = {name: 127 * s for name, s in parse_cache(engine.plan.cache).scales.items() if s > 0}
        return engine

    def ranges(self) -> Figures:
        """Return every amax by calibrator and shape, and what follows from them."""
        ours = {side: _amax(self.table(side, method="minmax")) for side in SIDES}
        found: dict[str, Mapping[int, Ranges]] = {"quantlab": ours, "tensorrt": self.native}
        return {
            "exceeded": {who: across(amax) for who, amax in found.items() if len(amax) == len(SIDES)},
            "tensorrt_against_quantlab": {side: gap(amax, ours[side]) for side, amax in self.native.items()},
            "amax": {**found, "chosen over both": _amax(self.table(*SIDES))},
        }


def main() -> None:
    asked = _arguments()
    asked.out.mkdir(parents=True, exist_ok=True)
    calibration, scored_on = ordered(asked.calibration)[:CALIBRATION], sorted(asked.evaluation.iterdir())
    evaluation = scored_on[:: max(len(scored_on) // EVALUATION, 1)][:EVALUATION]
    bench = Bench(
        freed(onnx.load(asked.model)),
        {side: photos(calibration, side) for side in SIDES},
        {side: photos(evaluation, side) for side in SIDES},
        asked.timing_cache,
        asked.engines == "ort",
    )
    document: Figures = {
        "command": ["python", "-m", "tests.gpu.shapes", *(Path(word).name for word in sys.argv[1:])],
        "rehearsal": bench.rehearsal,
        "device": None if bench.rehearsal else Device().name,
        "onnx": f"sha256:{hashlib.sha256(asked.model.read_bytes()).hexdigest()}",
        "calibration_images": {side: len(data) for side, data in bench.calibration.items()},
        "profile": bench.options().profiles[0].shapes,
        "engines": {},
    }

    def keep(**found: object) -> None:
        document.update(found)
        write(asked.out / "shapes.json", json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False))

    keep()
    with engines.ort(bench.model) as engine:
        exact = {side: heads(engine, bench.evaluation[side]) for side in SIDES}
    keep(collecting={side: collected(bench, side) for side in SIDES})
    say(f"{'engine':34} side" + "".join(f"{key:>16}" for key in COLUMNS))
    for name, opener in bench.openers():
        document["engines"][name] = scored(name, bench, opener, exact)
        ran = document["engines"][name].pop("versions", {})
        keep(ranges=bench.ranges(), versions=document.get("versions", {}) | ran)


def freed(model: onnx.ModelProto) -> onnx.ModelProto:
    """Free height and width of all inputs and outputs; the operators do not depend on them."""
    for value in (*model.graph.input, *model.graph.output):
        for dimension, name in zip(value.type.tensor_type.shape.dim[2:], ("height", "width"), strict=True):
            dimension.dim_param = name if value.name == INPUT else f"{value.name}_{name}"
    del model.graph.value_info[:]
    return model


def shape(side: int) -> tuple[int, ...]:
    return (BATCH, 3, side, side)


def photos(paths: list[Path], side: int) -> InMemory:
    """Return the photos in the middle of grey squares of this side."""
    photo = round(PHOTO * side)
    read = images(paths, preprocess=Preprocess(resize=(photo, photo), scale=1 / 255), batch=BATCH, input=INPUT)
    before = (side - photo) // 2
    border = ((0, 0), (0, 0), *((before, side - photo - before),) * 2)
    grey = np.float32(GREY) / np.float32(255)
    batches = (Batch({INPUT: np.pad(b[INPUT], border, constant_values=grey)}, names=b.names) for b in read)
    return InMemory(read.identity, tuple(batches))


def heads(engine: Engine, data: Iterable[Batch]) -> tuple[F32, ...]:
    """Return the coarse and the fine head of all images."""
    parts = [[np.array(head) for head in engine.run(batch).values()] for batch in data]
    return tuple(np.concatenate(part) for part in zip(*parts, strict=True))


def collected(bench: Bench, side: int) -> Figures:
    """Count every float activation at one shape."""
    start = time.perf_counter()
    with engines.ort(bench.model, expose="all") as engine:
        bench.histograms[side] = collect(engine, bench.calibration[side])
    return {"tensors": len(bench.histograms[side]), "seconds": time.perf_counter() - start}


def scored(name: str, bench: Bench, opener: Callable[[], Engine], exact: Mapping[int, tuple[F32, ...]]) -> Figures:
    """Return one engine's figures at both shapes; a refusal is a result too, and the others still run."""
    start = time.perf_counter()
    try:
        with opener() as engine:
            found: Figures = {"build_seconds": time.perf_counter() - start, "versions": versions(engine.backend)}
            found["notes"] = engine.plan.card.notes if isinstance(engine, TrtEngine) else ()
            for side in SIDES:
                found[str(side)] = agreement(exact[side], heads(engine, bench.evaluation[side]))
                say(row(name, side, found[str(side)]))
    except QuantlabError as error:
        say(f"{name}: NOT MEASURED: {error}")
        return {"failed": str(error)}
    return found | {"seconds": time.perf_counter() - start}


def agreement(exact: tuple[F32, ...], got: tuple[F32, ...]) -> Figures:
    """Return each head's SQNR and how far the boxes agree; None is what has no number."""
    found = {f"{name}_sqnr_db": ErrorSums.of(e, g).sqnr_db for name, e, g in zip(HEADS, exact, got, strict=True)}
    return {key: value if math.isfinite(value) else None for key, value in (found | box_agreement(exact, got)).items()}


def row(name: str, side: object, found: Figures) -> str:
    """Return one line of the printed table."""
    cells = ["-" if found[key] is None else f"{found[key]:.3f}" for key in COLUMNS]
    return f"{name:34}{side:>5}" + "".join(f"{cell:>16}" for cell in cells)


def _amax(table: ScaleTable) -> Ranges:
    return {row.tensor: row.amax for row in table.rows}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--model", "--calibration", "--evaluation", "--out"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--timing-cache", help="file that builds share")
    parser.add_argument("--engines", choices=("trt", "ort"), default="trt")
    return parser.parse_args()


if __name__ == "__main__":
    main()
