"""Several engines in one command: their table, their times, and who is to blame."""

from __future__ import annotations

import json
from pathlib import Path

from quantlab.comparison.lineup import Lineup
from quantlab.comparison.three_way import ThreeWay
from tests.cli.workplace import DECLARED, done, refused


def compare(place: Path, *candidates: str) -> tuple[object, ...]:
    data = ("-d", place / "evaluation.npz", *DECLARED)
    return ("compare", place / "model.onnx", *(place / name for name in candidates), *data)


def test_several_candidates_become_one_table(place: Path) -> None:
    done("calibrate", place / "histograms.h5", "--method", "minmax", "-o", place / "m.json")
    done("quantize", place / "model.onnx", place / "m.json", "-o", place / "m.onnx")
    ended = done(*compare(place, "int8.onnx", "m.onnx", "model.onnx"), "-o", place / "all.json")
    for text in ("reference", "int8.onnx", "m.onnx", "top-1 %", "SQNR dB", "a simulation of TensorRT"):
        assert text in ended.out
    found = Lineup.from_json((place / "all.json").read_text())
    assert [entry.name for entry in found.entries] == ["int8.onnx", "m.onnx", "model.onnx"]
    assert found["model.onnx"].comparison.agreement.score == 1
    assert found["int8.onnx"].cost.model_bytes == (place / "int8.onnx").stat().st_size
    again = done(*compare(place, "int8.onnx", "m.onnx", "model.onnx"), "-o", place / "all.json")
    assert "is current" in again.out


def test_each_line_is_what_the_command_says_of_that_model_alone(place: Path) -> None:
    done(*compare(place, "int8.onnx", "model.onnx"), "-o", place / "all.json")
    alone = done(*compare(place, "int8.onnx"), "-o", place / "one.json", "--json").json
    found = Lineup.from_json((place / "all.json").read_text())["int8.onnx"].comparison.to_json()
    for field in ("samples", "metrics", "agreement", "outputs", "backends", "chosen_on", "final"):
        assert found[field] == alone[field]


def test_engines_are_timed_by_batch_size(place: Path) -> None:
    arguments = (*compare(place, "int8.onnx"), "--optimize", "--batches", "1,4", "-o", place / "t.json", "--json")
    document = done(*arguments).json
    entry = document["entries"][0]
    assert [time["batch"] for time in entry["cost"]["times"]] == [1, 4]
    assert [time["batch"] for time in document["reference_cost"]["times"]] == [1, 4]
    assert all(time["where"] == "host" for time in entry["cost"]["times"])


def test_the_time_of_a_simulation_is_refused(place: Path) -> None:
    error = refused(2, *compare(place, "int8.onnx"), "--batches", "1", "-o", place / "t.json")
    assert "simulation says nothing" in error


def test_a_three_way_check_names_who_is_to_blame(place: Path) -> None:
    road = (*compare(place, "model.onnx", "int8.onnx"), "--optimize", "--three-way", place / "int8.onnx")
    ended = done(*road, "-o", place / "g.json")
    found = ThreeWay.from_json((place / "g.json").read_text())
    assert "simulation against FP32" in ended.out
    assert json.loads((place / "g.json").read_text())["verdict"] == found.verdict
    assert found.build.agreement.score == 1
    other = (*compare(place, "other.onnx", "int8.onnx"), "--three-way", place / "int8.onnx")
    assert done(*other, "-o", place / "o.json", "--json").json["verdict"] == "build"


def test_what_does_not_go_together_is_refused(place: Path) -> None:
    out = ("-o", place / "x.json")
    assert "--scales goes with one" in refused(
        2, *compare(place, "int8.onnx", "model.onnx"), "--scales", place / "scales.json", *out
    )
    assert "--max-drop goes with" in refused(2, *compare(place, "int8.onnx", "model.onnx"), "--max-drop", 1, *out)
    assert "takes three engines" in refused(2, *compare(place, "int8.onnx"), "--three-way", place / "int8.onnx", *out)
    assert "positive whole numbers" in refused(2, *compare(place, "int8.onnx"), "--batches", "1,x", *out)
    assert "given twice" in refused(2, *compare(place, "int8.onnx", "int8.onnx"), *out)
    float_one = (*compare(place, "model.onnx", "int8.onnx"), "--three-way", place / "model.onnx")
    assert "has no Q/DQ, so it simulates nothing" in refused(4, *float_one, *out)
    plans = ("compare", place / "a.plan", place / "b.plan", "--random", 4)
    for name in ("a.plan", "b.plan"):
        (place / name).write_bytes(b"plan")
    assert "all of these are plans" in refused(2, *plans, *out)
    error = refused(4, *compare(place, "missing.plan"), *out)
    assert "missing.plan" in error


def test_without_labels_no_interval_is_promised(place: Path) -> None:
    ended = done(*compare(place, "int8.onnx", "model.onnx"), "--no-labels", "-o", place / "all.json")
    assert "interval" not in ended.out


def test_a_damaged_table_is_refused(place: Path) -> None:
    arguments = (*compare(place, "int8.onnx", "model.onnx"), "-o", place / "all.json")
    done(*arguments)
    (place / "all.json").write_text("{")
    assert "was changed after quantlab made it" in refused(4, *arguments)
