"""Collecting on a network of 2,000 activations, and on one whose weights are 3 GB in a file beside it: time and memory.

Run as `python -m tests.benchmarks.large_models`; it needs 3.1 GB of disk for the time of the run and writes
reports/figures/large_models.json.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.benchmarks.figures import write_figures

TENSORS, CHANNELS = 2000, 8
LAYERS, WIDTH = 12, 8000
_CHILD = """
import json, resource, sys, time
import numpy as np
import quantlab as ql
path, shape = sys.argv[1], json.loads(sys.argv[2])
rng = np.random.default_rng(0)
batches = [{"x": rng.standard_normal((8, *shape), dtype=np.float32)} for _ in range(4)]
start, cpu = time.perf_counter(), time.process_time()
with ql.engines.ort(path, expose="all") as engine:
    opened = time.perf_counter() - start
    found = ql.collect(engine, batches)
table = ql.calibrate(found, ql.SquaredError())
print(json.dumps({
    "tensors": len(table), "opened": opened, "seconds": time.perf_counter() - start, "cpu": time.process_time() - cpu,
    "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
}))
"""


def many_tensors(path: Path) -> tuple[int, ...]:
    """Write a chain of 1 × 1 convolutions and Relu with 2,000 activations; return a sample's shape."""
    rng = np.random.default_rng(0)
    nodes, stored, last = [], [], "x"
    for i in range(TENSORS // 2):
        weight = rng.standard_normal((CHANNELS, CHANNELS, 1, 1), dtype=np.float32) / np.sqrt(CHANNELS / 2)
        stored.append(numpy_helper.from_array(weight.astype(np.float32), f"w{i}"))
        nodes.append(helper.make_node("Conv", [last, f"w{i}"], [f"c{i}"], f"conv{i}"))
        nodes.append(helper.make_node("Relu", [f"c{i}"], [f"r{i}"], f"relu{i}"))
        last = f"r{i}"
    _save(path, nodes, stored, ("N", CHANNELS, 16, 16), last)
    return (CHANNELS, 16, 16)


def much_weight(path: Path) -> tuple[int, ...]:
    """Write twelve fully connected layers, 256 MB each, their weights in one file beside the model."""
    rng = np.random.default_rng(0)
    nodes, stored, last, offset = [], [], "x", 0
    with (path.parent / "weights.bin").open("wb") as file:
        for i in range(LAYERS):
            values = rng.standard_normal((WIDTH, WIDTH), dtype=np.float32) / np.float32(np.sqrt(WIDTH / 2))
            file.write(values.tobytes())
            tensor = TensorProto(name=f"w{i}", data_type=TensorProto.FLOAT, dims=values.shape)
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (("location", "weights.bin"), ("offset", offset), ("length", values.nbytes)):
                tensor.external_data.add(key=key, value=str(value))
            offset += values.nbytes
            stored.append(tensor)
            nodes.append(helper.make_node("MatMul", [last, f"w{i}"], [f"m{i}"], f"matmul{i}"))
            nodes.append(helper.make_node("Relu", [f"m{i}"], [f"r{i}"], f"relu{i}"))
            last = f"r{i}"
    _save(path, nodes, stored, ("N", WIDTH), last)
    return (WIDTH,)


def _save(
    path: Path, nodes: list[onnx.NodeProto], stored: list[TensorProto], shape: tuple[int | str, ...], last: str
) -> None:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", last)]
    graph = helper.make_graph(nodes, path.stem, ends[:1], ends[1:], stored)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(made.SerializeToString())


def measured(path: Path, shape: tuple[int, ...]) -> dict[str, float]:
    """Return what collecting 32 samples takes, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, str(path), json.dumps(shape)], check=True, capture_output=True, text=True
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    figures: dict[str, tuple[float | int | str, str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, write in (("2,000 tensors", many_tensors), ("3 GB of external weights", much_weight)):
            path = Path(folder) / f"{write.__name__}.onnx"
            shape = write(path)
            size = sum(file.stat().st_size for file in Path(folder).iterdir()) / 2**20
            found = measured(path, shape)
            figures |= {
                f"{name}: files": (round(size, 1), "MiB"),
                f"{name}: tensors collected and calibrated": (found["tensors"], "tensors"),
                f"{name}: opening the engine": (round(found["opened"], 2), "s"),
                f"{name}: all, 32 samples": (round(found["seconds"], 2), "s"),
                f"{name}: CPU": (round(found["cpu"], 2), "s"),
                f"{name}: peak memory": (round(found["peak"]), "MiB"),
            }
    write_figures("large_models", "python -m tests.benchmarks.large_models", figures)


if __name__ == "__main__":
    main()
