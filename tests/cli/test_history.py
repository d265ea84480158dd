"""`quantlab history`: add, list, show, plot and export, and one sentence for what is not there."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
from PIL import Image

from quantlab.errors import MachineError
from quantlab.jobs.exporting_history import export_to_mlflow
from quantlab.report.regression_history import history_page
from quantlab.storage.run_history import FILE, add_record, history
from quantlab.storage.run_record import RunRecord
from tests.cli.workplace import done, quantlab, refused
from tests.jobs import gate_place
from tests.report.html_tree import parse
from tests.report.regressions import NASTY


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the runs; nobody writes into it."""
    return gate_place.runs(tmp_path_factory.getbasetemp()) / "runs"


@pytest.fixture
def kept(runs: Path, tmp_path: Path) -> tuple[str, Path]:
    """The options that name a history of two runs."""
    folder = tmp_path / "history"
    for name in ("main", "worse"):
        done("history", "add", runs / name, "--history", folder, "--label", "1.0")
    return ("--history", folder)


def test_a_run_is_added_once(runs: Path, tmp_path: Path) -> None:
    options = ("--history", tmp_path / "h")
    assert done("history", "add", runs / "main", *options).out.endswith(": «main» added.\n")
    assert done("history", "add", runs / "main", *options).out.endswith("is there already: nothing done.\n")
    found = done("history", "add", runs / "main", *options, "--label", "2", "--json").json
    assert (found["number"], found["fresh"], found["label"], found["metric"]) == (2, True, "2", "top-1")


def test_the_list_has_a_line_a_run_the_last_one_last(kept: tuple[str, Path]) -> None:
    lines = done("history", "list", *kept).out.splitlines()
    assert [line.split("│")[2].strip() for line in lines[2:]] == ["main", "worse"]
    page = history_page(history(Path(kept[1])), b"")
    for line in lines[2:]:
        fp32, int8, drop = [cell.strip() for cell in line.split("│")[5:8]]
        assert re.fullmatch(r"\d+\.\d\d %", fp32)
        assert all(f'<td class="n">{text}</td>' in page for text in (fp32, int8, drop))
    assert [run["name"] for run in done("history", "list", *kept, "--last", "1", "--json").json["runs"]] == ["worse"]
    assert [run["number"] for run in done("history", "list", *kept, "--name", "main", "--json").json["runs"]] == [1]


def test_one_run_is_shown_with_its_versions(kept: tuple[str, Path]) -> None:
    out = done("history", "show", 1, *kept).out
    assert "fashion_net.onnx" in out
    assert "onnxruntime" in out
    assert done("history", "show", 2, *kept, "--json").json["name"] == "worse"


@pytest.mark.parametrize("name", ["trend.png", "trend.svg", "trend.html"])
def test_trends_are_drawn_once_and_the_same_twice(kept: tuple[str, Path], tmp_path: Path, name: str) -> None:
    done("history", "plot", "-o", tmp_path / name, *kept)
    first = (tmp_path / name).read_bytes()
    assert "is current" in done("history", "plot", "-o", tmp_path / name, *kept).out
    done("history", "plot", "-o", tmp_path / name, *kept, "--force")
    assert (tmp_path / name).read_bytes() == first
    if name.endswith("png"):
        with Image.open(tmp_path / name) as image:
            assert image.size[0] == 1200
    else:
        assert first.startswith(b"<!doctype html>" if name.endswith("html") else b"<?xml")


def test_names_that_are_markup_are_drawn_and_listed_as_text(tmp_path: Path) -> None:
    for i, name in enumerate(NASTY):
        add_record(tmp_path, RunRecord(name, "2026-01-31T12:00:00+00:00", f"d{i}", 9, label=name, drop=1.0, int8=0.5))
    options = ("--history", tmp_path)
    done("history", "plot", "-o", tmp_path / "t.html", *options)
    assert not parse((tmp_path / "t.html").read_text(encoding="utf-8")).all("script")
    done("history", "plot", "-o", tmp_path / "t.png", *options)
    out = done("history", "list", *options).out
    assert "\x1b" not in out
    assert "<img" in out


def test_runs_become_mlflow_runs_with_metrics_parameters_and_the_report(kept: tuple[str, Path], runs: Path) -> None:
    pytest.importorskip("mlflow", reason="needs MLflow: pip install 'quantlab[mlflow]'")
    store = kept[1].parent / "mlruns"
    ended = done("history", "export", "--mlflow", store, *kept, "--json")
    assert ended.json == {"experiment": "quantlab", "written": [1, 2], "there": 0}
    assert done("history", "export", "--mlflow", store.as_uri(), *kept, "--json").json["there"] == 2

    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=store.as_uri())
    experiment = client.get_experiment_by_name("quantlab")
    assert experiment is not None
    found = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(found) == {"main", "worse"}
    record, main = history(kept[1]).runs[0], found["main"]
    assert main.info.status == "FINISHED"
    figures = main.data.metrics
    assert (figures["score_int8"], figures["drop"], figures["samples"]) == (record.int8, record.drop, record.samples)
    assert figures["output_sqnr_db"] == pytest.approx(record.sqnr_db)
    assert main.data.params["model_name"] == "fashion_net.onnx"
    assert main.data.params["version.quantlab"] == record.versions["quantlab"]
    assert (main.data.tags["quantlab.digest"], main.data.tags["quantlab.label"]) == (record.digest, "1.0")
    assert {file.path for file in client.list_artifacts(main.info.run_id)} == {"report.html", "compare.json"}
    read = Path(client.download_artifacts(main.info.run_id, "report.html"))
    assert read.read_bytes() == (runs / "main" / "report.html").read_bytes()


def test_a_name_that_is_a_path_or_markup_does_no_harm_in_mlflow(tmp_path: Path) -> None:
    pytest.importorskip("mlflow", reason="needs MLflow: pip install 'quantlab[mlflow]'")
    for i, name in enumerate((*NASTY, "../../x")):
        versions = {f"{name}/../..": "1"}
        add_record(tmp_path / "h", RunRecord(name, "never", f"d{i}", 9, label=name, place="../gone", versions=versions))
    written = export_to_mlflow(history(tmp_path / "h"), str(tmp_path / "store"))
    assert len(written) == len(NASTY) + 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["h", "store"]


def test_a_store_that_cannot_be_opened_is_one_sentence_without_its_password(kept: tuple[str, Path]) -> None:
    pytest.importorskip("mlflow", reason="needs MLflow: pip install 'quantlab[mlflow]'")
    said = refused(6, "history", "export", "--mlflow", "nowhere://me:secret@host/x", *kept)
    assert "nowhere://host/x" in said
    assert "secret" not in said


def test_without_mlflow_one_sentence_says_what_to_install(
    kept: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "mlflow"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mlflow", None)
    said = refused(6, "history", "export", "--mlflow", kept[1].parent / "mlruns", *kept)
    assert "pip install 'quantlab[mlflow]'" in said
    with pytest.raises(MachineError):
        export_to_mlflow(history(kept[1]), "x")


@pytest.mark.parametrize(
    ("code", "arguments", "words"),
    [
        (4, ("list", "--history", "gone"), "There is no history in 'gone'"),
        (4, ("show", "7"), "has no run 7"),
        (4, ("list", "--name", "other"), "it has «main», «worse»"),
        (4, ("plot", "-o", "a.png", "--name", "other"), "of the name «other»"),
        (2, ("plot", "-o", "a.pdf"), "must end in .png or .svg"),
        (4, ("add", "gone"), "There is no run 'gone'"),
        (4, ("export", "--mlflow", ""), "neither may be empty"),
    ],
)
def test_what_is_not_there_is_one_sentence(
    kept: tuple[str, Path], code: int, arguments: tuple[str, ...], words: str
) -> None:
    where = () if "--history" in arguments else kept
    assert words in refused(code, "history", *arguments, *where)


def test_a_damaged_history_is_one_sentence(kept: tuple[str, Path]) -> None:
    (kept[1] / FILE).write_bytes(os.urandom(4096))
    assert "no history, or it is damaged" in refused(4, "history", "list", *kept)


def test_a_run_without_a_comparison_is_refused(tmp_path: Path) -> None:
    ended = quantlab("history", "add", tmp_path, "--history", tmp_path / "h")
    assert (ended.code, "holds no compare.json" in ended.err) == (4, True)
    assert not (tmp_path / "h").exists()
