"""`quantlab deploy`: from a run or files to a bundle that holds, and what it refuses."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from quantlab.graph.model import load_model
from tests.cli.workplace import done, furnish, quantlab, refused, tree
from tests.deploy.bundles import plan_of

COMMANDS = ("triton", "embedded", "onnxruntime", "verify")
TRITON = "needs tritonclient: pip install 'quantlab[triton]'"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the job has run, with the files that the examples of the help name."""
    folder = furnish(tmp_path_factory.mktemp("finished"))
    done("run", folder / "job.yaml")
    for source, target in (
        ("calibration.cache", "int8.cache"),
        ("scales.json", "scales.json"),
        ("model.int8.onnx", "int8.onnx"),
    ):
        shutil.copy(folder / "run" / source, folder / target)
    shutil.copy(folder / "run" / "calibration.cache.json", folder / "int8.cache.json")
    plan_of(folder / "model.onnx", folder / "int8.plan")
    return folder


@pytest.fixture
def place(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that folder, in which the test runs."""
    shutil.copytree(finished, tmp_path / "place")
    monkeypatch.chdir(tmp_path / "place")
    return tmp_path / "place"


def examples(command: str) -> list[list[str]]:
    """Return the example lines in a command's help."""
    text = quantlab("deploy", command, "--help").out
    listed = re.sub(r"\n {6,}(?=\S)", " ", text.split("Examples:")[1].split("Exit codes:")[0])
    joined = " ".join(listed.split())
    return [shlex.split(part) for part in re.split(r"(?=quantlab deploy)", joined) if part.strip()]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_example_of_the_help_runs(place: Path, command: str) -> None:
    if command in ("triton", "verify"):
        pytest.importorskip("tritonclient", reason=TRITON)
    if command == "verify":
        done("deploy", "embedded", "run", "-o", "bundle")
        done("deploy", "triton", "run", "-o", "repository")
    found = examples(command)
    assert len(found) >= 2
    for words in found:
        for folder in ("bundle", "repository") if command != "verify" else ():
            shutil.rmtree(folder, ignore_errors=True)
        done(*words[1:])


def test_the_help_names_examples_and_exit_codes() -> None:
    for command in COMMANDS:
        ended = quantlab("deploy", command, "--help")
        assert (ended.code, "Exit codes:" in ended.out) == (0, True)


def test_json_is_one_object_and_the_second_time_nothing_is_done(place: Path) -> None:
    first = done("deploy", "embedded", "run", "-o", "bundle", "--json", "--archive").json
    assert (first["kind"], first["fresh"], first["name"]) == ("embedded", True, "model")
    assert first["archive"] == "bundle.tar.gz"
    before, packed = tree(place / "bundle"), (place / "bundle.tar.gz").read_bytes()
    again = done("deploy", "embedded", "run", "-o", "bundle", "--archive")
    assert "is current: nothing changed, nothing done" in again.out
    assert tree(place / "bundle") == before
    assert (place / "bundle.tar.gz").read_bytes() == packed
    assert (
        done("deploy", "verify", "bundle", "--json").json["bundles"][0]["model"]
        == load_model(place / "model.onnx").digest
    )


def test_a_run_folder_and_its_job_give_the_same_bundle(place: Path) -> None:
    done("deploy", "embedded", "run", "-o", "one")
    done("deploy", "embedded", "job.yaml", "-o", "two")
    done("deploy", "embedded", "run", "--model", "model.onnx", "-o", "three")
    sums = {(place / name / "SHA256SUMS").read_bytes() for name in ("one", "two", "three")}
    assert len(sums) == 1


def test_an_edited_bundle_is_found_out(place: Path) -> None:
    done("deploy", "onnxruntime", "run", "-o", "bundle")
    with (place / "bundle" / "scales.json").open("a") as file:
        file.write(" ")
    assert "was changed after the bundle was made" in refused(5, "deploy", "verify", "bundle")
    (place / "bundle" / "scales.json").unlink()
    assert "lacks its file" in refused(4, "deploy", "verify", "bundle")
    assert "give --force" in refused(5, "deploy", "onnxruntime", "run", "-o", "bundle")
    done("deploy", "onnxruntime", "run", "-o", "bundle", "--force")


@pytest.mark.parametrize("name", ["calibration.cache", "scales.json", "calibration.cache.json"])
def test_an_edited_file_of_a_run_is_stale(place: Path, name: str) -> None:
    with (place / "run" / name).open("a") as file:
        file.write("\n")
    assert "was changed after the run made it" in refused(5, "deploy", "embedded", "run", "-o", "bundle")
    assert not (place / "bundle").exists()


def test_a_cache_of_an_earlier_calibration_is_stale(place: Path) -> None:
    """As after `quantlab calibrate` into the run folder, without the cache made anew."""
    done("calibrate", "run/histograms.h5", "--method", "percentile:90", "-o", "run/scales.json", "--force")
    assert "was made from other scales than the run has now" in refused(5, "deploy", "embedded", "run", "-o", "bundle")


def test_another_model_than_the_runs_is_stale(place: Path) -> None:
    assert "the run was made from" in refused(5, "deploy", "embedded", "run", "--model", "other.onnx", "-o", "bundle")
    (place / "model.onnx").unlink()
    assert "give it with --model" in refused(4, "deploy", "embedded", "run", "-o", "bundle")
    (place / "other.onnx").rename(place / "model.onnx")  # the name alone decides nothing
    assert "give it with --model" in refused(4, "deploy", "embedded", "run", "-o", "bundle")


@pytest.mark.parametrize(
    ("code", "words", "said"),
    [
        (2, ("embedded", "model.onnx", "-o", "b"), "give --cache"),
        (5, ("embedded", "other.onnx", "--cache", "int8.cache", "-o", "b"), "was made for the model «model.onnx»"),
        (5, ("onnxruntime", "other.onnx", "--scales", "scales.json", "-o", "b"), "The scales were made for «model.onnx»"),
        (2, ("embedded", "run", "--cache", "int8.cache", "-o", "b"), "has its own cache"),
        (2, ("embedded", "int8.onnx", "--cache", "int8.cache", "-o", "b"), "The model has Q/DQ"),
        (2, ("embedded", "run/model.ort.onnx", "-o", "b"), "placed for ONNX Runtime"),
        (2, ("embedded", "run", "-o", "b", "--name", "../b"), "for instance «b»"),
        (2, ("embedded", "run", "-o", "b", "--shapes", "image:1x1x9x9"), "does not fit"),
        (4, ("embedded", "run", "-o", "job.yaml"), "is a file"),
        (4, ("embedded", "run", "-o", "ort"), "is no bundle of quantlab"),
        (4, ("embedded", "missing.onnx", "--cache", "int8.cache", "-o", "b"), "There is no file"),
        (4, ("verify", "run"), "is no bundle of quantlab"),
        (4, ("verify", "missing"), "There is no folder"),
        (2, ("triton", "model.onnx", "-o", "r", "--preferred", "a"), "list of batch sizes"),
        (2, ("triton", "model.onnx", "-o", "r", "--preferred", "9" * 5000), "list of batch sizes"),
        (2, ("embedded", "run", "-o", "."), "current folder"),
        (2, ("triton", "model.onnx", "-o", "r", "--device", "tpu"), "not on «tpu»"),
        (2, ("triton", "model.onnx", "-o", "r", "--labels-output", "y"), "give both"),
        (6, ("triton", "int8.plan", "-o", "r"), "give --model"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_sentence(place: Path, code: int, words: tuple[str, ...], said: str) -> None:
    (place / "ort").mkdir()
    (place / "ort" / "photo.jpg").write_text("")
    assert said in refused(code, "deploy", *words)
    assert not (place / "b").exists()


def test_a_run_without_a_model_for_onnx_runtime_says_so(place: Path) -> None:
    done("run", "job.yaml", "--set", "ort=false", "--set", "cache=null", "--force")
    assert "add `ort: true`" in refused(2, "deploy", "onnxruntime", "run", "-o", "b")
    assert "add `cache: {}`" in refused(4, "deploy", "embedded", "run", "-o", "b")
    done("deploy", "embedded", "run", "-o", "b", "--tensorrt", "11.0")


def test_a_hostile_bundle_is_a_sentence(place: Path) -> None:
    done("deploy", "embedded", "run", "-o", "bundle")
    path = place / "bundle" / "bundle.json"
    stored = json.loads(path.read_text())
    changes: tuple[dict[str, object], ...] = (
        {"files": {"model": "../model.onnx"}},
        {"kind": "x"},
        {"version": 9},
        {"settings": []},
    )
    for change in changes:
        path.write_text(json.dumps({**stored, **change}))
        sums = place / "bundle" / "SHA256SUMS"
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        sums.write_text(re.sub(r"[0-9a-f]{64}(?=  bundle\.json)", digest, sums.read_text()))
        refused(4, "deploy", "verify", "bundle")


def test_the_cache_of_another_network_is_not_bundled(place: Path) -> None:
    other = Path(__file__).parents[1] / "golden" / "trt-8.6" / "efficientnet_lite0.entropy2.cache"
    said = refused(4, "deploy", "embedded", "model.onnx", "--cache", other, "-o", "bundle")
    assert "the cache of another model" in said
    assert not (place / "bundle").exists()


def test_the_table_of_another_method_is_not_bundled(place: Path) -> None:
    done("calibrate", "run/histograms.h5", "--method", "percentile:50", "-o", "half.json")
    said = refused(5, "deploy", "onnxruntime", "int8.onnx", "--scales", "half.json", "-o", "bundle")
    assert "is not the table behind 'int8.onnx'" in said
    done("deploy", "onnxruntime", "int8.onnx", "--scales", "scales.json", "-o", "bundle")


def test_a_float_model_is_called_so(place: Path) -> None:
    made = done("deploy", "onnxruntime", "model.onnx", "-o", "bundle", "--json").json
    assert any("served in float" in note for note in made["notes"])
    made = done("deploy", "onnxruntime", "int8.onnx", "-o", "other", "--json").json
    assert not any("served in float" in note for note in made["notes"])
    assert (place / "other").is_dir()
