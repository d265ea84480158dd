"""ONNX Runtime's own calibrators beside quantlab on the same images: `python -m tests.benchmarks.peers`.

Each runs in a process of its own; CPU times are ratios to plain inference of the same images.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.figures import reference, write_figures
from tests.benchmarks.sample import calibration, network

IMAGES = 64
_BATCH = 8


def _batches(order: int = 1) -> list[dict[str, Any]]:
    batches = [dict(b.bind(["input"])) for b in calibration(reference(), limit=IMAGES, batch=_BATCH)]
    return batches[::order]


def _ort(method: str, order: int = 1) -> dict[str, float]:
    from onnxruntime.quantization.calibrate import CalibrationDataReader, CalibrationMethod, create_calibrator

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left: Iterator[dict[str, Any]] = iter(_batches(order))

        def get_next(self) -> dict[str, Any] | None:
            return next(self._left, None)

    with tempfile.TemporaryDirectory() as folder:
        calibrator = create_calibrator(
            network(reference()),
            ["Conv", "Gemm", "Clip", "Add"],
            augmented_model_path=str(Path(folder) / "augmented.onnx"),
            calibrate_method=CalibrationMethod[method],
            extra_options={"num_bins": 2048, "num_quantized_bins": 128} if method == "Entropy" else {},
        )
        reader = Reader()
        start = time.process_time()
        calibrator.collect_data(reader)
        collecting = time.process_time() - start
        start = time.process_time()
        found = calibrator.compute_data()
    return {
        "cpu": collecting,
        "search": time.process_time() - start,
        "tensors": len(found.data),
        "sum": float(sum(float(np.max(v.range_value[1])) for v in found.data.values())),
    }


def _quantlab(_method: str, order: int = 1) -> dict[str, float]:
    from quantlab import engines
    from quantlab.calibration.calibrate import calibrate
    from quantlab.calibration.methods.entropy import Entropy
    from quantlab.collector.collect import collect

    batches = _batches(order)
    with engines.ort(network(reference()), expose="all") as engine:
        collect(engine, batches[:1])
        start = time.process_time()
        histograms = collect(engine, batches)
        collecting = time.process_time() - start
    calibrate(dict(list(histograms.items())[:1]), Entropy())
    start = time.process_time()
    table = calibrate(histograms, Entropy())
    return {
        "cpu": collecting,
        "search": time.process_time() - start,
        "tensors": len(table),
        "sum": sum(row.amax for row in table.rows),
    }


def _plain(_method: str, _order: int = 1) -> dict[str, float]:
    from quantlab import engines

    batches = _batches()
    with engines.ort(network(reference())) as engine:
        engine.run(batches[0])
        start = time.process_time()
        for batch in batches:
            engine.run(batch)
    return {"cpu": time.process_time() - start}


def _child(who: str, method: str, order: str) -> None:
    result = {"ort": _ort, "quantlab": _quantlab, "plain": _plain}[who](method, int(order))
    result["mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.stdout.write(json.dumps(result) + "\n")


def _run(who: str, method: str = "", order: int = 1) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.benchmarks.peers", who, method, str(order)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    plain = _run("plain")
    figures: dict[str, tuple[float | int | str, str]] = {"images": (IMAGES, "")}
    for who, method in (("quantlab", ""), ("ort", "MinMax"), ("ort", "Entropy"), ("ort", "Percentile")):
        name = f"{who} {method}".strip()
        there, back = _run(who, method), _run(who, method, -1)
        figures |= {
            f"{name}: CPU of collecting / plain inference": (there["cpu"] / plain["cpu"], "ratio"),
            f"{name}: threshold search": (1e3 * there["search"] / there["tensors"], "CPU ms a tensor"),
            f"{name}: peak memory": (there["mib"], "MiB"),
            f"{name}: same thresholds with the batches reversed": (str(there["sum"] == back["sum"]).lower(), ""),
        }
    write_figures("peers", "python -m tests.benchmarks.peers", figures)


if __name__ == "__main__":
    if len(sys.argv) == 4:
        _child(*sys.argv[1:])
    else:
        main()
