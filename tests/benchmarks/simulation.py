"""The CPU simulation beside recorded logits of real TensorRT 8.6 engines: `python -m tests.benchmarks.simulation`.

`--tables` names the folder that `python -m tests.gpu.prepare lite0` filled; without it, its tables are made again.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx

from quantlab import engines
from quantlab.builder import quantize
from quantlab.calibration.calibrate import calibrate
from quantlab.calibration.methods.names import parse_method
from quantlab.calibration.scale_table import ScaleTable
from quantlab.collector.collect import collect
from quantlab.engines.engine import Engine
from quantlab.graph.model import Model, load_model
from quantlab.numerics.arrays import F32, AnyArray
from quantlab.storage.files import load
from quantlab.storage.scale_table_json import write_scale_table
from tests.benchmarks.figures import reference, write_figures
from tests.benchmarks.sample import calibration, evaluation, network
from tests.gpu.logits import read_logits
from tests.gpu.prepare import table_path
from tests.gpu.variants import CHOSEN, METHOD, QDQ

RECORDED = Path(__file__).parents[2] / "reports" / "gpu"
GOLDEN = "qdq_w8"
"""The engine of a Q/DQ model that ONNX Runtime wrote."""

ENGINES = {**{name: name for name in QDQ}, "cache": "qdq_head_int8"}
"""Recorded engine → the Q/DQ model that is simulated; a cache's network is quantized implicitly, head included."""

IDENTICAL = 55.0
"""dB above which logits differ by no more than float16 keeps of them; the next lower images are at 40."""

TIMED = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=Path, help="folder of scale tables")
    asked = parser.parse_args()
    root = reference()
    with TemporaryDirectory() as folder:
        tables = asked.tables or _tables(root, Path(folder))
        models = {name: _qdq(root, tables, name) for name in QDQ}
    models[GOLDEN] = load_model(root / "golden" / "trt-8.6" / f"efficientnet_lite0.{GOLDEN}.onnx")
    names, inputs = _images(root)
    figures: dict[str, tuple[float | int | str, str]] = {"images": (len(names), "images")}
    found = {name: _logits(engines.simulation(model, threads=1), inputs) for name, model in models.items()}
    plain = {name: _logits(engines.ort(model, optimize=False, threads=1), inputs) for name, model in models.items()}
    recorded = {name: read_logits(RECORDED, "lite0", name)[1]["logits"] for name in ENGINES}
    recorded[GOLDEN] = _golden(root, names)
    for name, exact in recorded.items():
        model = ENGINES.get(name, name)
        for kind, values in {"simulation": found[model], "Q/DQ unoptimized": plain[model]}.items():
            figures |= {f"{name}, {kind}: {what}": figure for what, figure in _distance(exact, values).items()}
    between = _distance(recorded["qdq_head_int8"], recorded["cache"])
    figures |= {f"engine qdq_head_int8 beside engine cache: {what}": figure for what, figure in between.items()}
    figures |= _seconds(root, models["qdq"], inputs)
    write_figures("simulation", "python -m tests.benchmarks.simulation", figures)


def _tables(root: Path, folder: Path) -> Path:
    with engines.ort(network(root), expose="all") as engine:
        histograms = collect(engine, calibration(root))
    for method in (METHOD, CHOSEN):
        write_scale_table(table_path(folder, "lite0", method), calibrate(histograms, parse_method(method)))
    return folder


def _qdq(root: Path, tables: Path, name: str) -> Model:
    table = load(table_path(tables, "lite0", CHOSEN if name == "qdq_chosen" else METHOD))
    assert isinstance(table, ScaleTable)
    return quantize(network(root), table, options=QDQ[name]).model


def _images(root: Path) -> tuple[tuple[str, ...], F32]:
    batches = [*calibration(root), *evaluation(root)]
    names = tuple(Path(name).name for batch in batches for name in batch.names)
    return names, np.concatenate([batch.bind(["input"])["input"] for batch in batches])


def _golden(root: Path, names: tuple[str, ...]) -> AnyArray:
    with np.load(root / "golden" / "trt-8.6" / "logits.npz") as file:
        row = {int(image): place for place, image in enumerate(file["image"])}
        return np.asarray(file[GOLDEN][[row[int(name[:4])] for name in names]])


def _logits(engine: Engine, inputs: F32) -> F32:
    with engine:
        return np.concatenate([engine.run({"input": one[None]})["logits"].copy() for one in inputs])


def _distance(exact: AnyArray, values: AnyArray) -> Mapping[str, tuple[float, str]]:
    same = exact.astype(np.float16).argmax(axis=1) == values.astype(np.float16).argmax(axis=1)  # as recorded: ties
    one, two = exact.astype(np.float64), values.astype(np.float64)
    signal, noise = (one**2).sum(axis=1), np.maximum(((one - two) ** 2).sum(axis=1), 1e-30)
    return {
        "top-1 agreement": (float(same.mean()), "share"),
        "logit SQNR": (float(10 * np.log10(signal.sum() / noise.sum())), "dB"),
        "identical images": (float((10 * np.log10(signal / noise) > IDENTICAL).mean()), "share"),
    }


def _seconds(root: Path, model: Model, inputs: F32) -> dict[str, tuple[float | int | str, str]]:
    ways = {
        "FP32": engines.ort(onnx.load(str(network(root))), threads=1),
        "Q/DQ unoptimized": engines.ort(model, optimize=False, threads=1),
        "simulation": engines.simulation(model, threads=1),
    }
    return {f"{way}: one image at a time": (_milliseconds(engine, inputs), "CPU ms") for way, engine in ways.items()}


def _milliseconds(engine: Engine, inputs: F32) -> float:
    """Return the processor time of an image, the least of three passes: on a shared machine others disturb."""
    batches = [{"input": one[None]} for one in inputs[:TIMED]]
    passes = []
    with engine:
        for _ in range(4):
            started = time.process_time()
            for batch in batches:
                engine.run(batch)
            passes.append(time.process_time() - started)
    return 1000 * min(passes[1:]) / len(batches)


if __name__ == "__main__":
    main()
