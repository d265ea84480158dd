"""What is said of a job before it runs: its values, its inputs, what is current; and all that is wrong, at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest
import yaml

from quantlab.jobs.explaining import SILENCE, Explanation, explain
from quantlab.jobs.job import Job
from quantlab.jobs.job_fields import read_fields
from quantlab.jobs.job_file import job_of, read_job
from quantlab.jobs.job_problems import problems_of
from quantlab.jobs.job_schema import descriptions, job_schema
from quantlab.jobs.run import run_job
from tests.cli.workplace import furnish, tree, write_set

ROOT = Path(__file__).parents[2]
SHORT = ("ort=false", "cache=null", "data.tuning=null", "choose=minmax")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return furnish(tmp_path)


def explained(place: Path, *changes: str) -> Explanation:
    found = read_fields(place / "job.yaml", changes)
    return explain(found, job_of(found))


def states(place: Path, *changes: str) -> list[str]:
    return [step.state for step in explained(place, *changes).steps]


def test_a_new_job_has_all_to_do_and_nothing_is_written(place: Path) -> None:
    before = tree(place)
    assert states(place) == ["to do"] + ["waits"] * 8
    assert tree(place) == before
    assert not (place / "run").exists()


def test_a_finished_job_is_current(place: Path) -> None:
    run_job(read_job(place / "job.yaml", SHORT), listener=SILENCE)
    before = tree(place)
    assert set(states(place, *SHORT)) == {"current"}
    assert tree(place) == before


def test_what_changed_is_named_and_what_follows_is_said_to(place: Path) -> None:
    run_job(read_job(place / "job.yaml", SHORT), listener=SILENCE)
    steps = explained(place, *SHORT, "weights=qdq").steps
    assert [step.state for step in steps] == ["current", "current", "current", "stale", "current", "current"]
    assert 'option weights was "int8" and is "qdq"' in steps[3].why
    assert steps[4].why == "unless «quantize» changes what it is made from"
    write_set(place / "calibration.npz", onnx.load(place / "model.onnx"), 24, seed=9)
    assert "the data changed" in explained(place, *SHORT).steps[0].why


def test_a_file_that_was_edited_would_be_refused(place: Path) -> None:
    run_job(read_job(place / "job.yaml", SHORT), listener=SILENCE)
    with (place / "run" / "scales.json").open("a") as file:
        file.write(" ")
    assert states(place, *SHORT)[2] == "refused"


def test_what_another_job_left_is_named(place: Path) -> None:
    run_job(read_job(place / "job.yaml", SHORT), listener=SILENCE)
    assert explained(place, *SHORT, "methods=[minmax]").leftovers == ("scales/squared-error.json",)


def test_each_value_says_who_gave_it(place: Path) -> None:
    values = {value.name: value for value in explained(place, "max_drop=2").values}
    assert (values["max_drop"].value, values["max_drop"].origin) == (2.0, "--set")
    assert (values["methods"].origin, values["target"].origin) == ("file", "default")
    assert (values["model"].value, values["output"].value) == ("model.onnx", "run")


def test_inputs_have_digests_and_counts(place: Path) -> None:
    inputs = {found.role: found for found in explained(place).inputs}
    assert (inputs["model"].digest or "").startswith("sha256:")
    assert {role: found.samples for role, found in inputs.items()} == {
        "model": None, "calibration": 24, "tuning": 20, "evaluation": 40,
    }  # fmt: skip


def test_every_problem_of_the_fields_is_said_at_once_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text("model: 3\noutput: run\ndata: {calibration: {path: a, batch: 0}}\nmodell: x\nmethods: [kl]\n")
    found = {(problem.field, problem.line) for problem in problems_of(path)}
    assert found == {("model", 1), ("data.calibration.batch", 3), ("modell", 4), ("methods", 5)}
    assert any("did you mean `model`?" in problem.text for problem in problems_of(path))


def test_everything_that_does_not_go_together_is_said_at_once(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text("model: m\noutput: run\ndata: {calibration: a}\nmax_drop: 1\ntarget: ort\nort: true\ncache: {}\n")
    assert [problem.line for problem in problems_of(path)] == [4, 7, 6]
    assert len(problems_of(path, ("history=h",))) == 4


def test_every_file_that_is_missing_is_named_at_once(place: Path) -> None:
    changes = ("model=gone.onnx", "data.tuning=gone.npz", "overrides=gone.yaml", "output=model.onnx")
    assert {problem.field for problem in problems_of(place / "job.yaml", changes)} == {
        "model", "data.tuning", "overrides", "output",
    }  # fmt: skip
    assert problems_of(place / "job.yaml") == ()


def shipped() -> list[Path]:
    return sorted((ROOT / "calib_data").glob("*.yaml"))


def errors(document: Any) -> list[str]:
    jsonschema = pytest.importorskip("jsonschema", reason="needs jsonschema, which jupyter brings")
    schema = job_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(document)]


def test_the_schema_takes_the_jobs_that_ship_and_what_read_job_takes() -> None:
    assert [errors(yaml.safe_load(path.read_text(encoding="utf-8"))) for path in shipped()] == [[]] * len(shipped())
    base = {"model": "m", "output": "r", "data": {"calibration": "a"}}
    allowed: tuple[dict[str, Any], ...] = (
        {"budget": "512MiB"}, {"budget": 1}, {"metrics": "top-1"}, {"metrics": ["top-1"]}, {"expose": "all"}, {"expose": "conv*"},
        {"expose": ["a", "b"]}, {"cache": {"version": 8.6}}, {"cache": None}, {"matrix": {"target": ["ort"], "exclude": [{"target": "ort"}]}},
        {"data": {"calibration": {"path": "a", "batch": 2}, "tuning": None}},
        {"workers": 4}, {"workers": {"count": 2, "kind": "ray"}}, {"workers": None},
        {"qat": {"module": "net.py:build", "train": "t.npz"}},
    )  # fmt: skip
    for more in allowed:
        assert errors(base | more) == []


def test_the_schema_refuses_what_read_job_refuses() -> None:
    base = {"model": "m", "output": "r", "data": {"calibration": "a"}}
    refused: tuple[dict[str, Any], ...] = (
        {"modell": 1},
        {"weights": "int4"},
        {"data": {}},
        {"max_drop": -1},
        {"methods": []},
        {"matrix": {"target": []}},
    )
    for more in refused:
        assert errors(base | more)
    assert errors({"output": "r", "data": {"calibration": "a"}})


def test_the_schema_describes_every_field_as_the_docstring_does() -> None:
    told = descriptions(Job)
    fields = job_schema()["properties"]
    assert set(told) == set(Job.model_fields)
    assert all(fields[name]["description"] == told[name] for name in told)
    assert json.loads(json.dumps(job_schema())) == job_schema()
