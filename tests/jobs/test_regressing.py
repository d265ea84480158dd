"""Two real run folders in, a verdict and its files out; what cannot be compared is one sentence."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from quantlab.calibration.histogram_set import HistogramSet
from quantlab.errors import InputError, StaleError, UsageError
from quantlab.jobs.comparing import Comparing, compare_models
from quantlab.jobs.data_source import DataSource
from quantlab.jobs.histories import record_of, remember
from quantlab.jobs.preprocessing import preprocess_of
from quantlab.jobs.regressing import Regressing, read_run, regress_runs
from quantlab.regression.regression import Regression
from quantlab.storage.histograms_h5 import read_histograms
from quantlab.storage.run_history import history
from tests.jobs import gate_place


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the runs; nobody writes into it."""
    return gate_place.runs(tmp_path_factory.getbasetemp()) / "runs"


@pytest.fixture
def copy(runs: Path, tmp_path: Path) -> Path:
    """A copy of the main run for one test."""
    return shutil.copytree(runs / "main", tmp_path / "copy")


def verdict(baseline: Path, candidate: Path) -> str:
    return regress_runs(Regressing(baseline, candidate)).found.verdict


def test_an_unchanged_run_passes_and_a_wrong_preprocessing_fails(runs: Path) -> None:
    again = regress_runs(Regressing(runs / "main", runs / "again")).found
    assert (again.verdict, again.identical, again.differences) == ("pass", True, ())
    worse = regress_runs(Regressing(runs / "main", runs / "worse")).found
    assert worse.verdict == "fail"
    assert {check.name for check in worse.checks if check.state == "fail"} >= {"top-1", "scale of a tensor"}
    assert any("preprocessing" in difference for difference in worse.differences)
    assert (worse.samples, worse.left_out) == (gate_place.EVALUATED, (0, 0))


def test_a_run_is_read_whole_and_its_histograms_when_they_are_asked_for(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []

    def noted(path: Path) -> HistogramSet:
        opened.append(path)
        return read_histograms(path)

    monkeypatch.setattr("quantlab.jobs.regressing.read_histograms", noted)
    run = read_run(runs / "main")
    assert not opened
    assert run.histograms is not None
    found = run.histograms()
    assert found is not None
    assert opened == [runs / "main" / "histograms.h5"]
    assert run.scales is not None
    assert set(found) >= {row.tensor for row in run.scales.rows if row.role == "activation"}
    assert run.scales.provenance is not None
    assert run.model == run.scales.provenance.model
    assert (run.name, run.target, run.method, run.coverage) == ("main", "tensorrt", "minmax", None)
    assert run.samples is not None
    assert len(run.samples) == run.comparison.samples == gate_place.EVALUATED
    assert set(run.versions) >= {"quantlab", "python", "onnxruntime"}


def test_names_of_classes_are_read_and_a_page_with_others_is_stale(copy: Path, tmp_path: Path) -> None:
    what = Regressing(copy, copy, outputs={"html": tmp_path / "page.html"})
    regress_runs(what)
    assert read_run(copy).class_names == ()
    (copy / "classes.txt").write_text("top\ntrouser\n")
    assert read_run(copy).class_names == ("top", "trouser")
    with pytest.raises(StaleError, match=r"page\.html' is stale"):
        regress_runs(what)


def test_coverage_is_counted_if_the_policy_asks_for_it(runs: Path, tmp_path: Path) -> None:
    coverage = read_run(runs / "main", coverage=True).coverage
    assert coverage is not None
    assert 0.5 < coverage.share <= 1
    assert 0.9 < (coverage.macs_share or 0) < 1  # the head stays float
    for least, expected in ((0.5, "pass"), (1.0, "fail")):
        (tmp_path / "policy.yaml").write_text(f"coverage_macs: {least}")
        what = Regressing(runs / "main", runs / "again", tmp_path / "policy.yaml")
        assert regress_runs(what).found.verdict == expected


def test_a_comparison_alone_is_a_run_without_scales(runs: Path) -> None:
    run = read_run(runs / "main" / "compare.json")
    assert (run.name, run.scales, run.histograms, run.target) == ("main/compare.json", None, None, "")
    assert run.model.startswith("sha256:")
    assert verdict(runs / "main" / "compare.json", runs / "again") == "pass"


def test_a_metric_that_is_no_mean_is_scored_by_its_name(runs: Path, tmp_path: Path) -> None:
    preprocess = preprocess_of(gate_place.PREPROCESS)
    source = DataSource(str(runs.parent / "evaluation.npz"), preprocess=preprocess)
    for name in ("main", "worse"):
        model = runs / name / "model.int8.onnx"
        output = tmp_path / name / "compare.json"
        compare_models(Comparing(gate_place.SHIPPED / "fashion_net.onnx", model, source, output, metrics=("f1:macro",)))
    found = regress_runs(Regressing(tmp_path / "main", tmp_path / "worse")).found
    (check,) = [check for check in found.checks if check.name.startswith("F1")]
    values = [read_run(tmp_path / name).comparison.metrics[0].int8 for name in ("main", "worse")]
    assert (check.baseline, check.candidate) == pytest.approx(values)


def test_slices_are_found_by_name_and_by_key(runs: Path, tmp_path: Path) -> None:
    table = read_run(runs / "main").samples
    assert table is not None
    half = len(table) // 2
    lines = [
        f"{table.names[i] if i < half else table.keys[i]},{'left' if i < half else 'right'}" for i in range(len(table))
    ]
    (tmp_path / "sides.csv").write_text("\n".join(["sample,slice", *lines]))
    (tmp_path / "policy.yaml").write_text("slices: [{by: side, file: sides.csv}, {by: label}]")
    found = regress_runs(Regressing(runs / "main", runs / "worse", tmp_path / "policy.yaml")).found
    sides = {part.name: (part.samples, part.state) for part in found.slices if part.by == "side"}
    assert sides == {"left": (half, "fail"), "right": (half, "fail")}
    assert {part.name for part in found.slices if part.by == "label"} == {str(label) for label in range(10)}


def test_all_files_are_written_once_and_are_current_then(runs: Path, tmp_path: Path) -> None:
    names = {"json": "r.json", "html": "r.html", "markdown": "r.md", "junit": "r.xml"}
    what = Regressing(runs / "main", runs / "worse", outputs={kind: tmp_path / name for kind, name in names.items()})  # type: ignore[misc]
    first = regress_runs(what)
    assert [made.fresh for made in first.made] == [True] * 4
    assert Regression.from_json((tmp_path / "r.json").read_text(encoding="utf-8")) == first.found
    before = {name: (tmp_path / name).read_bytes() for name in names.values()}
    assert [made.fresh for made in regress_runs(what).made] == [False] * 4
    assert [made.fresh for made in regress_runs(what, remake="always").made] == [True] * 4
    assert {name: (tmp_path / name).read_bytes() for name in names.values()} == before
    with pytest.raises(StaleError, match=r"r\.json' is stale"):
        regress_runs(replace(what, candidate=runs / "again"))


@pytest.mark.parametrize("name", ["compare.json", "scales.json", "run.json", "compare.samples.h5", "manifest.json"])
def test_a_damaged_file_is_named(runs: Path, copy: Path, name: str) -> None:
    (copy / name).write_bytes((copy / name).read_bytes()[:40])
    with pytest.raises((InputError, StaleError), match=name.replace(".", r"\.")):
        regress_runs(Regressing(runs / "main", copy))


def test_damaged_histograms_are_named_once_they_are_looked_at(runs: Path, copy: Path) -> None:
    (copy / "histograms.h5").write_bytes(b"no HDF5")
    with pytest.raises(InputError, match=r"histograms\.h5"):
        regress_runs(Regressing(runs / "main", copy))


def test_scales_of_another_run_in_the_folder_are_stale(runs: Path, copy: Path) -> None:
    shutil.copy(runs / "worse" / "scales.json", copy / "scales.json")
    with pytest.raises(StaleError, match=r"holds other scales than 'compare\.json' was made with"):
        regress_runs(Regressing(runs / "main", copy))


def test_an_edited_comparison_is_refused(runs: Path, copy: Path) -> None:
    text = (copy / "compare.json").read_text(encoding="utf-8")
    (copy / "compare.json").write_text(text + " ", encoding="utf-8")
    with pytest.raises(InputError, match="was changed after quantlab made it"):
        regress_runs(Regressing(runs / "main", copy))


def test_a_missing_run_and_a_folder_without_a_score_say_what_to_give(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no run"):
        regress_runs(Regressing(runs / "main", tmp_path / "gone"))
    with pytest.raises(InputError, match=r"holds no compare\.json"):
        regress_runs(Regressing(tmp_path, runs / "main"))


def test_runs_on_other_samples_are_refused(runs: Path, tmp_path: Path) -> None:
    gate_place.write_sets(tmp_path, 16, 16)
    with np.load(tmp_path / "evaluation.npz") as found:
        arrays = {key: found[key] for key in found.files}
    name = next(key for key, values in arrays.items() if values.ndim == 4)
    np.savez(tmp_path / "evaluation.npz", **{**arrays, name: 255 - arrays[name]})
    other = gate_place.run(tmp_path, "other")
    with pytest.raises(InputError, match="which share no sample"):
        regress_runs(Regressing(runs / "main", other))


def test_outputs_that_cannot_be_are_refused_before_any_work(runs: Path, tmp_path: Path) -> None:
    for outputs, words in (
        ({"html": tmp_path / "a.txt"}, r"must end in \.html"),
        ({"json": runs / "main" / "compare.json"}, "also an input"),
    ):
        path = runs / "main" / "compare.json"
        with pytest.raises(UsageError, match=words):
            regress_runs(Regressing(path, tmp_path / "gone", outputs=outputs))  # type: ignore[arg-type]


def test_a_history_keeps_the_figures_of_a_run(runs: Path, tmp_path: Path) -> None:
    found = json.loads((runs / "main" / "compare.json").read_text(encoding="utf-8"))
    record = record_of(runs / "main", tmp_path / "history", label="1.0", verdict="pass", against="old")
    main = found["metrics"][0]
    assert (record.name, record.label, record.method, record.metric) == ("main", "1.0", "minmax", "top-1")
    assert (record.fp32, record.int8, record.drop) == (main["fp32"], main["int8"], main["drop"])
    assert (record.int8_bytes, record.samples) == (found["sizes"]["int8"], gate_place.EVALUATED)
    assert record.model_name == "fashion_net.onnx"
    assert (tmp_path / "history" / record.place).resolve() == (runs / "main").resolve()
    assert record.versions["quantlab"]
    alone = record_of(runs / "main" / "compare.json")
    assert (alone.digest, alone.name, alone.method) == (record.digest, "compare", "")


def test_a_run_and_its_verdict_are_one_line_of_a_history(runs: Path, tmp_path: Path) -> None:
    assert remember(runs / "main", tmp_path)[1]
    assert not remember(runs / "main", tmp_path, verdict="warn", against="old")[1]
    (line,) = history(tmp_path).runs
    assert (line.verdict, line.against) == ("warn", "old")
