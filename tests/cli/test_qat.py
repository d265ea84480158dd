"""`quantlab qat`, and `quantlab run` that goes there: what they print, write and refuse, and how they go on after a kill."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.cli.workplace import done, quantlab, quantlab_process, refused

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install 'quantlab[qat]'")

from tests.jobs.training_place import furnish, one_thread  # noqa: E402, F401 - a fixture of every test here

WITHOUT_TORCH = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)
sys.meta_path.insert(0, Blocked())
"""


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return furnish(tmp_path_factory.mktemp("training"))


@pytest.fixture
def job(furnished: Path, tmp_path: Path) -> Path:
    """A job in a folder of its own that holds its network and data."""
    return Path(shutil.copytree(furnished, tmp_path / "place")) / "job.yaml"


def test_each_rung_is_a_line_with_what_it_gained_and_cost(job: Path) -> None:
    ended = done("qat", job)
    header, _, ptq, qat, verdict, where = ended.out.splitlines()
    assert header.split()[:3] == ["rung", "┃", "points"]
    assert "misses" in ptq
    assert ptq.split()[-1] == "ptq.qdq.onnx"
    assert "misses" not in qat
    assert qat.split()[-1] == "qat.qdq.onnx"
    assert verdict.startswith("QAT loses ")
    assert where.endswith("report.json has the figures.")
    assert "[4/4] report written" in ended.err
    again = done("qat", job, "--json", "--log-json", job.parent / "log.jsonl").json
    assert (again["best"], set(again["artefacts"].values())) == ("QAT", {False})
    lines = [json.loads(line) for line in (job.parent / "log.jsonl").read_text().splitlines()]
    assert [lines[0]["event"], lines[-2]["event"], lines[-1]["event"]] == ["run begins", "result", "run ended"]
    assert lines[-2]["best"] == "QAT"


def test_a_target_that_is_missed_ends_with_1(job: Path) -> None:
    ended = quantlab("qat", job, "--set", "max_drop=0", "--set", "qat.steps=1")
    assert ended.code == 1
    assert "is missed. Train longer" in ended.out


def test_a_target_that_so_few_samples_cannot_decide_ends_with_3(job: Path) -> None:
    with np.load(job.parent / "evaluation.npz") as whole:
        np.savez(job.parent / "few.npz", **{name: values[:24] for name, values in whole.items()})
    changes = ("data.evaluation=few.npz", "max_drop=0", "qat.steps=1", "qat.rate=1e-9", "qat.scale_rate=0")
    ended = quantlab("qat", job, *(part for change in changes for part in ("--set", change)))
    assert ended.code == 3, ended.out
    assert "is undecided, as the interval holds it and so few samples cannot tell." in ended.out


def test_quiet_prints_nothing(job: Path) -> None:
    ended = done("qat", job, "--quiet")
    assert (ended.out, ended.err) == ("", "")


def test_run_goes_on_to_training_where_too_much_is_lost(job: Path) -> None:
    ended = done("run", job)
    assert "The job names a PyTorch module, so better PTQ and training are tried." in ended.out
    assert "QAT loses " in ended.out
    assert (job.parent / "run/report.html").is_file()
    stored = json.loads((job.parent / "run/qat/report.json").read_text())
    assert stored["best"] == "QAT"
    assert done("run", job, "--json").json["qat"]["rungs"] == stored["rungs"]


def test_run_does_not_train_where_ptq_is_enough(job: Path) -> None:
    found = done("run", job, "--set", "max_drop=100", "--json").json
    assert "qat" not in found
    assert [path.name for path in (job.parent / "run/qat").iterdir() if path.suffix == ".onnx"] == ["float.onnx"]


def test_a_training_that_was_killed_goes_on_to_the_same_model(job: Path) -> None:
    asked = ["qat", str(job), "--set", "qat.epochs=40", "--set", "qat.checkpoint_every=5"]
    command = [sys.executable, "-m", "quantlab", *asked, "--set", "output=killed", "--quiet"]
    running = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    checkpoint = job.parent / "killed/qat/checkpoints/checkpoint.pt"
    while running.poll() is None and not checkpoint.exists():
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    running.wait()
    model = job.parent / "killed/qat/qat.qdq.onnx"
    assert checkpoint.exists()
    assert not model.exists()
    done(*asked, "--set", "output=killed")
    assert json.loads(model.with_name("qat.json").read_text())["resumed_at"] >= 5
    done(*asked, "--set", "output=whole")
    digests = {
        hashlib.sha256((job.parent / f"{name}/qat/qat.qdq.onnx").read_bytes()).digest() for name in ("killed", "whole")
    }
    assert len(digests) == 1


@pytest.mark.parametrize("command", ["qat", "run"])
def test_without_torch_one_sentence_says_what_to_install(job: Path, command: str) -> None:
    ended = quantlab_process(command, job, before=WITHOUT_TORCH)
    assert ended.code == 6
    assert ended.out == ""
    assert ended.err == (
        "Error: quantlab's training and export need PyTorch, which is not installed: pip install 'quantlab[qat]'.\n"
    )


def test_what_is_no_training_job_is_refused(job: Path) -> None:
    assert "has no section `qat`" in refused(2, "qat", job, "--set", "qat=null", "--set", "model=float.onnx")
    assert "field `qat.train`: it is missing" in refused(4, "qat", job, "--set", "qat={module: net.py:build}")
    assert "has no function «nobody»" in refused(4, "qat", job, "--set", "qat.module=net.py:nobody", "--quiet")
