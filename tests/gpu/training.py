"""Whether training changed what an engine costs: the plans of a PTQ and a QAT model of one network, timed in turn.

Run as `python -m tests.gpu.training --ptq lite0.ptq.onnx --qat lite0.qat.onnx --out FIGURES.json` on the models that
`python -m tests.benchmarks.qat.lite0` leaves; `--timing-cache FILE` saves building time. It needs a GPU.
"""

import argparse
import hashlib
import json
import statistics
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from quantlab import engines
from quantlab.engines.cuda.memory import Device
from quantlab.engines.tensorrt.build_options import BuildOptions, Profile
from quantlab.engines.tensorrt.engine import TrtEngine
from quantlab.engines.tensorrt.timing import time_engine
from quantlab.graph.model import load_model
from quantlab.versions import versions

SHAPE = (3, 224, 224)
SIZES = (1, 32, 128)
TURNS = 5
"""Each engine is timed so often, one after the other: what the GPU's clock does in between meets both."""


def main() -> None:
    """Build both, check and time them, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ptq", type=Path, required=True)
    parser.add_argument("--qat", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--timing-cache")
    asked = parser.parse_args()
    paths = {"PTQ": asked.ptq, "QAT": asked.qat}
    name = load_model(asked.ptq).proto.graph.input[0].name
    profiles = tuple(Profile.only({name: (size, *SHAPE)}) for size in SIZES)
    options = BuildOptions(precision=("fp32", "int8"), profiles=profiles, timing_cache=asked.timing_cache)
    with ExitStack() as opened:
        found = {kind: opened.enter_context(engines.trt(path, options=options)) for kind, path in paths.items()}
        times = [
            row for size in SIZES for graph in (False, True) for row in timed(found, name, size, graph=graph)
        ]  # fmt: skip
        document = {
            "command": "python -m tests.gpu.training --ptq PTQ.onnx --qat QAT.onnx --out FIGURES.json",
            "device": Device().name,
            "versions": versions(found["QAT"].backend),
            "models": {kind: f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}" for kind, path in paths.items()},
            "cards": {kind: engine.plan.card.to_json() for kind, engine in found.items()},
            "times": times,
            "against the simulation": {kind: simulated(path, found[kind], name) for kind, path in paths.items()},
        }
    asked.out.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def timed(found: Mapping[str, TrtEngine], name: str, size: int, *, graph: bool) -> list[dict[str, Any]]:
    """Return both engines' median milliseconds of a batch, and QAT's over PTQ's."""
    batch = {name: np.random.default_rng(0).standard_normal((size, *SHAPE), np.float32)}
    turns: dict[str, list[float]] = {kind: [] for kind in found}
    for _ in range(TURNS):
        for kind, engine in found.items():
            turns[kind].append(time_engine(engine, batch, graph=graph).median_ms)
    middle = {kind: statistics.median(values) for kind, values in turns.items()}
    ratio = middle["QAT"] / middle["PTQ"]
    sys.stdout.write(f"batch {size}, {'CUDA graph' if graph else 'launches'}: {middle}, QAT / PTQ {ratio:.4f}\n")
    return [{"batch": size, "graph": graph, "milliseconds": turns, "median": middle, "qat_over_ptq": ratio}]


def simulated(path: Path, engine: TrtEngine, name: str) -> dict[str, float]:
    """Return how far the engine is from the simulation of its model."""
    batch = {name: np.random.default_rng(1).standard_normal((32, *SHAPE), np.float32)}
    with engines.simulation(path) as simulation:
        want, got = (next(iter(one.run(batch).values())) for one in (simulation, engine))
        exact, real = np.array(want, np.float64), np.array(got, np.float64)
    noise = float(np.square(exact - real).sum())
    return {
        "same_class": float(np.mean(exact.argmax(1) == real.argmax(1))),
        "sqnr_db": 10 * float(np.log10(np.square(exact).sum() / max(noise, 1e-30))),
    }


if __name__ == "__main__":
    main()
