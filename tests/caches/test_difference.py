"""Which scales changed, and what that costs on counted values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlab.caches.difference import Tolerance, against, difference
from quantlab.caches.harm import harm, least_harm
from quantlab.calibration.scale_table import ScaleTable
from quantlab.calibration.trt_cache import table_of
from quantlab.numerics.affine import QuantParams, fake_quantize
from quantlab.numerics.error_sums import ErrorSums
from quantlab.numerics.histogram import Histogram
from quantlab.numerics.tensorrt_histogram import TensorRTHistogram
from tests.caches.networks import cache

VALUES = np.random.default_rng(0).standard_normal(200_000).astype(np.float32)
AMAX = float(np.abs(VALUES).max())


def table(**scales: float) -> ScaleTable:
    """Return a cache's table."""
    return table_of(cache(scales))


def linear() -> TensorRTHistogram:
    """The values on TensorRT's grid."""
    return TensorRTHistogram.starting(AMAX, batch=1).added(VALUES)


def measured(scale: float) -> float:
    """The signal-to-noise ratio in dB that the values themselves have after INT8."""
    params = QuantParams(np.array(scale, np.float32), np.array(0, np.int64))
    return ErrorSums.of(VALUES, fake_quantize(VALUES, params)).sqnr_db


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 1.0, 4.0])
def test_the_harm_expected_is_the_harm_measured(share: float) -> None:
    scale = float(np.float32(share * AMAX / 127))
    clipped = float(np.mean(np.abs(VALUES) > 127.5 * scale))
    for histogram in (Histogram.of(VALUES), linear()):
        found = harm(histogram, scale)
        assert abs(found.sqnr_db - measured(scale)) < 0.3
        assert abs(found.clipped - clipped) < 0.02 * clipped + 2e-4  # bins are cut in proportion


def test_the_best_scale_is_better_than_the_maximums() -> None:
    for histogram in (Histogram.of(VALUES), linear()):
        assert measured(least_harm(histogram)) > measured(AMAX / 127)


def test_what_loses_most_comes_first() -> None:
    seen = {name: Histogram.of(VALUES) for name in "abc"}
    good = AMAX / 127
    found = difference(table(a=good, b=good, c=good), table(a=0.9 * good, b=0.2 * good, c=3 * good), histograms=seen)
    assert [change.tensor for change in found.changes] == ["b", "c", "a"]
    worst = found.changes[0]
    assert worst.lost_db is not None
    assert worst.lost_db > 10
    assert worst.more_clipped is not None
    assert worst.more_clipped > 0.1


def test_a_loss_below_the_tolerance_is_none() -> None:
    seen = {"a": Histogram.of(VALUES)}
    one, two = table(a=AMAX / 127), table(a=1.01 * AMAX / 127)
    assert not difference(one, two, histograms=seen).same
    assert difference(one, two, tolerance=Tolerance(lost_db=0.5), histograms=seen).same
    assert difference(one, two, tolerance=0.02).same


def test_without_histograms_the_largest_difference_comes_first() -> None:
    found = difference(table(a=1.0, b=1.0, c=1.0), table(a=1.5, b=1.0, c=3.0))
    assert [change.tensor for change in found.changes] == ["c", "a"]
    assert found.changed == {"c": (1.0, 3.0), "a": (1.0, 1.5)}
    assert found.changes[0].lost_db is None


def test_a_cache_is_held_against_the_best_scales_for_histograms() -> None:
    seen = {"a": Histogram.of(VALUES), "b": Histogram.of(VALUES), "d": Histogram.of(VALUES)}
    found = against(table(a=least_harm(seen["a"]), b=8 * AMAX / 127, c=1.0), seen)
    assert [change.tensor for change in found.changes] == ["b"]
    assert found.only_first == ("d",)
    assert found.only_second == ("c",)
    assert found.common == 2


@given(st.dictionaries(st.text("abc", min_size=1), st.floats(1e-6, 1e6), min_size=1))
def test_a_cache_does_not_differ_from_itself(scales: dict[str, float]) -> None:
    one = table_of(cache(scales))
    assert difference(one, one).same
