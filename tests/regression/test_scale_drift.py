"""Scale drift: one tensor's scale, and calibration data of another kind; not another set of the same kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import quantlab as ql
from quantlab.calibration.histogram_set import HistogramSet
from quantlab.calibration.provenance import Provenance
from quantlab.calibration.scale_table import Scale
from quantlab.diagnosis.drift import chance_divergence, divergence
from quantlab.numerics.arrays import F64
from quantlab.numerics.histogram import Histogram
from quantlab.regression.policy import Limit, Policy
from quantlab.regression.regress import regress
from quantlab.regression.run import Run
from quantlab.regression.scale_drift import OTHER_DATA, other_data, scale_drifts
from tests.regression.runs import answers, identity, run, scales, table

SHIPPED = Path(__file__).parents[2] / "calib_data"
LABELS, CLASSES = answers(200)
VALUES = {f"t{i}": 0.1 * (i + 1) for i in range(9)}


def with_scales(values: dict[str, float], **changes: str) -> Run:
    return run(table(LABELS, CLASSES), scale=scales(values, **changes))


def test_one_scale_times_4_fails_and_is_named() -> None:
    found = regress(with_scales(VALUES), with_scales(VALUES | {"t5": 4 * VALUES["t5"]}))
    failed = [check for check in found.checks if check.state == "fail"]
    assert [check.name for check in failed] == ["scale of a tensor"]
    assert "«t5» is 4 times" in failed[0].sentence
    assert (found.drifts[0].tensor, found.drifts[0].state, found.drifts[1].state) == ("t5", "fail", "pass")
    assert found.differences == ("the scales of 1 of 9 tensors",)


@pytest.mark.parametrize("factor", [3.4, 1 / 3.4])
def test_a_scale_within_the_limit_passes_either_way(factor: float) -> None:
    assert regress(with_scales(VALUES), with_scales(VALUES | {"t5": factor * VALUES["t5"]})).verdict == "pass"


def test_a_quarter_of_a_scale_fails_as_four_times_does() -> None:
    assert regress(with_scales(VALUES), with_scales(VALUES | {"t5": VALUES["t5"] / 4})).verdict == "fail"


def test_one_channels_scale_counts() -> None:
    one = replace(scales(VALUES), rows=(Scale("w", (0.5, 0.5), (0, 0), axis=0, role="weight"),))
    two = replace(one, rows=(Scale("w", (0.5, 0.0625), (0, 0), axis=0, role="weight"),))
    samples = table(LABELS, CLASSES)
    found = regress(run(samples, scale=one), run(samples, scale=two))
    assert (found.verdict, found.drifts[0].ratio) == ("fail", 0.125)


def test_scales_of_another_method_or_model_are_not_judged_one_by_one() -> None:
    moved = {name: 5 * value for name, value in VALUES.items()}
    for changes, word in (({"method": "MinMax()"}, "method"), ({"model": "sha256:other"}, "model")):
        checks, _ = scale_drifts(with_scales(VALUES), with_scales(moved, **changes), Policy())
        assert [check.state for check in checks] == ["pass"]
        assert word in checks[0].sentence


def test_a_limit_of_the_users_own_is_not_dropped_where_a_run_tells_no_scales() -> None:
    bare = run(table(LABELS, CLASSES))
    found = regress(with_scales(VALUES), bare, Policy(scale=Limit(2)))
    assert found.verdict == "inconclusive"
    (check,) = (check for check in found.checks if check.state == "inconclusive")
    assert "the candidate tells no scales" in check.sentence
    assert regress(with_scales(VALUES), bare).verdict == "pass"


def test_without_histograms_a_move_of_all_scales_is_told() -> None:
    moved = {name: 1.2 * value for name, value in VALUES.items()}
    found = regress(with_scales(VALUES), with_scales(moved))
    assert [check.name for check in found.checks if check.state == "fail"] == ["scales as a whole"]
    assert regress(with_scales(VALUES), with_scales({n: 1.05 * v for n, v in VALUES.items()})).verdict == "pass"


def test_a_tensor_of_one_run_alone_is_listed_and_not_judged() -> None:
    found = regress(with_scales(VALUES), with_scales({name: value for name, value in VALUES.items() if name != "t3"}))
    assert found.verdict == "pass"
    lone = next(drift for drift in found.drifts if drift.tensor == "t3")
    assert (lone.candidate, lone.ratio) == (None, None)


def test_what_the_policy_leaves_out_is_not_checked() -> None:
    far = with_scales({name: 9 * value for name, value in VALUES.items()})
    assert scale_drifts(with_scales(VALUES), far, Policy(scale=None, drift=None)) == ((), ())
    checks, _ = scale_drifts(with_scales(VALUES), far, Policy(scale=Limit(3.5, "warn"), drift=None))
    assert [check.state for check in checks] == ["warn"]


def test_chance_explains_what_values_of_one_distribution_show() -> None:
    draw = np.random.default_rng(0)
    pairs = [[Histogram.of(draw.normal(size=20_000).astype(np.float32)) for _ in range(2)] for _ in range(40)]
    shown, expected = (
        np.mean([measure(one, two) for one, two in pairs]) for measure in (divergence, chance_divergence)
    )
    assert shown == pytest.approx(expected, rel=0.1)


def test_no_values_have_no_divergence_by_chance() -> None:
    assert chance_divergence(Histogram.of(np.zeros(0)), Histogram.of(np.ones(1))) == 0.0


@pytest.fixture(scope="module")
def images() -> tuple[F64, F64]:
    parts = [np.load(SHIPPED / f"{name}.npz") for name in ("calibration", "tuning")]
    pixels = np.concatenate([part["image"] for part in parts]).transpose(0, 3, 1, 2)
    order = np.random.default_rng(0).permutation(len(pixels))
    floats = (pixels.astype(np.float32) / 255 - 0.2860) / 0.3530
    return floats[order], np.concatenate([part["label"] for part in parts])[order]


def told(histograms: HistogramSet) -> Callable[[], HistogramSet]:
    return lambda: histograms


def counted(pixels: F64) -> HistogramSet:
    with ql.engines.ort(SHIPPED / "fashion_net.onnx", expose="quantizable", threads=1) as engine:
        return ql.collect(engine, [{"image": part} for part in np.array_split(pixels, 4)])


def test_sets_of_one_class_are_other_data_and_sets_of_all_are_not(images: tuple[F64, F64]) -> None:
    pixels, labels = images
    baseline = counted(pixels[:256])
    same = [other_data(baseline, counted(pixels[start : start + size])) for start, size in ((256, 256), (600, 100))]
    one_class = [
        other_data(baseline, counted(pixels[256:][labels[256:] == label][:size]))
        for label, size in ((0, 250), (8, 250))
    ]
    assert all(found is not None and found.distance < 0.4 * OTHER_DATA for found in same)
    assert all(found is not None and found.distance > 2 * OTHER_DATA for found in one_class)


def test_a_calibration_of_one_class_fails_and_is_told_in_words(images: tuple[F64, F64]) -> None:
    pixels, labels = images
    sets = [counted(pixels[:200]), counted(pixels[labels == 1][:100])]
    one, two = (replace(with_scales(VALUES), histograms=told(found)) for found in sets)
    found = regress(one, two)
    failed = [check for check in found.checks if check.state == "fail"]
    assert [check.name for check in failed] == ["calibration data"]
    assert "saw other data" in found.sentence
    assert regress(one, two, Policy(drift="warn")).verdict == "warn"
    assert regress(one, one).verdict == "pass"


def test_histograms_that_cannot_be_compared_tell_nothing() -> None:
    provenance = Provenance("sha256:m", "net.onnx", (identity("one", 0),), {}, "log-linear")
    empty = HistogramSet({"a": Histogram.of(np.ones(1))}, provenance, {}, {})
    assert other_data(empty, empty) is None
