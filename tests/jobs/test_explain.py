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
from quantlab.jobs.manifest import note_run, run_of
from quantlab.jobs.run import run_job
from quantlab.storage.file_digest import file_digest
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
    assert [(problem.field, problem.line) for problem in problems_of(path)] == [
        ("", 4), ("", 7), ("", 6), ("model", 1), ("data.calibration", 3),
    ]  # fmt: skip
    assert len(problems_of(path, ("history=h",))) == 6


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        (("weigths=int8", "data.tuning=gone.npz"), {"weigths", "data.tuning"}),
        (
            ("weights=int9", "max_drop=-3", "methods=[kl]", "choose=entropie"),
            {"weights", "max_drop", "methods", "choose"},
        ),
        (("preprocess={sale: 1}", "data.tuning=gone.npz"), {"preprocess", "data.tuning"}),
        (("model=3", "data.evaluation=gone.npz", "max_drop=1"), {"model", "data.evaluation"}),
        (("data.evaluation=3", "max_drop=1"), {"data.evaluation"}),
        (("choose=squared", "model=gone.onnx"), {"choose", "model"}),
        (("target=ort", "data.tuning=gone.npz"), {"", "data.tuning"}),
        (("model=/etc/hosts", "head=both"), {"model", "head"}),
    ],
)
def test_one_problem_hides_no_other_and_brings_none(place: Path, changes: tuple[str, ...], fields: set[str]) -> None:
    assert {problem.field for problem in problems_of(place / "job.yaml", changes)} == fields


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        (("data.evaluation=./calibration.npz",), ["data.evaluation"]),
        (("data.evaluation=tuning.npz",), ["data.evaluation"]),
        (("data.evaluation=tuning.npz", "choose=minmax"), []),
    ],
)
def test_a_set_that_scores_what_it_chose_is_a_problem(place: Path, changes: tuple[str, ...], fields: list[str]) -> None:
    assert [problem.field for problem in problems_of(place / "job.yaml", changes)] == fields


@pytest.mark.parametrize(
    ("name", "meant"),
    [("data_tuning", "data.tuning"), ("color", "preprocess.color"), ("metods", "methods"), ("data.tunning", "data.tuning"),
     ("cache.versoin", "cache.version"), ("batch", "data.calibration.batch")],
)  # fmt: skip
def test_an_unknown_field_has_a_near_one(place: Path, name: str, meant: str) -> None:
    (found,) = problems_of(place / "job.yaml", (f"{name}=x",))
    assert f"did you mean `{meant}`?" in found.text


def test_who_gave_what_does_not_go_together_is_named(place: Path) -> None:
    (found,) = problems_of(place / "job.yaml", ("target=ort", "ort=false"))
    assert found.text.endswith("leave it out, or give --set cache=null; `target` is given by --set")


def test_every_file_that_is_missing_is_named_at_once(place: Path) -> None:
    changes = ("model=gone.onnx", "data.tuning=gone.npz", "overrides=gone.yaml", "output=model.onnx")
    assert {problem.field for problem in problems_of(place / "job.yaml", changes)} == {
        "model", "data.tuning", "overrides", "output",
    }  # fmt: skip
    assert problems_of(place / "job.yaml") == ()


def test_validating_runs_no_script_and_explaining_names_its_digest(place: Path) -> None:
    (place / "loader.py").write_text(
        "from pathlib import Path\nimport numpy as np\nPath(__file__).with_name('ran').write_text('')\n"
        "def load_data():\n    yield {'image': np.ones((4, 1, 8, 8), np.float32)}\n"
    )
    changes = (
        "data.calibration=loader.py",
        "preprocess=null",
        "data.tuning=null",
        "data.evaluation=null",
        "choose=minmax",
    )
    assert problems_of(place / "job.yaml", changes) == ()
    assert problems_of(place / "job.yaml", (*changes, "data.calibration=gone.py:load"))[0].field == "data.calibration"
    assert not (place / "ran").exists()
    roles = {given.role: given for given in explained(place, *changes).inputs}
    assert roles["script of calibration"].digest == file_digest(place / "loader.py")


def test_a_run_names_what_its_files_were_made_from_by_content(place: Path) -> None:
    (place / "by-hand.yaml").write_text('overrides: {"b": {low: -2.0, high: 2.0, reason: seen}}\n')
    run_job(read_job(place / "job.yaml", (*SHORT, "overrides=by-hand.yaml")), listener=SILENCE)
    facts = run_of(place / "run")
    assert facts["files"] == {"overrides": file_digest(place / "by-hand.yaml")}
    assert set(facts["data"]) == {"calibration", "evaluation"}
    assert facts["versions"]["pillow"]
    assert facts["machine"]["instruction_set"]


def test_files_of_another_runtime_that_stay_are_named(place: Path) -> None:
    job = read_job(place / "job.yaml", SHORT)
    run_job(job, listener=SILENCE)
    facts = dict(run_of(place / "run"))
    note_run(place / "run", facts | {"versions": {**facts["versions"], "onnxruntime": "1.0.0"}})
    notes = run_job(job, listener=SILENCE).notes
    assert any("was made with others (onnxruntime 1.0.0 → " in note for note in notes)
    note_run(place / "run", facts)
    assert not any("made with others" in note for note in run_job(job, listener=SILENCE).notes)


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
        {"budget": "512MiB"}, {"budget": 1}, {"methods": "minmax"}, {"metrics": "top-1"}, {"metrics": ["top-1"]}, {"expose": "all"}, {"expose": "conv*"},
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
    for section in job_schema()["$defs"].values():
        assert all(field.get("description") for field in section["properties"].values()), section
