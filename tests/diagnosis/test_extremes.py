"""Who set each range."""

from __future__ import annotations

import numpy as np
import pytest

from quantlab import engines
from quantlab.calibration.methods.minmax import MinMax
from quantlab.calibration.methods.squared_error import SquaredError
from quantlab.diagnosis.extremes import Extreme, find_extremes, sentence, setters
from quantlab.diagnosis.survey import Survey, survey
from quantlab.numerics.arrays import F32
from quantlab.numerics.histogram import Histogram
from tests.diagnosis.fashion import batches
from tests.networks import image_batch, small_cnn

METHODS = (MinMax(), SquaredError())


def looked(values: F32, *tensors: str) -> Survey:
    with engines.ort(small_cnn(), expose=tensors or "all", threads=1) as engine:
        return survey(engine, batches(values))


def extremes(values: F32) -> dict[str, Extreme]:
    return {e.tensor: e for e in find_extremes(looked(values), METHODS)}


def test_a_planted_outlier_is_named_with_all_its_ranges() -> None:
    values = image_batch(20)
    values[13] *= 4
    found = extremes(values)
    assert {found[tensor].sample for tensor in ("image", "conv1")} == {"13.png"}
    first = setters(found.values())[0]
    assert (first.sample, first.index) == ("13.png", 13)
    assert {"image", "conv1"} <= set(first.tensors)
    assert 0.05 <= first.smallest <= first.largest < 1
    assert f"«13.png» alone sets {len(first.tensors)} of {len(found)} ranges" in sentence(found)


def test_the_fall_is_that_of_a_count_without_the_sample() -> None:
    values = image_batch(20)
    values[13] *= 4
    whole, rest = Histogram.of(values), Histogram.of(np.delete(values, 13, axis=0))
    found = extremes(values)["image"]
    assert found.falls[repr(MinMax())] == pytest.approx(1 - rest.amax / whole.amax)
    assert found.amax_falls == pytest.approx(1 - rest.amax / whole.amax)
    expected = 1 - SquaredError()(rest).amax / SquaredError()(whole).amax
    assert found.falls[repr(SquaredError())] == pytest.approx(expected, abs=0.02)
    assert found.second_value == rest.amax


def test_a_range_that_many_share_hangs_on_nobody() -> None:
    found = extremes(10 * image_batch(20))["relu6"]
    assert (found.value, found.second_value) == (6.0, 6.0)
    assert set(found.falls.values()) == {0.0}
    assert "relu6" not in {tensor for setter in setters([found]) for tensor in setter.tensors}


def test_nothing_stands_out_among_equals() -> None:
    values = np.repeat(image_batch(1), 4, axis=0)
    found = extremes(values)
    assert setters(found.values()) == ()
    assert sentence(found).startswith("No sample alone sets a range")


def test_the_only_sample_sets_everything_and_is_nobodys_outlier() -> None:
    found = extremes(image_batch(1))
    assert {(e.sample, e.second, e.amax_falls) for e in found.values() if e.value} == {("0.png", "", 1.0)}
    assert setters(found.values()) == ()


def test_tensors_that_are_zero_throughout_fall_by_nothing() -> None:
    found = extremes(np.zeros((3, 3, 12, 12), np.float32))["image"]
    assert (found.value, found.amax_falls, set(found.falls.values())) == (0.0, 0.0, {0.0})
