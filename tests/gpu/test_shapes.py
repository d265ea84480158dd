"""The measurement of two shapes: what it computes besides its engines, and a rehearsal on a network with two filters."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image

from calib_data.export_yolov3_tiny import Size, build
from tests.calib_data.test_export_yolov3_tiny import count_weights, weights
from tests.gpu.shape_ranges import across, gap
from tests.gpu.shapes import SIDES, main, photos
from tests.gpu.subjects import INPUT

SMALL = Size(width=2)


def unsure_network() -> onnx.ModelProto:
    """Return a small detector that finds no box anywhere: its heads are about −3."""
    model = build(weights(count_weights(SMALL)) * np.float32(0.2), SMALL)
    for constant in model.graph.initializer:
        if constant.name in ("conv_15_bias", "conv_22_bias"):
            constant.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(constant) - np.float32(3), constant.name))
    return model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two noisy photos."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(2):
        pixels = np.random.default_rng(index).integers(0, 256, (64, 64, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return folder


def test_ranges_of_two_shapes_are_held_against_each_other() -> None:
    found = across({320: {"a": 2.0, "b": 4.0}, 416: {"a": 3.0, "b": 4.0, "c": 1.0}})
    assert found["320 by 416"] == {"tensors": 2, "share": 0.5, "worst_ratio": 1.5, "tensor": "a"}
    assert found["416 by 320"] == {"tensors": 2, "share": 0.0, "worst_ratio": 1.0, "tensor": "b"}


def test_the_gap_to_tensorrt_names_the_worst_tensor_and_those_of_one_alone() -> None:
    found = gap({"a": 1.0, "b": 2.5, "constant": 1.0}, {"a": 1.0, "b": 2.0, "folded": 1.0})
    assert (found["tensors"], found["worst_relative"], found["tensor"]) == (2, 0.25, "b")
    assert (found["tensorrt_alone"], found["quantlab_alone"]) == (["constant"], ["folded"])
    assert gap({}, {"a": 1.0})["tensors"] == 0


def test_a_photo_stands_in_the_middle_of_a_grey_square(folder: Path) -> None:
    (batch,) = photos(sorted(folder.iterdir()), 320)
    image = batch[INPUT]
    assert image.shape == (2, 3, 320, 320)
    assert set(image[:, :, :74].ravel()) == set(image[..., 246:].ravel()) == {np.float32(127) / np.float32(255)}
    assert len(set(image[0, 0, 74:246, 74].ravel())) > 1


def test_a_rehearsal_writes_the_figures_of_every_simulation(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "net.onnx"
    onnx.save(unsure_network(), model)
    given = {"--model": model, "--calibration": folder, "--evaluation": folder, "--out": tmp_path, "--engines": "ort"}
    monkeypatch.setattr("sys.argv", ["shapes", *(str(word) for pair in given.items() for word in pair)])
    main()
    text = (tmp_path / "shapes.json").read_text(encoding="utf-8")
    found = json.loads(text)
    assert str(tmp_path) not in text
    assert len(found["engines"]) == 5
    for figures in found["engines"].values():
        assert all(figures[str(side)]["coarse_sqnr_db"] > 0 for side in SIDES)
    assert set(found["ranges"]["exceeded"]) == {"quantlab"}
