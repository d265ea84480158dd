"""Simulates the INT8 engines on the CPU and says who is to blame for what each loses, from the logits that a GPU left.

    python -m tests.gpu.blame FOLDER --model efficientnet_lite0.onnx --calibration calib/ --evaluation eval/ --tables TABLES

It needs no GPU: FOLDER holds `lite0.NAME.logits.npz` of `tests.gpu.measure`. TensorRT's own scales come from its caches there.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from quantlab import engines
from quantlab.atomic import atomic_path
from quantlab.builder import quantize
from quantlab.calibration.trt_cache import parse_cache, table_of
from quantlab.comparison.comparison import CompareOptions
from quantlab.comparison.recording import Recording, record
from quantlab.comparison.three_way import Road, ThreeWay, three_way
from quantlab.engines.engine import Engine
from tests.gpu.logits import read_logits
from tests.gpu.subjects import LITE0, Images
from tests.gpu.variants import NATIVE, OURS, QDQ, Bench

FP32 = "fp32"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    for name in ("model", "calibration", "evaluation", "tables"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--limit", type=int, help="as it was given to measure")
    asked = parser.parse_args()
    images = Images.read(LITE0, asked.calibration, asked.evaluation, asked.limit)
    with engines.ort(asked.model) as engine:
        reference = record(engine, images.both)
    found: dict[str, ThreeWay] = {}
    with TemporaryDirectory() as scratch:  # for the Q/DQ models: the folder is for what a GPU left
        bench = Bench(LITE0, asked.model, images, asked.tables, (), Path(scratch))
        for name, simulation in _simulations(bench, asked.folder):
            with simulation:
                fp32, int8 = (recorded(asked.folder, reference, images, kind).engine() for kind in (FP32, name))
                road = Road(reference=reference.engine(), fp32=fp32, simulation=simulation, int8=int8)
                found[name] = three_way(road, images.both, options=CompareOptions(final=False))
            sys.stdout.write(f"{name}: {found[name].verdict}. {found[name].sentence}\n")
    text = json.dumps({name: _short(part) for name, part in found.items()}, ensure_ascii=False, indent=1)
    with atomic_path(asked.folder / "lite0.three_way.json") as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def _short(found: ThreeWay) -> dict[str, object]:
    """Return the verdict and the figures that it rests on, without the images that differ."""
    steps = {"build": found.build, "scales": found.scales, "engine": found.engine, "whole": found.whole}
    return {
        "verdict": found.verdict,
        "sentence": found.sentence,
        "sqnr_db": {name: [error.sqnr_db for error in step.outputs] for name, step in steps.items()},
        "agreement": {name: step.agreement.score for name, step in steps.items()},
        "samples": found.whole.samples,
    }


def recorded(folder: Path, reference: Recording, images: Images, name: str) -> Recording:
    """Return an engine's logits on the images that the reference answered, whose order is checked by their names."""
    names, logits = read_logits(folder, "lite0", name)
    if names != images.both.names:
        sys.exit(f"The logits of {name} are of other images, or in another order.")
    outputs = {key: values.astype(np.float32) for key, values in logits.items()}
    return Recording(reference.inputs, outputs, reference.keys, reference.model_digest, name, f"recorded {name}")


def _simulations(bench: Bench, folder: Path) -> Iterator[tuple[str, Engine]]:
    for name in (*OURS, *NATIVE):
        if not (folder / f"lite0.{name}.logits.npz").exists():
            continue
        simulation = bench.simulation(name)
        cache = folder / f"lite0.{name}.cache"
        if simulation is None and cache.exists():
            table = table_of(parse_cache(cache.read_text(encoding="utf-8")))
            built = quantize(bench.model, table, options=QDQ["qdq"])
            simulation = engines.ort(built.model, optimize=False)
        if simulation is not None:
            yield name, simulation


if __name__ == "__main__":
    main()
