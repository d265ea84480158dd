"""Every command on damaged inputs: one sentence, an exit code, no traceback; and the network is never asked."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from tests.cli.workplace import DECLARED, quantlab, quantlab_process
from tests.fuzz.seeds import furnished

_DATA = ("-d", "@evaluation.npz", *DECLARED)
COMMANDS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "run": (("run", "@job.yaml"), ("job.yaml", "calibration.npz", "model.onnx")),
    "validate": (("job", "validate", "@job.yaml"), ("job.yaml", "calibration.npz", "model.onnx")),
    "explain": (("job", "explain", "@job.yaml"), ("job.yaml", "model.onnx")),
    "verify": (("job", "verify", "@run"), ("run/manifest.json",)),
    "collect": (("collect", "@model.onnx", *_DATA, "-o", "@x.h5"), ("model.onnx", "evaluation.npz")),
    "calibrate": (("calibrate", "@run/histograms.h5", "-o", "@x.json"), ("run/histograms.h5",)),
    "overrides": (
        ("calibrate", "@run/histograms.h5", "--overrides", "@overrides.yaml", "-o", "@x.json"), ("overrides.yaml",)),
    "quantize": (
        ("quantize", "@model.onnx", "@run/scales.json", "-o", "@x.onnx"), ("model.onnx", "run/scales.json")),
    "compare": (
        ("compare", "@model.onnx", "@run/model.int8.onnx", *_DATA, "-o", "@x.json"),
        ("model.onnx", "run/model.int8.onnx", "evaluation.npz")),
    "labels": (
        ("compare", "@model.onnx", "@run/model.int8.onnx", *_DATA, "--labels", "@labels.csv", "--metric", "top:1", "-o", "@x.json"),
        ("labels.csv",)),
    "tune": (("tune", "@model.onnx", *_DATA, "-o", "@x"), ("model.onnx", "evaluation.npz")),
    "diagnose": (("diagnose", "@model.onnx", *_DATA), ("model.onnx", "evaluation.npz")),
    "regress": (
        ("regress", "--baseline", "@run", "--candidate", "@again", "--policy", "@policy.yaml"),
        ("policy.yaml", "run/compare.json", "again/compare.samples.h5", "run/scales.json")),
    "report": (
        ("report", "@again", "-o", "@x.html"),
        ("again/compare.json", "again/scales.json", "again/histograms.h5", "again/run.json", "again/manifest.json")),
    "history": (("history", "list", "--history", "@history"), ("history/runs.sqlite",)),
    "remember": (("history", "add", "@run", "--history", "@new"), ("run/compare.json",)),
    "lint": (("lint", "@run/model.int8.onnx"), ("run/model.int8.onnx",)),
    "show": (("cache", "show", "@run/calibration.cache"), ("run/calibration.cache",)),
    "lint cache": (
        ("cache", "lint", "@run/calibration.cache", "--model", "@model.onnx", "--histograms", "@run/histograms.h5"),
        ("run/calibration.cache", "model.onnx", "run/histograms.h5")),
    "convert": (
        ("cache", "convert", "@run/calibration.cache", "--model", "@model.onnx", "-o", "@x.onnx"),
        ("run/calibration.cache", "run/calibration.cache.json", "model.onnx")),
    "diff": (
        ("cache", "diff", "@run/calibration.cache", "@run/scales.json"), ("run/calibration.cache", "run/scales.json")),
    "rename": (
        ("cache", "rename", "@run/calibration.cache", "--from", "@model.onnx", "--to", "@other.onnx", "-o", "@x.cache"),
        ("run/calibration.cache", "model.onnx", "other.onnx")),
    "inspect": (("inspect", "plan", "@layers.json"), ("layers.json",)),
    "deploy": (
        ("deploy", "embedded", "@model.onnx", "--cache", "@run/calibration.cache", "-o", "@x"),
        ("model.onnx", "run/calibration.cache")),
}  # fmt: skip


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])


def noise(path: Path) -> None:
    path.write_bytes(np.random.default_rng(1).bytes(2000))


def nested(path: Path) -> None:
    path.write_bytes(b"[" * 50_000)


def circle(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.fixture(scope="module")
def artefacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the artefacts of every command; nobody writes into it."""
    folder = tmp_path_factory.mktemp("artefacts")
    furnished(folder)
    shutil.copytree(folder / "run", folder / "again")
    (folder / "policy.yaml").write_text("metrics: {top-1: 50}\nslices: [{by: label, maximum: 99}]\n")
    (folder / "overrides.yaml").write_text("overrides: {image: {low: -1, high: 1}}\n")
    (folder / "labels.csv").write_text("label\n" + "1\n" * 40)
    (folder / "layers.json").write_text('{"Layers": []}')
    return folder


SLOW = (noise, circle, nested)
SPOILS = [pytest.param(each, marks=pytest.mark.slow) if each in SLOW else each for each in (emptied, cut, pipe, *SLOW)]


@pytest.mark.parametrize("spoil", SPOILS)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_damaged_input_is_one_sentence(
    artefacts: Path, tmp_path: Path, command: str, spoil: Callable[[Path], None]
) -> None:
    words, inputs = COMMANDS[command]
    for number, name in enumerate(inputs):
        place = tmp_path / str(number)
        shutil.copytree(artefacts, place)
        spoil(place / name)
        before = {path: path.read_bytes() for path in place.iterdir() if path.is_file() and path.suffix == ".onnx"}
        ended = quantlab(*(f"{place}/{word[1:]}" if word.startswith("@") else word for word in words))
        told = f"{name}: {ended}"
        nowhere = spoil is circle and ended.code == 0  # what may be missing
        assert ended.code in (1, 2, 4, 5, 6) or nowhere, told
        assert "Traceback" not in ended.err + ended.out, told
        assert "internal error" not in ended.err, told
        assert len(ended.err) < 3000, told
        assert ended.code in (0, 1) or ended.err.strip().endswith((".", "╯")), told
        assert all(path.read_bytes() == data for path, data in before.items()), told


NO_NETWORK = """
import socket, _socket
def refuse(*_arguments, **_named):
    raise RuntimeError("the network was asked")
for name in ("connect", "connect_ex", "bind", "sendto"):
    setattr(socket.socket, name, refuse)
socket.getaddrinfo = socket.create_connection = socket.gethostbyname = refuse
"""


@pytest.mark.slow
@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in ("inspect", "deploy", "rename")])
def test_no_command_asks_the_network(artefacts: Path, tmp_path: Path, command: str) -> None:
    place = tmp_path / "place"
    shutil.copytree(artefacts, place)
    words = [f"{place}/{word[1:]}" if word.startswith("@") else word for word in COMMANDS[command][0]]
    ended = quantlab_process(*words, before=NO_NETWORK)
    assert "the network was asked" not in ended.err
    assert ended.code in (0, 1, 3), ended.err


def test_a_linked_output_is_replaced_and_what_it_leads_to_is_not(artefacts: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim.json"
    victim.write_text("precious")
    place = tmp_path / "place"
    shutil.copytree(artefacts, place)
    (place / "x.json").symlink_to(victim)
    quantlab("calibrate", place / "run" / "histograms.h5", "-o", place / "x.json", "--force")
    assert victim.read_text() == "precious"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", "../model.onnx"),
        ("output", "../../run"),
        ("overrides", "/etc/passwd"),
        ("preprocess", "link/preprocess.yaml"),
        ("data", "{calibration: ../calibration.npz}"),
        ("data", "{calibration: calibration.npz, evaluation: {path: evaluation.npz, labels: ../labels.csv}}"),
    ],
)
def test_paths_of_a_job_stay_in_its_folder(artefacts: Path, tmp_path: Path, field: str, value: str) -> None:
    place = tmp_path / "place"
    shutil.copytree(artefacts, place)
    (place / "link").symlink_to(tmp_path)
    fields = {"model": "model.onnx", "output": "new", "data": "{calibration: calibration.npz}"} | {field: value}
    (place / "job.yaml").write_text("".join(f"{name}: {text}\n" for name, text in fields.items()))
    ended = quantlab("run", place / "job.yaml")
    assert ended.code == 4
    assert "leads out of the job's folder" in ended.err
