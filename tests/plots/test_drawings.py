"""Drawings of networks, tables, pairs and searches: what is drawn are the value's own numbers."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

import quantlab as ql
from quantlab.comparison.lineup import Entry
from quantlab.comparison.sample_table import SampleTable
from quantlab.comparison.tensors import TensorError
from quantlab.diagnosis.convergence import Convergence
from quantlab.diagnosis.flips import Flips
from quantlab.errors import InputError, UsageError
from quantlab.numerics.arrays import F32
from quantlab.numerics.error_sums import ErrorSums
from quantlab.plots.by_type import _DRAWINGS
from tests.networks import small_cnn
from tests.plots.artists import labels, line, segments, words
from tests.plots.hostile import (
    audited,
    comparison,
    diagnosis,
    histograms,
    plan,
    quantized,
    searched,
    table,
    tuned,
    values,
)


def error(name: str, db: float, own: float | None = None, position: int | None = None) -> TensorError:
    def sums(value: float) -> ErrorSums:
        if np.isnan(value):
            return ErrorSums()
        noise = 0.0 if value == np.inf else 10 ** (-value / 10)
        return ErrorSums(0.0 if value == -np.inf else 1.0, 1.0, 1.0, noise or float(value == -np.inf), 1.0, 1)

    return TensorError(name, sums(db), None if own is None else sums(own), position=position)


def with_errors(*tensors: TensorError, outputs: tuple[TensorError, ...] = ()) -> ql.Comparison:
    return replace(comparison(), tensors=tensors, outputs=outputs)


@pytest.mark.parametrize("kind", [*_DRAWINGS, "nothing"], ids=lambda kind: getattr(kind, "__name__", kind))
def test_every_type_in_the_table_is_drawn_whatever_its_names(kind: type) -> None:
    known = {type(value): value for value in (*values().values(), Entry("e", comparison()), np.eye(3))}
    if kind not in known:
        with pytest.raises(UsageError, match="no drawing of type; there is one of Histogram"):
            ql.plot(int)
        return
    more: tuple[object, ...] = ()
    if kind is ql.Recording:
        more = (known[kind],)
    if kind is ql.ChannelSet:
        more = (next(iter(known[kind])),)
    axes = ql.plot(known[kind], *more)
    assert axes.get_xlabel() or words(axes).strip()


def test_the_waterfall_is_in_the_graphs_order_with_the_outputs_last() -> None:
    shuffled = (error("b", 20.0, 30.0, position=1), error("c", 10.0, position=2), error("a", 40.0, 41.0, position=0))
    axes = ql.plot(with_errors(*shuffled, outputs=(error("y", 15.0),)))
    np.testing.assert_allclose(line(axes, "accumulated")[1], [40, 20, 10, 15])
    np.testing.assert_allclose(line(axes, "own rounding")[1], [41, 30, np.nan, np.nan])
    assert [text.get_text() for text in axes.get_xticklabels()] == ["a", "b", "c", "y"]
    assert "b: -20.0 dB" in words(axes)


def test_tensors_without_error_stand_above_and_those_without_values_nowhere() -> None:
    axes = ql.plot(with_errors(error("a", np.inf), error("b", np.nan), error("c", 12.0), error("d", -np.inf)))
    drawn = line(axes, "accumulated")[1]
    assert drawn[0] > 12.0 > drawn[3]
    assert np.isnan(drawn[1])
    assert "no error at all" in labels(axes)


@pytest.mark.parametrize("found", [(), (error("a", np.nan),)])
def test_a_comparison_without_tensors_says_so(found: tuple[TensorError, ...]) -> None:
    assert "No tensor" in words(ql.plot(with_errors(*found)))


def test_a_long_network_names_some_of_its_tensors() -> None:
    axes = ql.plot(with_errors(*(error(f"t{i}", 40.0 - i / 10) for i in range(300))))
    assert len(axes.get_xticklabels()) <= 24
    assert len(line(axes, "accumulated")[0]) == 300


def test_three_steps_are_bars_and_the_guilty_one_is_hatched() -> None:
    good, bad = with_errors(outputs=(error("y", 60.0),)), with_errors(outputs=(error("y", 5.0),))
    axes = ql.plot(ql.ThreeWay(good, bad, good, bad))
    assert [patch.get_width() for patch in axes.patches] == pytest.approx([60, 5, 60, 5])  # type: ignore[attr-defined]
    assert [bool(patch.get_hatch()) for patch in axes.patches] == [False, True, False, False]
    assert "to blame: scales" in words(axes)
    assert "No output" in words(ql.plot(ql.ThreeWay(with_errors(), with_errors(), with_errors(), with_errors())))


def test_a_lineup_shows_drops_with_intervals_or_else_decibels() -> None:
    seen = comparison()
    axes = ql.plot(ql.Lineup((Entry("a", seen), Entry("b", seen)), "fp32"))
    score = seen.metrics[0]
    assert [np.asarray(one.get_xdata())[0] for one in axes.lines][:2] == [score.drop, score.drop]
    bare = replace(seen, metrics=())
    axes = ql.plot(
        ql.Lineup(
            (
                Entry("a", bare),
                Entry("b", replace(bare, outputs=())),
            ),
            "fp32",
        )
    )
    assert [np.asarray(one.get_xdata())[0] for one in axes.lines] == [Entry("a", bare).sqnr_db]
    assert "nothing compared" in words(axes)


def test_points_lie_at_both_values_and_the_band_is_one_step() -> None:
    x = np.linspace(-1, 1, 9)
    y = np.round(x * 4) / 4
    axes = ql.plots.scatter(x, y, step=0.25)
    drawn = line(axes, "_child")
    np.testing.assert_array_equal(drawn[0], x)
    np.testing.assert_array_equal(drawn[1], y)
    (band,) = axes.collections
    corners = band.get_paths()[0].vertices
    assert np.abs(np.asarray(corners)[:, 1] - np.asarray(corners)[:, 0]).max() == pytest.approx(0.25)
    assert labels(axes) == ["± one INT8 step (0.25)", "the same"]


def test_many_points_are_counted_in_hexagons() -> None:
    x = np.random.default_rng(0).normal(size=20_000).astype(np.float32)
    axes = ql.plots.scatter(x, x, step=ql.Scale("t", (0.5,)))
    counted = [
        one for one in axes.collections if type(one).__name__ == "PolyCollection" and one.get_array() is not None
    ]
    assert int(np.sum(counted[0].get_array())) == x.size  # type: ignore[arg-type]
    assert "20,000 values, no difference" in words(axes)


def test_recordings_are_paired_by_sample_whatever_their_order() -> None:
    engine = ql.engines.ort(small_cnn(), threads=1)
    rows = np.random.default_rng(0).normal(size=(6, 3, 12, 12)).astype(np.float32)
    one, two = ql.record(engine, [{"image": rows}]), ql.record(engine, [{"image": rows[::-1]}])
    assert "no difference" in words(ql.plot(one, two))
    with pytest.raises(InputError, match="no output «z» in common: they have «logits»"):
        ql.plot(one, two, output="z")
    with pytest.raises(InputError, match="different samples"):
        ql.plot(one, ql.record(engine, [{"image": rows[:2]}]))
    with pytest.raises(UsageError, match="against another recording"):
        ql.plot(one, rows)


@pytest.mark.parametrize(
    ("x", "sentence"), [(np.zeros(0), "no values to compare"), (np.full(3, np.nan), "No value is finite")]
)
def test_a_scatter_of_nothing_says_so(x: F32, sentence: str) -> None:
    assert sentence in words(ql.plots.scatter(x, x))


@pytest.mark.parametrize("x", [np.zeros(1), np.full(4, 3.0), np.array([1e38, np.inf, 2e38])])
def test_a_scatter_of_one_or_equal_values_is_drawn(x: F32) -> None:
    assert "finite" in words(ql.plots.scatter(x, x)) or "no difference" in words(ql.plots.scatter(x, x))


def test_a_scatter_of_other_shapes_is_refused() -> None:
    with pytest.raises(InputError, match=r"float64\[2\] and INT8's float64\[3\]"):
        ql.plots.scatter(np.zeros(2), np.zeros(3))


def test_channels_span_their_values_and_their_scales() -> None:
    weight = np.array([[1.0, -2.0], [0.5, 0.25], [0.0, 0.0]], np.float32)
    axes = ql.plot(weight)
    np.testing.assert_allclose(segments(axes, "values")[:, :, 1], np.array([[-2, 1], [0.25, 0.5], [0, 0]]))
    np.testing.assert_allclose(line(axes, "one scale a channel")[1], [2, 0.5, 0])
    np.testing.assert_allclose(line(axes, "one scale for all")[1], 2)
    assert "3 channels, 1 all zero; one scale: the median one uses 31 of 127 steps" in words(axes)
    ordered = ql.plots.channels(weight, axis=1, in_order=False)
    np.testing.assert_allclose(segments(ordered, "values")[:, :, 1], np.array([[-2, 0.25], [0, 1]]))


def test_a_models_weight_is_drawn_along_the_axis_of_its_layer_with_the_scales_of_the_table() -> None:
    model = small_cnn()
    with ql.engines.ort(model, expose="quantizable", threads=1) as engine:
        rows = np.random.default_rng(0).normal(size=(4, 3, 12, 12)).astype(np.float32)
        built = ql.quantize(model, ql.calibrate(ql.collect(engine, [{"image": rows}])))
    rows_of = ql.ScaleTable(tuple(replace(row, scale=tuple(2 * s for s in row.scale)) for row in built.weights))
    axes = ql.plots.channels(model, "w1", table=rows_of)
    np.testing.assert_allclose(line(axes, "one scale a channel")[1], 127 * np.array(rows_of["w1"].scale))
    assert len(segments(axes, "values")) == 8
    with pytest.raises(InputError, match="no constant «w9»; name one of its 3 weights, for instance «w1»"):
        ql.plots.channels(model, "w9")
    with pytest.raises(InputError, match="No weight is named"):
        ql.plots.channels(model)


@pytest.mark.parametrize(
    ("weight", "sentence"),
    [
        (np.zeros((0, 3)), "no finite"),
        (np.full((2, 2), np.nan), "no finite"),
        (np.zeros((2, 2)), "Every value is zero"),
    ],
)
def test_a_weight_without_values_says_so(weight: F32, sentence: str) -> None:
    assert sentence in words(ql.plot(weight))


def test_a_scalar_is_one_channel_and_a_wrong_axis_is_refused() -> None:
    assert len(segments(ql.plot(np.array(3.0)), "values")) == 1
    with pytest.raises(InputError, match="no axis 2"):
        ql.plots.channels(np.eye(2), axis=2)


def test_a_table_shows_what_is_covered_and_what_was_observed() -> None:
    found = table()
    axes = ql.plot(found)
    np.testing.assert_allclose(line(axes, "covered")[1], [row.amax for row in found.rows])
    np.testing.assert_allclose(
        line(axes, "largest")[1], [row.observed.amax for row in found.rows if row.observed is not None]
    )
    np.testing.assert_allclose(
        line(ql.plot(quantized()), "the smallest")[1], [127 * min(row.scale) for row in quantized().weights]
    )
    assert "no rows" in words(ql.plot(ql.ScaleTable(())))


def test_a_set_shows_every_tensors_largest_value_and_one_tensor_by_name() -> None:
    found = histograms()
    np.testing.assert_allclose(line(ql.plot(found), "largest")[1], [seen.amax for seen in found.values()])
    name = next(iter(found))
    assert line(ql.plot(found, name, ql.MinMax()), "MinMax()")[0][0] == found[name].amax
    with pytest.raises(UsageError, match="no histogram of «x»"):
        ql.plot(found, "x")
    zeros = {"dead": ql.Histogram.of(np.zeros(3, np.float32)), "one": ql.Histogram.of(np.ones(3, np.float32))}
    assert "1 of 2 tensors hold nothing but zero" in words(ql.plots.ranges(zeros))
    assert "Every value of every tensor is zero" in words(ql.plots.ranges({"dead": zeros["dead"]}))
    assert "no histogram" in words(ql.plots.ranges({}))


def test_sensitivity_is_a_bar_a_row_by_noise_or_gain() -> None:
    _, found, _ = searched()
    widths = [patch.get_width() for patch in ql.plot(found).patches]  # type: ignore[attr-defined]
    np.testing.assert_allclose(widths, 100 * found.frame()["noise_share"])
    widths = [patch.get_width() for patch in ql.plot(found, by="gain").patches]  # type: ignore[attr-defined]
    assert widths == [row.gain_db for row in found.by_gain]
    assert len(ql.plot(found, at_most=1).patches) == 1
    with pytest.raises(UsageError, match="noise or gain, not «loss»"):
        ql.plot(found, by="loss")
    assert "no weighted operator" in words(ql.plot(replace(found, rows=())))


def test_the_front_shows_every_trial_and_the_chosen_one() -> None:
    _, _, found = searched()
    axes = ql.plot(found)
    np.testing.assert_allclose(line(axes, "measured")[1], [point.sqnr_db for point in found.trials])
    np.testing.assert_allclose(line(axes, "front")[0], [100 * point.coverage for point in found.front])
    assert "Nothing was measured" in words(ql.plot(replace(found, trials=(), front=())))


def test_the_ladder_is_a_step_a_kept_trial() -> None:
    x, y = line(ql.plot(tuned()), "best so far")
    assert (x.tolist(), y.tolist()) == ([0.0], [20.0])
    assert "No trial was run" in words(ql.plot(replace(tuned(), trials=())))


def test_convergence_draws_every_tensor_and_one_with_its_threshold() -> None:
    found = Convergence("M()", 8, 0.05, (2, 4, 8), {"a": (0.4, 0.2, 0.1), "b": (0.1, 0.04, 0.01)})
    axes = ql.plot(found)
    np.testing.assert_allclose(line(axes, "95 % of")[1], [40, 20, 10])
    np.testing.assert_allclose(line(axes, "tolerance")[1], 5)
    rows = ql.ScaleTable((ql.Scale("a", (1.0,), chosen=ql.Range(-2, 2)),))
    axes = ql.plot(found, "a", table=rows)
    np.testing.assert_allclose(line(axes, "all samples")[1], 2)
    band = np.asarray(axes.collections[0].get_paths()[0].vertices)[:, 1]
    assert (band.min(), band.max()) == pytest.approx((2 - 0.8, 2 + 0.8))
    with pytest.raises(UsageError, match="«c» is none of the 2 tensors"):
        ql.plot(found, "c")
    assert "too few" in words(ql.plot(Convergence("M()", 2, 0.05, (), {})))
    assert ql.plot(diagnosis()).get_xlabel() == "samples"


def test_an_engine_is_one_bar_in_shares() -> None:
    assert sum(patch.get_width() for patch in ql.plot(audited()).patches) == pytest.approx(100)  # type: ignore[attr-defined]
    assert "no layers" in words(ql.plot(replace(audited(), layers=())))
    assert ql.plot(plan()).get_xlabel() == "share of layers, %"
    with pytest.raises(UsageError, match="without the engine inspector"):
        ql.plot(replace(plan(), layers=""))


def samples(count: int = 5, flipped: tuple[int, ...] = (1, 3), pictures: tuple[int, ...] = ()) -> SampleTable:
    stored = BytesIO()
    Image.fromarray(np.full((4, 8, 3), 200, np.uint8)).save(stored, "PNG")
    classes = np.zeros(count, np.int64)
    int8 = classes.copy()
    int8[list(flipped)] = 2
    noise = np.geomspace(0.01, 0.1, count) if count else np.zeros(0)
    return SampleTable(
        np.ones(count), noise, names=tuple(f"folder/<b>{i}.png" for i in range(count)), labels=classes,
        fp32_class=classes, int8_class=int8, pictures={row: stored.getvalue() for row in pictures},
    )  # fmt: skip


def test_flipped_samples_are_a_grid_of_pictures_names_and_classes() -> None:
    axes = ql.plot(samples(pictures=(1,)))
    assert len(axes.images) == 1
    np.testing.assert_array_equal(np.asarray(axes.images[0].get_array())[0, 0], [200, 200, 200])
    shown = words(axes)
    assert "2 of 2 flipped samples, of 5 compared" in shown
    assert "<b>1.png" in shown
    assert "0 → 2" in shown
    assert "no picture" in shown
    assert "shirt → bag" in words(ql.plots.flips(samples(), classes=("shirt", "hat", "bag")))
    assert "2 of 2" in words(ql.plots.flips(replace(comparison(), samples_table=samples())))
    assert len(ql.plots.flips(samples(), at_most=1).texts) == 2


def test_a_picture_that_is_none_is_left_out() -> None:
    broken = samples().with_pictures({1: b"GIF89a", 3: b""})
    assert not ql.plot(broken).images


def test_flips_of_nothing_say_why() -> None:
    assert "None of the 5 samples flipped" in words(ql.plot(samples(flipped=())))
    bare = replace(comparison(), samples_table=None)
    assert "no table of samples" in words(ql.plots.flips(bare))
    assert "no sample can flip" in words(ql.plot(SampleTable(np.ones(2), np.ones(2))))
    assert "no flipped sample" in words(ql.plot(Flips("d", 3, 1, ())))


def test_the_samples_sqnr_is_counted_and_flipped_ones_apart() -> None:
    axes = ql.plots.sample_sqnr(samples())
    assert sum(patch.get_height() for patch in axes.patches) == 5  # type: ignore[attr-defined]
    assert "No sample has an SQNR" in words(ql.plots.sample_sqnr(samples(0, flipped=())))


def test_a_training_is_its_loss_and_its_metric() -> None:
    pytest.importorskip("torch", reason="needs PyTorch: pip install 'quantlab[qat]'")
    from torch import nn

    from quantlab.qat.trained import Moment, Trained

    history = (Moment(4, 0, 0.5, 0.1, 0.7), Moment(8, 1, 0.25, 0.1, None))
    found = Trained(nn.ReLU(), history, 8, "steps", 0.7, 1.0, None)
    axes = ql.plot(found)
    assert line(axes, "loss")[1].tolist() == [0.5, 0.25]
    right = next(other for other in axes.figure.axes if other is not axes)
    assert line(right, "metric")[0].tolist() == [4]
    assert "Nothing was recorded" in words(ql.plot(replace(found, history=())))
