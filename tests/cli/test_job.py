"""`quantlab job`, and what `quantlab run` takes from the environment and leaves in a log."""

from __future__ import annotations

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
import yaml

from quantlab.jobs.job_file import read_job
from quantlab.jobs.output_lock import RUN_LOCK, working_in
from quantlab.storage.run_history import history
from tests.cli.workplace import done, furnish, quantlab, refused, tree

SHORT = ("--set", "ort=false", "--set", "cache=null", "--set", "data.tuning=null", "--set", "choose=minmax")


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    return furnish(tmp_path)


def test_a_first_job_is_valid_and_runs(bare: Path) -> None:
    (bare / "job.yaml").unlink()
    ended = done("job", "init", bare / "model.onnx", "-d", bare / "calibration.npz", "--evaluation", bare / "evaluation.npz",
                 "-o", bare / "job.yaml", "--run", bare / "run")  # fmt: skip
    assert "set scale, mean and std" in ended.err
    checked = done("job", "validate", bare / "job.yaml")
    assert "is a valid job" in checked.out
    assert "still the one that `quantlab job init` guessed" in checked.err
    assert done("job", "validate", bare / "job.yaml", "--set", "preprocess.mean=0.5").err == ""
    job = read_job(bare / "job.yaml")
    assert (job.model, job.output, job.choose) == (bare / "model.onnx", bare / "run", "squared-error")
    assert job.preprocess == {"color": "GRAY", "layout": "NCHW", "scale": "1/255", "mean": 0, "std": 1}
    assert "quantlab run" in ended.out
    done("run", bare / "job.yaml", "--set", "max_drop=100")
    assert "All " in done("job", "verify", bare / "run").out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-d", "calibration.npz", "-o", "job.yaml"), "is there already"),
        (("-d", "gone", "-o", "new.yaml"), "There is no data file or folder 'gone'"),
    ],
)
def test_init_replaces_nothing_and_needs_data(
    bare: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], words: str
) -> None:
    monkeypatch.chdir(bare)
    before = tree(bare)
    assert words in refused(4, "job", "init", "model.onnx", *arguments)
    assert tree(bare) == before


def test_init_writes_names_that_yaml_would_misread(bare: Path) -> None:
    for name in ("1", "no", "a: b", "ü #x"):
        shutil.copytree(bare, bare / "inner" / name, ignore=shutil.ignore_patterns("inner"))
        (bare / "inner" / name / "job.yaml").unlink()
    done("job", "init", bare / "inner" / "a: b" / "model.onnx", "-d", bare / "inner" / "ü #x" / "calibration.npz",
         "-o", bare / "inner" / "new.yaml", "--run", bare / "inner" / "1")  # fmt: skip
    found = yaml.safe_load((bare / "inner" / "new.yaml").read_text(encoding="utf-8"))
    assert (found["model"], found["output"], found["data"]["calibration"]) == (
        "a: b/model.onnx",
        "1",
        "ü #x/calibration.npz",
    )


def test_validate_lists_all_with_lines_and_exit_code_4(bare: Path) -> None:
    (bare / "job.yaml").write_text("model: m\noutput: run\ndata: {calibration: a}\nmodell: x\nmethods: [kl]\n")
    ended = quantlab("job", "validate", bare / "job.yaml")
    assert ended.code == 4
    assert [line.split(", line ")[1][:1] for line in ended.err.splitlines()] == ["5", "4", "1", "3"]
    found = quantlab("job", "validate", bare / "job.yaml", "--json").json
    assert {(problem["field"], problem["line"]) for problem in found["problems"]} == {
        ("modell", 4), ("methods", 5), ("model", 1), ("data.calibration", 3),
    }  # fmt: skip


def test_explain_tells_steps_values_and_inputs(bare: Path) -> None:
    found = done("job", "explain", bare / "job.yaml", "--set", "head=int8", "--json").json
    assert found["values"]["head"] == {"value": "int8", "from": "--set"}
    assert found["steps"][0]["state"] == "to do"
    assert [given["role"] for given in found["inputs"]] == ["model", "calibration", "tuning", "evaluation"]
    assert not (bare / "run").exists()


def test_the_schema_is_json() -> None:
    assert json.loads(done("job", "schema").out)["title"] == "quantlab job"


def test_verify_finds_an_edited_file(bare: Path) -> None:
    done("run", bare / "job.yaml", *SHORT)
    found = done("job", "verify", bare / "run", "--json").json
    assert found["run"]["job"]["choose"] == "minmax"
    assert set(found["run"]) == {
        "command", "job", "configuration", "model", "data", "preprocessing", "files", "seed", "machine", "versions",
    }  # fmt: skip
    assert found["run"]["machine"]["instruction_set"]
    assert "{" not in done("job", "verify", bare / "run").out
    (bare / "run" / "scales.json").write_text("{}")
    ended = quantlab("job", "verify", bare / "run")
    assert ended.code == 1
    assert "scales.json' is not as it was made" in ended.err


def test_run_takes_fields_from_the_environment_and_set_wins(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANTLAB_JOB_CHOOSE", "minmax")
    monkeypatch.setenv("QUANTLAB_JOB_DATA__TUNING", "null")
    monkeypatch.setenv("QUANTLAB_JOB_HEAD", "int8")
    done("run", bare / "job.yaml", "--set", "ort=false", "--set", "cache=null", "--set", "head=float")
    made = json.loads((bare / "run" / "manifest.json").read_text())["run"]["job"]
    assert (made["choose"], made["data"]["tuning"], made["head"]) == ("minmax", None, "float")


def test_a_quiet_run_is_in_the_log_alone(bare: Path) -> None:
    ended = done("run", bare / "job.yaml", *SHORT, "--quiet", "--log-json", bare / "run" / "log.jsonl")
    assert (ended.out, ended.err) == ("", "")
    lines = [json.loads(line) for line in (bare / "run" / "log.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in lines if line["event"] == "step ended"]
    assert steps == ["collect histograms", "calibrate", "choose", "quantize", "compare", "report"]
    assert [lines[0]["event"], lines[-2]["event"], lines[-1]["event"]] == ["run begins", "result", "run ended"]
    assert lines[-2]["metric"] == "top-1"
    again = done("run", bare / "job.yaml", *SHORT, "--log-json", bare / "run" / "log.jsonl")
    assert "Nothing changed, nothing done." in again.out


def test_a_refused_run_is_logged_with_its_exit_code(bare: Path) -> None:
    quantlab("run", bare / "job.yaml", "--set", "data.calibration=gone.npz", "--log-json", bare / "log.jsonl")
    last = json.loads((bare / "log.jsonl").read_text().splitlines()[-1])
    assert (last["event"], last["level"], last["exit_code"]) == ("run ended", "error", 4)


@pytest.mark.parametrize("command", ["run", "qat"])
def test_a_job_that_is_none_is_logged_as_well_once(bare: Path, command: str) -> None:
    ended = quantlab(command, bare / "job.yaml", "--set", "target=foo", "--json", "--log-json", bare / "log.jsonl")
    (line,) = [json.loads(text) for text in (bare / "log.jsonl").read_text().splitlines()]
    assert (ended.code, line["event"], line["exit_code"]) == (4, "run ended", 4)
    assert line["error"] == ended.json["error"]


def test_a_float_network_that_guesses_is_a_note_of_the_run(bare: Path) -> None:
    with np.load(bare / "evaluation.npz") as found:
        wrong = {name: found[name] for name in found.files} | {"label": (found["label"] + 1) % 4}
    np.savez(bare / "wrong.npz", **wrong)
    assert "FP32 itself" not in done("run", bare / "job.yaml", *SHORT).err
    ended = done("run", bare / "job.yaml", *SHORT, "--set", "data.evaluation=wrong.npz", "--set", "output=wrong")
    assert "FP32 itself has only 0.00 % top-1 on 4 classes, where guessing has 25.00 %" in ended.err


def test_a_folder_that_cannot_be_made_is_the_machines_refusal(bare: Path) -> None:
    (bare / "file").write_text("")
    assert "cannot be created" in refused(6, "run", bare / "job.yaml", *SHORT, "--set", "output=file/run")


def test_what_a_run_made_is_named_by_its_place_in_the_folder(bare: Path) -> None:
    done("run", bare / "job.yaml", *SHORT, "--log-json", bare / "log.jsonl")
    made = next(line for text in (bare / "log.jsonl").read_text().splitlines() if "made" in (line := json.loads(text)))[
        "made"
    ]
    assert len(set(made)) == len(made)
    assert "scales/minmax.json" in made


def test_a_run_in_a_folder_that_is_worked_in_is_refused_with_the_owner(bare: Path) -> None:
    with working_in(bare / "run"):
        sentence = refused(75, "run", bare / "job.yaml", *SHORT)
    assert f"process {os.getpid()} on " in sentence
    done("run", bare / "job.yaml", *SHORT)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(bare: Path) -> None:
    done("run", bare / "job.yaml", *SHORT, "--set", "output=whole")
    command = [sys.executable, "-m", "quantlab", "run", str(bare / "job.yaml"), *SHORT]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while not (bare / "run" / "histograms.h5").exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    assert (bare / "run" / RUN_LOCK).exists()
    done("run", bare / "job.yaml", *SHORT)
    for name in ("histograms.h5", "scales.json", "model.int8.onnx", "compare.json"):
        assert (bare / "run" / name).read_bytes() == (bare / "whole" / name).read_bytes()
    assert not list((bare / "run").rglob(".*"))


def test_a_matrix_prints_its_table_and_fails_with_its_cells_code(bare: Path) -> None:
    job = yaml.safe_load((bare / "job.yaml").read_text()) | {
        "ort": False,
        "cache": None,
        "matrix": {"method": ["minmax", "entropy"]},
    }
    del job["data"]["tuning"]
    (bare / "job.yaml").write_text(yaml.safe_dump(job))
    ended = done("run", bare / "job.yaml", "--log-json", bare / "log.jsonl")
    assert ended.out.splitlines()[-1].endswith("matrix.html")
    assert "minmax [1/6]" in ended.err
    cells = [json.loads(line).get("cell") for line in (bare / "log.jsonl").read_text().splitlines()]
    assert {"minmax", "entropy"} <= set(cells)
    assert "only `quantlab run` carries them out" in refused(4, "qat", bare / "job.yaml")
    failed = quantlab(
        "run", bare / "job.yaml", "--set", "matrix={model: [model.onnx, gone.onnx]}", "--set", "choose=minmax", "--json"
    )
    assert failed.code == failed.json["exit_code"] == 4
    assert [cell["standing"] for cell in failed.json["cells"]] == ["passed", "failed"]


def test_a_job_with_a_history_is_remembered_once(bare: Path) -> None:
    changes = (*SHORT, "--set", "history=kept")
    for _ in range(2):
        done("run", bare / "job.yaml", *changes)
    assert len(history(bare / "kept").runs) == 1
    assert "`history` needs `data.evaluation`" in refused(
        4, "run", bare / "job.yaml", *changes, "--set", "data.evaluation=null"
    )


@pytest.mark.parametrize("command", ["init", "validate", "explain", "schema", "verify"])
def test_every_command_has_examples_and_exit_codes(command: str) -> None:
    told = done("job", command, "--help").out
    assert "Examples:" in told
    assert "Exit codes:" in told
