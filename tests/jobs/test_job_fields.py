"""Who gave a job's value: the file, the environment, --set; and the line of each key."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlab.errors import InputError, UsageError
from quantlab.jobs.job_fields import read_fields
from quantlab.jobs.job_file import read_job

TEXT = "model: m.onnx\noutput: run\n\ndata:\n  calibration: a.npz\n  tuning: {path: b.npz}\nweights: int8\n"


def written(folder: Path, text: str = TEXT) -> Path:
    path = folder / "job.yaml"
    path.write_text(text)
    return path


def test_set_goes_before_the_environment_which_goes_before_the_file(tmp_path: Path) -> None:
    environment = {"QUANTLAB_JOB_TARGET": "ort", "QUANTLAB_JOB_HEAD": "int8", "HOME": "x", "QUANTLAB_DEBUG": "1"}
    path = written(tmp_path, TEXT.replace("weights: int8", "target: tensorrt@8.6\nhead: float\nweights: qdq"))
    found = read_fields(path, ("target=tensorrt@10.3",), environment)
    assert (found.values["target"], found.values["head"], found.values["weights"]) == ("tensorrt@10.3", "int8", "qdq")
    assert [found.origin(name) for name in ("target", "head", "weights", "choose")] == [
        "--set", "QUANTLAB_JOB_HEAD", "file", "default",
    ]  # fmt: skip


def test_a_variable_reaches_into_a_section(tmp_path: Path) -> None:
    environment = {"QUANTLAB_JOB_DATA__TUNING__BATCH": "7", "QUANTLAB_JOB_CACHE__VERSION": "8.4.1"}
    job = read_job(written(tmp_path), (), environment)
    assert job.sources["tuning"].batch == 7
    assert job.cache is not None
    assert job.cache.version == "8.4.1"


def test_no_variable_is_looked_at_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANTLAB_JOB_TARGET", "ort")
    assert read_job(written(tmp_path)).target == "tensorrt"


def test_a_bad_variable_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"`target`: Unknown target «foo».*given by QUANTLAB_JOB_TARGET"):
        read_job(written(tmp_path), (), {"QUANTLAB_JOB_TARGET": "foo"})
    with pytest.raises(InputError, match=r"`nothing`: there is no such field \(given by QUANTLAB_JOB_NOTHING\)"):
        read_job(written(tmp_path), (), {"QUANTLAB_JOB_NOTHING": "1"})
    with pytest.raises(UsageError, match="`model` is no mapping"):
        read_job(written(tmp_path), (), {"QUANTLAB_JOB_MODEL__NAME": "1"})


def test_a_set_given_by_its_place_alone_leaves_the_rest_to_defaults(tmp_path: Path) -> None:
    found = read_fields(written(tmp_path), ("data.evaluation=c.npz",))
    origins = [found.origin(f"data.{name}") for name in ("calibration.path", "calibration.batch", "tuning.path")]
    assert origins == ["file", "default", "file"]
    assert [found.origin(f"data.evaluation.{name}") for name in ("path", "batch")] == ["--set", "default"]


def test_every_key_has_its_line(tmp_path: Path) -> None:
    found = read_fields(written(tmp_path), ("head=int8",))
    lines = {name: found.line(name) for name in ("model", "data", "data.tuning", "data.tuning.path", "weights", "head")}
    assert lines == {"model": 1, "data": 4, "data.tuning": 6, "data.tuning.path": 6, "weights": 7, "head": None}
    assert found.line("data.evaluation") == 4


@given(st.sampled_from(["target", "head", "weights"]), st.text("ab1", min_size=1, max_size=3))
def test_a_change_and_a_variable_of_the_same_name_mean_the_same(
    tmp_path_factory: pytest.TempPathFactory, name: str, value: str
) -> None:
    path = written(tmp_path_factory.mktemp("job"))
    by_set = read_fields(path, (f"{name}={value}",))
    by_variable = read_fields(path, (), {f"QUANTLAB_JOB_{name.upper()}": value})
    assert by_set.values == by_variable.values
