"""The step: a file that is current is read back, anything changed is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from quantlab.data import Preprocess
from quantlab.errors import InputError, StaleError, UsageError
from quantlab.jobs.data_source import DataSource
from quantlab.jobs.diagnosing import Diagnosing, diagnose_model, read_diagnosis
from tests.cli.workplace import furnish

PREPROCESS = Preprocess(color="GRAY", scale=1 / 255, mean=0.5, std=0.25)


@pytest.fixture
def what(tmp_path: Path) -> Diagnosing:
    furnish(tmp_path)
    source = DataSource(str(tmp_path / "calibration.npz"), PREPROCESS)
    later = DataSource(str(tmp_path / "evaluation.npz"), PREPROCESS)
    return Diagnosing(tmp_path / "model.onnx", source, tmp_path / "diagnosis.json", evaluation=later)


def test_a_second_time_the_file_is_read_back(what: Diagnosing) -> None:
    found, made = diagnose_model(what)
    again, current = diagnose_model(what)
    assert made is not None
    assert current is not None
    assert (made.fresh, current.fresh) == (True, False)
    assert again == found == read_diagnosis(made.path)


def test_without_a_file_nothing_is_written(what: Diagnosing, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    found, made = diagnose_model(replace(what, output=None))
    assert made is None
    assert found.data.count == 24
    assert sorted(tmp_path.iterdir()) == before


def test_another_option_or_evaluation_set_makes_it_stale(what: Diagnosing, tmp_path: Path) -> None:
    diagnose_model(what)
    with pytest.raises(StaleError, match=r"tolerance was 0\.02 and is 0\.1"):
        diagnose_model(replace(what, tolerance=0.1))
    other = DataSource(str(tmp_path / "tuning.npz"), PREPROCESS)
    with pytest.raises(StaleError, match="evaluation data changed"):
        diagnose_model(replace(what, evaluation=other))
    _, made = diagnose_model(replace(what, evaluation=other), remake="stale")
    assert made is not None
    assert made.fresh


def test_what_cannot_be_is_refused(what: Diagnosing, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"must end in \.json"):
        diagnose_model(replace(what, output=tmp_path / "diagnosis.txt"))
    with pytest.raises(InputError, match="has no Q/DQ"):
        diagnose_model(replace(what, int8=tmp_path / "other.onnx"))
    with pytest.raises(InputError, match=r"There is no file .*gone\.npz"):
        diagnose_model(replace(what, evaluation=DataSource(str(tmp_path / "gone.npz"), PREPROCESS)))
    (tmp_path / "diagnosis.json").write_text("{}")
    with pytest.raises(InputError, match=r"diagnosis\.json"):
        read_diagnosis(tmp_path / "diagnosis.json")
    with pytest.raises(InputError):
        diagnose_model(what)  # the file is somebody else's
