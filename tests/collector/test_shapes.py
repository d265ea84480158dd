"""Calibration at several shapes of a network whose height and width are free: collected together, or apart and merged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from quantlab import engines
from quantlab.calibration.calibrate import calibrate
from quantlab.calibration.histogram_set import HistogramSet
from quantlab.collector.collect import collect
from quantlab.data import Preprocess, images
from quantlab.data.batch import Batch, Dataset
from quantlab.errors import InputError
from quantlab.numerics.arrays import Tensors
from quantlab.numerics.histogram import Histogram
from quantlab.storage.files import load, save
from tests.networks import small_cnn

SIDES = (12, 20)


def free_cnn() -> onnx.ModelProto:
    """Return the small network with height and width free."""
    model = small_cnn()
    for dimension, name in zip(model.graph.input[0].type.tensor_type.shape.dim[2:], ("height", "width"), strict=True):
        dimension.dim_param = name
    return model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six noisy images in files."""
    rng = np.random.default_rng(0)
    for index in range(6):
        Image.fromarray(rng.integers(0, 256, (24, 24, 3), np.uint8)).save(tmp_path / f"{index}.png")
    return tmp_path


def at(folder: Path, side: int) -> Dataset:
    return images(folder, preprocess=Preprocess(resize=(side, side), scale=1 / 255), batch=4, name="calib")


def collected(data: list[Tensors] | Dataset) -> HistogramSet:
    with engines.ort(free_cnn(), expose="all") as engine:
        return collect(engine, data)


def rows(folder: Path) -> list[Tensors]:
    """Return the images one by one, the shapes taking turns."""
    every = [batch for side in SIDES for data in at(folder, side) for batch in data.values()]
    singles = [[image[None] for batch in every if batch.shape[-1] == side for image in batch] for side in SIDES]
    return [Batch({"image": image}) for pair in zip(*singles, strict=True) for image in pair]


def test_collecting_at_two_shapes_apart_and_merging_equals_collecting_both_together(folder: Path) -> None:
    small, large = (collected(at(folder, side)) for side in SIDES)
    together = collected(rows(folder))
    assert dict(small.merge(large)) == dict(large.merge(small)) == dict(together)
    assert dict(small) != dict(large)
    relu = together["relu"]
    assert isinstance(relu, Histogram)
    assert relu.total == 6 * 6 * sum((side - 2) ** 2 for side in SIDES)


def test_the_merged_histograms_say_at_which_sizes_they_were_counted_and_go_through_a_file(
    folder: Path, tmp_path: Path
) -> None:
    merged = collected(at(folder, SIDES[0])).merge(collected(at(folder, SIDES[1])))
    save(merged, tmp_path / "merged.h5")
    found = load(tmp_path / "merged.h5")
    assert isinstance(found, HistogramSet)
    assert dict(found) == dict(merged)
    assert [data.preprocess["resize"] for data in found.provenance.chosen_on] == [[12, 12], [20, 20]]
    table = calibrate(found)
    assert table.provenance == merged.provenance


def test_the_same_images_at_the_same_size_are_still_refused(folder: Path) -> None:
    one = collected(at(folder, 12))
    with pytest.raises(InputError, match="«calib» and «calib» share samples"):
        one.merge(collected(at(folder, 12)))
