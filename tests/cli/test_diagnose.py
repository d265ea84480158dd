"""`quantlab diagnose`: what it prints, writes and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from quantlab.diagnosis.diagnosis import Diagnosis
from tests.cli.workplace import DECLARED, done, quantlab, refused, tree


def data(place: Path) -> tuple[object, ...]:
    return ("-d", place / "calibration.npz", *DECLARED)


def test_it_says_what_it_found_and_writes_nothing(place: Path) -> None:
    before = tree(place)
    ended = done("diagnose", place / "model.onnx", *data(place))
    assert "the preprocessing" in ended.out
    assert "samples" in ended.out
    assert "MinMax(): samples" in ended.out
    assert tree(place) == before


def test_everything_at_once_goes_into_a_file(place: Path) -> None:
    more = ("--evaluation", place / "evaluation.npz", "--int8", place / "int8.onnx", "--scales", place / "scales.json")
    arguments = ("diagnose", place / "model.onnx", *data(place), *more, "-o", place / "diagnosis.json")
    assert "diagnosis.json written" in done(*arguments).out
    found = Diagnosis.from_json((place / "diagnosis.json").read_text())
    assert found.drift is not None
    assert found.flips is not None
    assert (found.drift.calibration, found.drift.evaluation) == ("calibration", "evaluation")
    assert found.drift.samples == (24, 40)
    assert "is current: nothing changed, nothing done" in done(*arguments).out
    assert "option tolerance was 0.02 and is 0.1" in refused(5, *arguments, "--tolerance", "0.1")


def test_json_is_one_object_and_nothing_else(place: Path) -> None:
    ended = done("diagnose", place / "model.onnx", *data(place), "-m", "percentile:99", "--expose", "b", "--json")
    assert [c["method"] for c in ended.json["convergence"]] == ["Percentile(p=99.0, of='all')"]
    assert [e["tensor"] for e in ended.json["extremes"]] == ["b"]
    assert len(ended.json["findings"]) == 3
    stamped = {k: v for k, v in json.loads(ended.out).items() if k != "findings"}
    assert Diagnosis.from_json(stamped).data.count == 24


def test_flipped_samples_are_named(place: Path) -> None:
    proto = onnx.load(place / "int8.onnx")
    bias = next(tensor for tensor in proto.graph.initializer if tensor.name == "b3")
    bias.CopyFrom(onnx.numpy_helper.from_array(np.array([900, 0, 0, 0], np.float32), "b3"))
    onnx.save(proto, place / "broken.onnx")
    ended = done("diagnose", place / "model.onnx", *data(place), "--int8", place / "broken.onnx")
    assert "of 24 samples of «calibration» flipped" in ended.out
    assert "calibration[0]" in ended.out
    assert "error jumps in" in ended.out


def test_another_preprocessing_is_a_drift(place: Path) -> None:
    images = np.load(place / "evaluation.npz")["image"]
    np.savez(place / "dark.npz", image=images // 3)
    ended = done("diagnose", place / "model.onnx", *data(place), "--evaluation", place / "dark.npz")
    assert "«dark» and «calibration» differ" in ended.out
    assert "tensor that differs" in ended.out


@pytest.mark.parametrize(
    ("code", "arguments", "words"),
    [
        (2, ("-m", "magic"), "Unknown method «magic»"),
        (2, ("-m", "tensorrt-minmax"), "TensorRTMinMax"),
        (2, ("--tolerance", "0"), "A tolerance is a share"),
        (2, ("-o", "diagnosis.txt"), "must end in .json"),
        (4, ("--expose", "nothing*"), "nothing*"),
        (4, ("--evaluation", "gone.npz"), "gone.npz"),
        (4, ("--int8", "gone.onnx"), "gone.onnx"),
        (4, ("--scales", "gone.json"), "gone.json"),
    ],
)
def test_what_cannot_be_is_one_sentence(place: Path, code: int, arguments: tuple[str, ...], words: str) -> None:
    before = tree(place)
    assert words in refused(code, "diagnose", place / "model.onnx", *data(place), *arguments)
    assert tree(place) == before


def test_data_are_needed(place: Path) -> None:
    assert "Give --data PATH" in refused(2, "diagnose", place / "model.onnx")


def test_a_scale_table_of_another_model_is_stale(place: Path) -> None:
    more = ("--evaluation", place / "evaluation.npz", "--scales", place / "scales.json")
    assert "made for" in refused(5, "diagnose", place / "other.onnx", *data(place), *more)


def test_nan_is_refused_unless_it_is_allowed(place: Path) -> None:
    values = np.random.default_rng(0).standard_normal((6, 1, 8, 8)).astype(np.float32)
    values[2] = np.nan
    np.savez(place / "nan.npz", image=values)
    arguments = ("diagnose", place / "model.onnx", "-d", place / "nan.npz")
    assert "NaN in «nan[2]»" in refused(4, *arguments)
    assert quantlab(*arguments, "--allow-nonfinite").code == 0


def test_random_numbers_can_be_diagnosed(place: Path) -> None:
    assert "samples" in done("diagnose", place / "model.onnx", "--random", 8).out
