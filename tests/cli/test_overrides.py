"""Ranges set by hand: from the explorer's file through the command line and a job into the scales."""

from __future__ import annotations

from pathlib import Path

import pytest

import quantlab as ql
from quantlab.jobs.job_file import read_job
from quantlab.jobs.run import run_job
from quantlab.jobs.run_result import RunResult
from quantlab.jobs.step import Progress
from quantlab.storage.histograms_h5 import read_histograms
from quantlab.storage.overrides_yaml import write_overrides
from quantlab.storage.scale_table_json import read_scale_table
from tests.cli.workplace import done, quantlab, refused


class Silence:
    """Listens and says nothing."""

    def begins(self, number: int, total: int, title: str) -> Progress:
        return lambda _done, _total: None

    def ended(self, number: int, total: int, text: str, seconds: float) -> None:
        return


def test_what_the_explorer_keeps_calibrate_uses(place: Path) -> None:
    pytest.importorskip("ipywidgets", reason="needs ipywidgets: pip install 'quantlab[notebooks]'")
    file = place / "overrides.yaml"
    panel = ql.explore(read_histograms(place / "histograms.h5"), overrides=file, tensor="b")
    panel.slider.value = 200
    panel.keep.click()
    done("calibrate", place / "histograms.h5", "--overrides", file, "-o", place / "new.json")
    row = read_scale_table(place / "new.json")["b"]
    assert row.chosen == panel.state.range
    assert (row.clipped, row.sqnr_db) == (panel.state.cost.clipped, panel.state.cost.sqnr_db)
    assert row.method == f"Fixed(low={panel.state.range.low!r}, high={panel.state.range.high!r})"
    others = read_scale_table(place / "scales.json")
    assert all(read_scale_table(place / "new.json")[name] == others[name] for name in others if name != "b")


def test_an_override_goes_before_every_rule(place: Path) -> None:
    file = place / "o.yaml"
    write_overrides(file, ql.Overrides((ql.Override("b", ql.Range(0.0, 0.25)),)))
    done(
        "calibrate", place / "histograms.h5", "--overrides", file, "--rule", "*=minmax", "-o", place / "new.json",
    )  # fmt: skip
    table = read_scale_table(place / "new.json")
    assert (table["b"].chosen, table["d"].method) == (ql.Range(0.0, 0.25), "MinMax()")


def test_a_changed_override_makes_the_scales_stale(place: Path) -> None:
    file, scales = place / "o.yaml", place / "new.json"
    write_overrides(file, ql.Overrides((ql.Override("b", ql.Range(0.0, 0.25)),)))
    arguments = ("calibrate", place / "histograms.h5", "--overrides", file, "-o", scales)
    done(*arguments)
    assert [item["fresh"] for item in done(*arguments, "--json").json["outputs"]] == [False]
    write_overrides(file, ql.Overrides((ql.Override("b", ql.Range(0.0, 0.5)),)))
    assert "overrides" in refused(5, *arguments)
    done(*arguments, "--force")
    assert read_scale_table(scales)["b"].chosen == ql.Range(0.0, 0.5)


def test_an_override_of_no_tensor_is_refused(place: Path) -> None:
    file = place / "o.yaml"
    file.write_text("overrides: {nothing: {low: 0, high: 1}}\n")
    said = refused(4, "calibrate", place / "histograms.h5", "--overrides", file, "-o", place / "new.json")
    assert "«nothing» matches none of the" in said
    assert not (place / "new.json").exists()


def test_a_missing_or_foreign_file_is_refused(place: Path) -> None:
    arguments = ("calibrate", place / "histograms.h5", "-o", place / "new.json", "--overrides")
    assert "There is no file" in refused(4, *arguments, place / "no.yaml")
    (place / "job.yaml").write_text("model: m.onnx\n")
    assert "holds no overrides" in refused(4, *arguments, place / "job.yaml")


def test_a_job_takes_overrides_relative_to_its_file(place: Path) -> None:
    (place / "by hand").mkdir()
    write_overrides(place / "by hand" / "o.yaml", ql.Overrides((ql.Override("b", ql.Range(0.0, 0.5)),)))
    text = (place / "job.yaml").read_text()
    (place / "job.yaml").write_text(
        text.replace("cache: {}\nort: true\n", "overrides: by hand/o.yaml\n").replace("choose: best", "choose: minmax")
    )
    job = read_job(place / "job.yaml", ["data.tuning=null", "data.evaluation=null"])
    assert isinstance(run_job(job, listener=Silence()), RunResult)
    assert read_scale_table(place / "run" / "scales.json")["b"].chosen == ql.Range(0.0, 0.5)
    assert read_job(place / "job.yaml", ["overrides=null"]).overrides is None


def test_the_help_names_the_file() -> None:
    assert "--overrides" in quantlab("calibrate", "--help").out
