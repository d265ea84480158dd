"""Where a job's file may lead: its own folder, the one where the command is run, and nowhere else unless told so."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from quantlab.errors import InputError, QuantlabError
from quantlab.jobs.job_fields import JobFields, read_fields
from quantlab.jobs.job_file import job_of, read_job
from quantlab.jobs.job_paths import strays
from quantlab.jobs.matrix import read_matrix
from quantlab.jobs.matrix_section import cells_of
from tests.cli.workplace import done, furnish

ROOT = Path(__file__).parents[2]
TRAINING = {"module": "net.py:build", "train": "train.npz"}
KEYS: dict[str, dict[str, Any]] = {
    "model": {"model": "{}"},
    "output": {"output": "{}"},
    "preprocess": {"preprocess": "{}"},
    "overrides": {"overrides": "{}"},
    "history": {"history": "{}"},
    "metrics": {"metrics": ["top-1", "word-accuracy:blank=0, characters = {}"]},
    "data.calibration": {"data": {"calibration": "{}"}},
    "data.tuning.path": {"data": {"calibration": "a", "tuning": {"path": "{}"}}},
    "data.evaluation.labels": {"data": {"calibration": "a", "evaluation": {"path": "b", "labels": "{}"}}},
    "data.tuning.preprocess": {"data": {"calibration": "a", "tuning": {"path": "b", "preprocess": "{}"}}},
    "qat.module": {"qat": TRAINING | {"module": "{}:build"}},
    "qat.augment": {"qat": TRAINING | {"augment": "{}:more"}},
    "qat.loss": {"qat": TRAINING | {"loss": "{}:loss"}},
    "qat.state_dict": {"qat": TRAINING | {"state_dict": "{}"}},
    "qat.train": {"qat": TRAINING | {"train": "{}"}},
    "qat.train.path": {"qat": TRAINING | {"train": {"path": "{}"}}},
}
BASE = {"model": "m.onnx", "output": "run", "data": {"calibration": "a"}}


def filled(value: Any, path: str) -> Any:
    if isinstance(value, dict):
        return {key: filled(inner, path) for key, inner in value.items()}
    return [filled(inner, path) for inner in value] if isinstance(value, list) else str(value).replace("{}", path)


def fields(place: Path, more: dict[str, Any], *changes: str, environment: dict[str, str] | None = None) -> JobFields:
    place.mkdir(exist_ok=True)
    (place / "job.yaml").write_text(yaml.safe_dump(BASE | more))
    return read_fields(place / "job.yaml", changes, environment)


def names(found: JobFields) -> list[str]:
    return [name for name, _ in strays(found)]


@pytest.mark.parametrize("key", KEYS)
def test_every_path_of_a_strangers_job_stays_in_its_folder(tmp_path: Path, key: str) -> None:
    place = tmp_path / "job"
    place.mkdir()
    (tmp_path / "other").mkdir()
    (place / "link").symlink_to(tmp_path / "other")
    (place / "direct.py").symlink_to(tmp_path / "other")
    for path in ("../x.py", str(tmp_path / "x.py"), "/etc/passwd", "in/../../x.py", "link/x.py", "direct.py"):
        assert names(fields(place, filled(KEYS[key], path))) == [key], path
    for path in ("x.py", "./in/x.py", "in/../x.py", str(place / "x.py")):
        assert names(fields(place, filled(KEYS[key], path))) == [], path


@pytest.mark.parametrize("key", KEYS)
def test_what_the_command_line_or_the_environment_gives_may_lie_anywhere(tmp_path: Path, key: str) -> None:
    section = key.partition(".")[0]
    value = yaml.safe_dump(filled(KEYS[key], "../x.py")[section], default_flow_style=True, width=10_000)
    value = value.removesuffix("...\n").strip()
    assert names(fields(tmp_path, {}, f"{section}={value}")) == []
    assert names(fields(tmp_path, {}, environment={f"QUANTLAB_JOB_{section.upper()}": value})) == []


def test_the_sentence_says_how_and_doing_so_helps(tmp_path: Path) -> None:
    for key, more in KEYS.items():
        found = fields(tmp_path / "job", filled(more, "../x.py"))
        ((_, sentence),) = strays(found)
        assert "leads out of the job's folder" in sentence
        change = re.search(r"--set '(.*?)' or the variable (\w+)", sentence)
        assert change is not None
        assert names(read_fields(found.path, (change[1],))) == [], sentence
        assert change[2] == f"QUANTLAB_JOB_{key.upper().replace('.', '__')}"


def test_a_folder_that_holds_both_is_named_and_standing_there_is_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = fields(tmp_path / "job", {"model": "../nets/m.onnx"})
    ((_, sentence),) = strays(found)
    assert f"run the command in '{tmp_path}', which holds both" in sentence
    monkeypatch.chdir(tmp_path)
    assert names(found) == []
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    ((_, sentence),) = strays(found)
    assert "which holds both" not in sentence


def test_standing_beside_the_job_is_no_leave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path / "mine")
    assert names(fields(tmp_path / "job", {"overrides": "../mine/secret.yaml"})) == ["overrides"]


def test_a_matrix_leads_nowhere_else_either(tmp_path: Path) -> None:
    outside = fields(tmp_path / "job", {"output": "../x", "matrix": {"method": ["minmax"]}})
    with pytest.raises(InputError, match=r"--set 'output=\.\./x'"):
        read_matrix(outside)
    listed = fields(tmp_path / "job", {"matrix": {"model": ["../m.onnx"]}})
    with pytest.raises(InputError, match="give the lists yourself, with --set matrix="):
        read_matrix(listed)
    for changes in (("output=../x",), ("output=../x", "matrix.model=[../m.onnx]")):
        given = fields(tmp_path / "job", {"matrix": {"method": ["minmax"]}}, *changes)
        assert [names(cell.fields) for cell in cells_of(given)] == [[]]


def test_what_lies_in_the_run_folder_leads_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "job" / "run").mkdir(parents=True)
    (tmp_path / "victim").mkdir()
    (tmp_path / "job" / "run" / "scales").symlink_to(tmp_path / "victim")
    ((name, sentence),) = strays(fields(tmp_path / "job", {}))
    assert name == "output"
    assert "'run' by its 'scales'" in sentence


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ({"workers": {"count": 2, "kind": "ray", "address": "ray://elsewhere:10001"}}, "workers.address"),
        ({"data": {"calibration": "s3://bucket/x.npz"}}, "data.calibration"),
        ({"data": {"calibration": "file:///etc/passwd"}}, "data.calibration"),
    ],
)
def test_only_the_command_line_leads_onto_the_network(tmp_path: Path, more: dict[str, Any], name: str) -> None:
    found = fields(tmp_path, more)
    ((stray, sentence),) = strays(found)
    assert stray == name
    assert "is reached over the network" in sentence
    text = more["data"]["calibration"] if "data" in more else more["workers"]["address"]
    job = job_of(read_fields(found.path, (f"{name}={text}",)))
    assert "data" not in more or job.sources["calibration"].place == text


def test_the_jobs_that_ship_may_be_run_from_the_folder_of_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = sorted((ROOT / "calib_data").glob("*.yaml"))
    monkeypatch.chdir(ROOT)
    assert [names(read_fields(path)) for path in shipped] == [[]] * len(shipped)
    monkeypatch.chdir(ROOT / "calib_data")
    for path in shipped:
        with pytest.raises(QuantlabError, match=r"field `output`.*leads out of the job's folder"):
            read_job(path)
        elsewhere = f"output={ROOT / 'reports' / 'one'}"
        assert names(read_fields(path, (elsewhere,))) == []


def test_a_first_job_says_what_its_file_may_not_lead_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = furnish(tmp_path)
    (place / "jobs").mkdir()
    command = ("job", "init", place / "model.onnx", "-d", place / "calibration.npz")
    monkeypatch.chdir(place / "jobs")
    told = done(*command, "-o", "first.yaml", "--run", "run").err
    assert "`model`: '../model.onnx' leads out of the job's folder" in told
    assert "`data.calibration`: '../calibration.npz' leads out" in told
    monkeypatch.chdir(place)
    assert "leads out" not in done(*command, "-o", "jobs/second.yaml").err
    done("job", "validate", "jobs/second.yaml")


@pytest.mark.skipif(sys.platform == "win32", reason="such links are Linux's")
def test_links_in_a_circle_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    found = fields(tmp_path, {"model": "a/m.onnx", "overrides": "x\0y"})
    with pytest.raises(InputError):
        job_of(found)
