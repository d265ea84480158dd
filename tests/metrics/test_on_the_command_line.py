"""`quantlab compare --metric --labels`, and the same in a job."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from quantlab.errors import UsageError
from quantlab.jobs.comparing import read_comparison
from quantlab.jobs.job import Job
from quantlab.jobs.metric_choice import parsed
from quantlab.jobs.places import COMPARISON
from tests.cli.workplace import DECLARED, done, furnish, quantlab, refused


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = furnish(tmp_path_factory.mktemp("metrics"))
    data = folder / "calibration.npz"
    done("collect", folder / "model.onnx", "-d", data, *DECLARED, "-o", folder / "histograms.h5")
    done("calibrate", folder / "histograms.h5", "-o", folder / "scales.json")
    done("quantize", folder / "model.onnx", folder / "scales.json", "-o", folder / "int8.onnx")
    return folder


def compared(place: Path, output: str, *options: object) -> list[dict[str, object]]:
    arguments = (place / "model.onnx", place / "int8.onnx", "-d", place / "evaluation.npz", *DECLARED)
    found = done("compare", *arguments, "-o", place / output, "--json", *options).json
    scores: list[dict[str, object]] = found["metrics"]
    return scores


def test_named_metrics_take_the_place_of_the_usual_ones(place: Path) -> None:
    usual = compared(place, "usual.json")
    assert [score["name"] for score in usual] == ["top-1", "top-5"]
    named = compared(place, "named.json", "--metric", "f1:macro", "--metric", "balanced-accuracy", "--metric", "top:1")
    assert [score["name"] for score in named] == ["F1 (macro)", "balanced accuracy", "top-1"]
    assert named[2] == usual[0]
    assert named[0]["fp32"] == 1.0  # the labels are FP32's own answers
    assert named[0]["unit"] == "points"


def test_labels_of_a_file_stand_in_for_the_data_s_own(place: Path) -> None:
    with np.load(place / "evaluation.npz") as stored:
        labels = stored["label"]
    path = place / "labels.csv"
    path.write_text("label\n" + "".join(f"{(label + 1) % 4}\n" for label in labels))
    (score,) = compared(place, "shifted.json", "--metric", "top:1", "--labels", path)
    assert score["fp32"] == 0.0


def test_other_labels_or_metrics_make_a_comparison_stale(place: Path) -> None:
    arguments = (place / "model.onnx", place / "int8.onnx", "-d", place / "evaluation.npz", *DECLARED)
    done("compare", *arguments, "-o", place / "kept.json", "--metric", "f1:macro")
    assert quantlab("compare", *arguments, "-o", place / "kept.json", "--metric", "f1:macro").code == 0
    assert "metrics" in refused(5, "compare", *arguments, "-o", place / "kept.json", "--metric", "f1:micro")


def test_without_labels_only_what_needs_none_is_scored(place: Path) -> None:
    found = compared(place, "none.json", "--metric", "cosine", "--metric", "top:1", "--no-labels")
    assert [score["name"] for score in found] == ["cosine with FP32's embedding"]


def test_a_limit_holds_for_the_first_metric(place: Path) -> None:
    arguments = (place / "model.onnx", place / "int8.onnx", "-d", place / "evaluation.npz", *DECLARED)
    ended = quantlab("compare", *arguments, "-o", place / "limit.json", "--metric", "f1:macro", "--max-drop", "100")
    assert ended.code == 0
    sentence = refused(2, "compare", *arguments, "-o", place / "no.json", "--metric", "cosine", "--max-drop", "1")
    assert "«cosine with FP32's embedding», the first metric, is no share" in sentence


def test_what_cannot_be_scored_is_refused_before_anything_runs(place: Path) -> None:
    arguments = (place / "model.onnx", place / "int8.onnx", "-d", place / "evaluation.npz", *DECLARED)
    for options, code, sentence in (
        (("--metric", "recall"), 2, "Unknown metric «recall»"),
        (("--metric", "f1", "--metric", "f1:macro"), 2, "is asked for twice"),
        (("--labels", place / "labels.json"), 2, "nothing says how to score by them"),
        (("--metric", "map:yolov8", "--labels", place / "labels.json"), 4, "There is no file"),
        (("--metric", "map:yolov8"), 4, "mAP needs true boxes as labels"),
    ):
        assert sentence in refused(code, "compare", *arguments, "-o", place / "no.json", *options)
    assert not (place / "no.json").exists()


def test_a_lineup_scores_by_the_same_names(place: Path) -> None:
    arguments = (
        place / "model.onnx",
        place / "int8.onnx",
        place / "other.onnx",
        "-d",
        place / "evaluation.npz",
        *DECLARED,
    )
    found = done("compare", *arguments, "-o", place / "many.json", "--json", "--metric", "f1:macro").json
    assert "F1 (macro)" in json.dumps(found)


def job(place: Path, **fields: object) -> Job:
    document = {
        "model": "model.onnx",
        "output": "run",
        "data": {"calibration": "calibration.npz", "evaluation": "evaluation.npz"},
        **fields,
    }
    return Job.model_validate(document, context={"file": place / "job.yaml"})


def test_a_job_names_its_metrics_and_labels(place: Path) -> None:
    (place / "dict.txt").write_text("a\nb\n")
    sets = {"calibration": "calibration.npz", "evaluation": {"path": "evaluation.npz", "labels": "words.csv"}}
    found = job(place, metrics=["word-accuracy:characters=dict.txt", "f1:macro"], data=sets)
    assert [metric.name for metric in parsed(found.metrics)] == ["word accuracy", "F1 (macro)"]
    assert found.sources["evaluation"].labels == str(place / "words.csv")
    assert job(place, metrics="f1").metrics == ("f1",)
    assert job(place).metrics == ()


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"metrics": ["recall"]}, "Unknown metric «recall»"),
        ({"metrics": ["top:1", "top"]}, "asked for twice"),
        ({"metrics": ["cosine"], "max_drop": 1}, "is no share"),
        ({"data": {"calibration": "c.npz", "evaluation": {"path": "e.npz", "labels": "l.csv"}}}, "add `metrics`"),
    ],
)
def test_a_job_that_cannot_be_scored_is_refused(place: Path, fields: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        job(place, **fields)


def test_a_run_is_judged_by_the_first_metric(place: Path) -> None:
    text = (place / "job.yaml").read_text().replace("output: run", "output: scored").replace("ort: true\n", "")
    (place / "scored.yaml").write_text(f"{text}metrics: [f1:macro, top:1]\nmax_drop: 100\n")
    done("run", place / "scored.yaml")
    found = read_comparison(place / "scored" / COMPARISON)
    assert [score.name for score in found.metrics] == ["F1 (macro)", "top-1"]


def test_a_metric_is_not_asked_for_twice() -> None:
    with pytest.raises(UsageError, match="«top-1» is asked for twice"):
        parsed(("top", "top:1"))
