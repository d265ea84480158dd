"""A folder with a small real network and data for it, and the command line to work there."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from quantlab.cli.main import main

PREPROCESS = '{"color": "GRAY", "scale": "1/255", "mean": 0.5, "std": 0.25}'
DECLARED = ("--preprocess", PREPROCESS)
_NET = """
<ir_version: 8, opset_import: ["" : 17]>
tiny (float[batch,1,8,8] image) => (float[batch,4] logits) {
  a = Conv <pads = [1,1,1,1]> (image, w1, b1)
  b = Relu (a)
  c = Conv <pads = [1,1,1,1]> (b, w2, b2)
  d = Relu (c)
  e = GlobalAveragePool (d)
  f = Flatten (e)
  logits = Gemm <transB = 1> (f, w3, b3)
}
"""
_SHAPES = {"w1": (6, 1, 3, 3), "b1": (6,), "w2": (8, 6, 3, 3), "b2": (8,), "w3": (4, 8), "b3": (4,)}


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one object on stdout."""
        return json.loads(self.out)


def quantlab(*arguments: object) -> Ended:
    """Run the command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    with patch.object(sys, "argv", ["quantlab", *map(str, arguments)]), redirect_stdout(out), redirect_stderr(err):
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
    return Ended(code, out.getvalue(), err.getvalue())


def quantlab_process(*arguments: object, before: str = "", cwd: Path | None = None) -> Ended:
    """Run the command line in a process of its own, after the Python lines `before`."""
    program = f"{before}\nimport sys\nfrom quantlab.cli.main import main\nsys.argv[0] = 'quantlab'\nmain()\n"
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, timeout=120)
    return Ended(done.returncode, done.stdout, done.stderr)


def done(*arguments: object) -> Ended:
    """Run the command line and expect success."""
    ended = quantlab(*arguments)
    assert ended.code == 0, ended.err
    return ended


def refused(code: int, *arguments: object) -> str:
    """Run the command line, expect one sentence and nothing on stdout, and return the sentence."""
    ended = quantlab(*arguments)
    assert ended.code == code, (ended.code, ended.err)
    assert ended.out == ""
    assert ended.err.startswith("Error: ")
    assert ended.err.count("\n") == 1, ended.err
    assert "Traceback" not in ended.err
    return ended.err


def network(seed: int = 0) -> onnx.ModelProto:
    """Return the network, its weights drawn from a seed."""
    proto = onnx.parser.parse_model(_NET)
    draw = np.random.default_rng(seed)
    weights = {name: draw.normal(size=shape).astype(np.float32) for name, shape in _SHAPES.items()}
    proto.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in weights.items())
    return proto


def write_set(path: Path, proto: onnx.ModelProto, samples: int, seed: int) -> None:
    """Write images with the network's own answers as labels."""
    images = np.random.default_rng(seed).integers(0, 256, (samples, 8, 8, 1), dtype=np.uint8)
    values = (images.transpose(0, 3, 1, 2).astype(np.float32) / 255 - 0.5) / 0.25
    (logits,) = map(np.asarray, ReferenceEvaluator(proto).run(None, {"image": values}))
    np.savez(path, image=images, label=logits.argmax(1), index=np.arange(samples))


def furnish(folder: Path) -> Path:
    """Put model and data into a folder, and a job for them."""
    proto = network()
    onnx.save(proto, folder / "model.onnx")
    onnx.save(network(1), folder / "other.onnx")
    for seed, (name, samples) in enumerate((("calibration", 24), ("tuning", 20), ("evaluation", 40))):
        write_set(folder / f"{name}.npz", proto, samples, seed)
    (folder / "job.yaml").write_text(
        f"model: model.onnx\noutput: run\npreprocess: {PREPROCESS}\n"
        "data: {calibration: calibration.npz, tuning: tuning.npz, evaluation: evaluation.npz}\n"
        "methods: [minmax, squared-error]\nchoose: best\ncache: {}\nort: true\n"
    )
    return folder


def tree(folder: Path) -> dict[str, int]:
    """Return every file below a folder with the time it was last written."""
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in sorted(folder.rglob("*")) if p.is_file()}
