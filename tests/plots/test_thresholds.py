"""The histogram of one tensor and the curves over its thresholds: lines and marks stand where the numbers say."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from hypothesis import given

import quantlab as ql
from quantlab.errors import UsageError
from quantlab.numerics.arrays import F32
from quantlab.numerics.divergence import divergence_curve
from quantlab.plots.candidates import curve_of, sqnr_at
from tests.numerics.tensors import LARGEST, activation, anything, f32, law
from tests.plots.artists import labels, line, segments, words

METHODS = (ql.MinMax(), ql.Percentile(99.0), ql.Entropy())


def trt(values: F32) -> ql.TensorRTHistogram:
    return ql.TensorRTHistogram.starting(float(np.abs(values).max(initial=0)), batch=1).added(values)


def test_each_choice_is_a_line_at_its_threshold_with_its_name() -> None:
    seen = ql.Histogram.of(activation("silu"))
    row = ql.calibrate({"t": seen})["t"]
    axes = ql.plot(seen, *METHODS, ql.Range(-1, 2), row, 0.5)
    drawn = [float(np.asarray(one.get_xdata())[0]) for one in axes.lines]
    assert drawn == [*(method(seen).amax for method in METHODS), 2.0, ql.SquaredError()(seen).amax, 0.5]
    names = [text.split(": ")[0] for text in labels(axes)]
    assert names == [*(repr(method) for method in METHODS), "[-1, 2]", "SquaredError()", "threshold"]


def test_the_legend_tells_what_the_table_tells() -> None:
    seen = ql.Histogram.of(activation("silu"))
    row = ql.calibrate({"t": seen}, ql.Percentile(99.0))["t"]
    assert row.clipped is not None
    for axes in (ql.plot(seen, ql.Percentile(99.0)), ql.plot(seen, row)):
        assert f"clips {100 * row.clipped:.3g} %, {row.sqnr_db:.1f} dB" in labels(axes)[0]


def test_the_last_choice_clips_the_shaded_part_and_has_127_levels() -> None:
    seen = ql.Histogram.of(activation("gauss"))
    threshold = ql.Percentile(99.0)(seen).amax
    axes = ql.plot(seen, ql.MinMax(), ql.Percentile(99.0))
    levels = segments(axes, "_levels")[:, 0, 0]
    np.testing.assert_allclose(levels, np.arange(1, 128) * threshold / 127)
    (shaded,) = [patch for patch in axes.patches if patch.get_hatch()]
    assert shaded.get_x() == threshold  # type: ignore[attr-defined]
    assert shaded.get_x() + shaded.get_width() == pytest.approx(axes.get_xlim()[1])  # type: ignore[attr-defined]


def test_nothing_is_shaded_where_nothing_is_clipped_and_levels_can_be_left_out() -> None:
    axes = ql.plot(ql.Histogram.of(activation("gauss")), ql.MinMax(), levels=False)
    assert not [patch for patch in axes.patches if patch.get_hatch()]
    assert not axes.collections


def test_the_bars_hold_every_value_but_zero() -> None:
    values = activation("silu").copy()
    values[:100] = 0
    seen = ql.Histogram.of(values)
    for found in (seen, trt(values)):
        (bars,) = [patch for patch in ql.plot(found).patches if not patch.get_hatch()]
        density, edges, _ = bars.get_data()  # type: ignore[attr-defined]
        counted = float(density @ np.diff(edges))
        assert counted == pytest.approx(values.size - (seen.zeros if found is seen else 0))
    assert f"{100 * seen.zeros / values.size:.3g} % of them zero" in words(ql.plot(seen))


def test_it_draws_where_it_is_told() -> None:
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    assert ql.plot(ql.Histogram.of(activation("gauss")), ax=axes) is axes
    assert axes.get_legend() is None
    assert axes.get_xlabel() == "|x|, in the tensor's unit"


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (np.zeros(0, np.float32), "The tensor has no values."),
        (np.zeros(3, np.float32), "Every value is zero"),
        (f32(np.nan, np.inf), "All 2 values are NaN or infinite."),
        (f32(1e-44), "Every value is zero"),
    ],
)
def test_a_tensor_without_a_histogram_says_why(values: F32, sentence: str) -> None:
    assert sentence in words(ql.plot(ql.Histogram.of(values)))
    assert "no value but zero" in words(ql.plots.curves(ql.Histogram.of(values)))


@law
@given(anything)
def test_any_histogram_can_be_drawn(values: F32) -> None:
    from matplotlib.figure import Figure

    seen = ql.Histogram.of(values)
    figure = Figure()
    above, below = figure.subplots(2)
    ql.plot(seen, *(METHODS if seen.total and seen.amax < LARGEST / 2 else ()), ax=above)
    ql.plots.curves(seen, 0.5, measure="mse", ax=below)
    figure.canvas.draw()


def test_tensorrts_grid_is_drawn_with_its_own_methods() -> None:
    axes = ql.plot(trt(activation("gauss")), ql.TensorRTEntropy2())
    assert labels(axes)[0].startswith("TensorRTEntropy2(): ±")
    assert "Every value is zero" in words(ql.plot(trt(f32(0.0, 0.0))))
    with pytest.raises(UsageError, match="default grid"):
        ql.plot(trt(activation("gauss")), ql.Entropy())


@pytest.mark.parametrize("choice", [ql.Entropy, "entropy", True, None])
def test_what_names_no_threshold_is_refused(choice: object) -> None:
    with pytest.raises(UsageError, match="A threshold is named by a method"):
        ql.plot(ql.Histogram.of(activation("gauss")), choice)


def test_the_curve_of_divergence_is_the_entropy_searchs() -> None:
    seen = ql.Histogram.of(activation("silu"))
    found = ql.Entropy().curve(seen)
    x, y = line(ql.plots.curves(seen, measure="kl"), "_child0")
    np.testing.assert_array_equal(x, found.thresholds)
    np.testing.assert_array_equal(y, np.where(np.isfinite(found.divergences), found.divergences, np.nan))


@pytest.mark.parametrize("measure", ["mse", "sqnr"])
def test_the_curves_best_is_the_squared_errors_choice(measure: Literal["mse", "sqnr"]) -> None:
    seen = ql.Histogram.of(activation("silu"))
    axes = ql.plots.curves(seen, measure=measure)
    x, y = line(axes, "_child0")
    best = x[np.argmin(y) if measure == "mse" else np.argmax(y)]
    assert best == pytest.approx(ql.SquaredError()(seen).amax, rel=0.02)
    marked, _ = line(axes, "SquaredError()")
    assert marked[0] == ql.SquaredError()(seen).amax


def test_a_mark_lies_on_the_curve() -> None:
    seen = ql.Histogram.of(activation("silu"))
    for method in METHODS:
        (x,), (y,) = line(ql.plots.curves(seen, method, measure="sqnr"), repr(method))
        assert y == pytest.approx(sqnr_at(seen, float(x)), abs=0.2)


def test_the_mean_squared_error_is_that_of_rounding_the_values() -> None:
    from quantlab.calibration.schemes import Symmetric
    from quantlab.numerics.affine import fake_quantize

    values = activation("gauss")
    thresholds, errors = curve_of(ql.Histogram.of(values), "mse")
    for i in (len(thresholds) // 4, len(thresholds) // 2, len(thresholds) - 1):
        params = Symmetric().params(ql.Range(-thresholds[i], thresholds[i]))
        measured = np.mean((fake_quantize(values, params) - values).astype(np.float64) ** 2)
        assert errors[i] == pytest.approx(measured, rel=0.05)


def test_tensorrts_grid_knows_its_divergence_alone() -> None:
    seen = trt(activation("gauss"))
    x, _ = line(ql.plots.curves(seen), "_child0")
    np.testing.assert_array_equal(x, divergence_curve(seen.counts, seen.width, dialect="tensorrt").thresholds)
    with pytest.raises(UsageError, match="only the divergence"):
        ql.plots.curves(seen, measure="mse")


def test_another_measure_is_refused() -> None:
    with pytest.raises(UsageError, match="kl, mse, sqnr, not «psnr»"):
        ql.plots.curves(ql.Histogram.of(activation("gauss")), measure="psnr")  # type: ignore[arg-type]


def test_dollar_signs_and_control_characters_in_names_are_text() -> None:
    axes = ql.plot(ql.Histogram.of(activation("gauss")), title="$\\frac$\x00\n日é" + "n" * 200)
    assert r"\$\frac\$\x00\n\u65e5én" in words(axes)
    assert "…" in words(axes)
