"""Drift: silent for halves of one set, loud for darker images."""

from __future__ import annotations

import numpy as np
import pytest

from quantlab import engines
from quantlab.calibration.calibrate import calibrate
from quantlab.calibration.methods.minmax import MinMax
from quantlab.calibration.methods.squared_error import SquaredError
from quantlab.calibration.scale_table import ScaleTable
from quantlab.diagnosis.drift import Drift, divergence, find_drift
from quantlab.diagnosis.survey import Survey, survey
from quantlab.errors import InputError
from quantlab.numerics.arrays import F32
from quantlab.numerics.histogram import Histogram
from tests.diagnosis.fashion import NETWORK, batches, pixels, prepared
from tests.networks import image_batch, small_cnn


def looked(values: F32) -> Survey:
    with engines.ort(NETWORK, expose="quantizable", threads=1) as engine:
        return survey(engine, batches(values))


@pytest.fixture(scope="module")
def half() -> Survey:
    return looked(prepared(pixels(100)))


def test_two_halves_of_one_set_look_alike(half: Survey) -> None:
    for start in (100, 200, 300):
        found = find_drift(half, looked(prepared(pixels(100, start))), SquaredError())
        assert found.drifted == ()
        assert "look alike" in found.sentence


def test_a_small_set_of_the_same_kind_looks_alike(half: Survey) -> None:
    assert find_drift(half, looked(prepared(pixels(12, 500))), SquaredError()).drifted == ()


def test_brighter_images_are_found_with_what_they_cost(half: Survey) -> None:
    later = looked(prepared(1.5 * pixels(100, 100)))
    found = find_drift(half, later, SquaredError())
    image = next(tensor for tensor in found.tensors if tensor.tensor == "image")
    assert image.drifted
    assert image.beyond_observed > 0.05
    assert image.clipped > 0.05
    assert image.lost_db > 3
    assert [t.times_noise for t in found.tensors] == sorted((t.times_noise for t in found.tensors), reverse=True)
    assert "differ in" in found.sentence
    assert "lose 1 dB or more" in found.sentence


def test_the_tables_scales_are_the_ones_that_count(half: Survey) -> None:
    later = looked(prepared(pixels(60, 100)))
    wide = ScaleTable(tuple(calibrate({"image": Histogram.of(np.array([500.0]))}, MinMax()).rows))
    found = {t.tensor: t for t in find_drift(half, later, SquaredError(), wide).tensors}["image"]
    assert found.clipped == 0
    assert found.lost_db > 30


def test_the_divergence_is_a_divergence() -> None:
    one, two = Histogram.of(np.array([1.0, 2.0, 3.0])), Histogram.of(np.array([-1e6, -5.0]))
    assert divergence(one, one) == 0
    assert divergence(one, two) == divergence(two, one) == pytest.approx(1)
    assert 0 < divergence(one, one.merge(two)) < 1
    assert divergence(one, Histogram.of(np.array([]))) == 0


def small(values: F32) -> Survey:
    with engines.ort(small_cnn(), expose=("image", "relu"), threads=1) as engine:
        return survey(engine, batches(values))


def test_one_calibration_sample_gives_no_yardstick() -> None:
    found = find_drift(small(image_batch(1)), small(image_batch(9)), MinMax())
    assert found.tensors == ()
    assert "cannot be told" in found.sentence


def test_constant_inputs_that_change_have_drifted() -> None:
    flat = np.ones((8, 3, 12, 12), np.float32) + np.linspace(0, 1e-6, 8, dtype=np.float32)[:, None, None, None]
    found: Drift = find_drift(small(flat), small(3 * flat), MinMax())
    image = next(tensor for tensor in found.tensors if tensor.tensor == "image")
    assert image.drifted
    assert image.distance == pytest.approx(1)


def test_other_tensors_are_refused(half: Survey) -> None:
    with pytest.raises(InputError, match="different tensors"):
        find_drift(half, small(image_batch(4)), MinMax())
