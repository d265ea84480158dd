"""Memory beyond the machine's ends as one sentence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

resource = pytest.importorskip("resource", reason="needs limits of a process, which Windows has not")

GROWING = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[n, 4] x) => (float[m, 4] y)
<int64 trips = {40}, bool always = {1}>
{
  y = Loop (trips, always, x) <body = twice (int64 i, bool c, float[a, 4] v) => (bool d, float[b, 4] w)
  { d = Identity (c) w = Concat <axis = 0> (v, v) }>
}
"""


def limits(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]


def test_a_process_may_ask_for_what_the_machine_has() -> None:
    program = (
        "import resource\n{}\nfrom quantlab.cli.memory_bound import bound_memory\nbound_memory()\n"
        "print(resource.getrlimit(resource.RLIMIT_DATA)[0])"
    )
    given = 2**40
    lower = limits(program.format(f"resource.setrlimit(resource.RLIMIT_DATA, ({given}, -1))"))
    assert int(lower) == given, "what somebody set stays"
    most = int(limits(program.format("")))
    assert 2**28 < most < 2**50


def test_a_network_that_doubles_a_tensor_forty_times_ends_as_a_sentence(tmp_path: Path) -> None:
    onnx.save(onnx.parser.parse_model(GROWING), tmp_path / "model.onnx")
    np.savez(tmp_path / "data.npz", x=np.ones((2, 4), np.float32))
    words = ["collect", "model.onnx", "--data", "data.npz", "--expose", "all", "-o", "h.h5"]
    program = f"import sys\nfrom quantlab.cli.main import main\nsys.argv[1:] = {words}\nmain()"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (2**31, 2**31)),
        timeout=120,
    )
    assert done.returncode == 6, done.stderr
    assert "memory" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "h.h5").exists()
