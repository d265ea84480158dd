"""Why each activation has its range."""

from __future__ import annotations

import pytest

from quantlab import engines
from quantlab.calibration.calibrate import calibrate
from quantlab.calibration.histogram_set import HistogramSet
from quantlab.calibration.methods.minmax import MinMax
from quantlab.calibration.methods.percentile import Percentile
from quantlab.calibration.methods.squared_error import SquaredError
from quantlab.calibration.rules import Rule
from quantlab.collector.collect import collect
from quantlab.tuning.choices import choices
from tests.networks import image_batch, small_cnn
from tests.tuning.nets import Rows


@pytest.fixture(scope="module")
def histograms() -> HistogramSet:
    with engines.ort(small_cnn(), expose="quantizable", threads=1) as engine:
        return collect(engine, Rows({"image": image_batch(64)}))


def test_min_max_clips_nothing_and_gains_nothing(histograms: HistogramSet) -> None:
    found = choices(calibrate(histograms, MinMax()), histograms)
    assert [each.tensor for each in found] == list(histograms)
    assert {(each.method, each.clipped, each.gain_db) for each in found} == {("MinMax", 0.0, 0.0)}
    assert {each.why for each in found} == {"clips 0.00%, +0.0 dB over min-max"}


def test_each_line_names_its_own_method_and_what_it_gains(histograms: HistogramSet) -> None:
    table = calibrate(histograms, SquaredError(), rules=(Rule("image", Percentile(90.0)),))
    found = {each.tensor: each for each in choices(table, histograms)}
    assert found["image"].method == "Percentile"
    assert found["image"].clipped == pytest.approx(0.1, abs=0.01)
    for name, each in found.items():
        row = table[name]
        assert each.amax == row.amax
        assert each.sqnr_db == pytest.approx(row.sqnr_db)
        assert each.gain_db is not None
        if name != "image":
            assert (each.method, each.gain_db >= -1e-9) == ("SquaredError", True)
    assert found["image"].gain_db is not None
    assert found["image"].gain_db < 0


def test_a_tensor_that_was_counted_anew_says_so(histograms: HistogramSet) -> None:
    with engines.ort(small_cnn(), expose="quantizable", threads=1) as engine:
        other = collect(engine, Rows({"image": 2 * image_batch(64)}))
    found = choices(calibrate(other, MinMax()), histograms)
    assert {each.why for each in found if each.tensor == "image"} == {"values scaled since, counted anew"}
    assert all(each.gain_db is None for each in found if each.tensor == "image")
    assert {each.why for each in choices(calibrate(other, MinMax()), {})} == {"values scaled since, counted anew"}
