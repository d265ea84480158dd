"""How many samples are enough: checked against sets that are really drawn anew."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from quantlab import engines
from quantlab.calibration.methods.minmax import MinMax
from quantlab.calibration.methods.percentile import Percentile
from quantlab.calibration.methods.squared_error import SquaredError
from quantlab.diagnosis.convergence import Convergence, convergence, subsets
from quantlab.diagnosis.survey import Survey, survey
from quantlab.numerics.arrays import F32
from quantlab.plots.settling import convergence as draw
from tests.diagnosis.fashion import NETWORK, batches, pixels, prepared
from tests.networks import image_batch, small_cnn


def looked(values: F32) -> Survey:
    with engines.ort(small_cnn(), expose=("image", "relu", "logits"), threads=1) as engine:
        return survey(engine, batches(values))


@pytest.fixture(scope="module")
def fashion() -> list[Survey]:
    values = prepared(pixels(800, part="evaluation"))
    with engines.ort(NETWORK, expose=("*Add*", "*Relu*", "image"), threads=1) as engine:
        return [survey(engine, batches(values[start : start + 80])) for start in range(0, 800, 80)]


@pytest.mark.parametrize("method", [SquaredError(), Percentile(99.9), MinMax()])
def test_the_interval_is_the_spread_of_sets_drawn_anew(fashion: list[Survey], method: SquaredError) -> None:
    drawn = np.array([[method(histogram).amax for histogram in one.whole.values()] for one in fashion])
    spread = 1.96 * drawn.std(axis=0, ddof=1) / drawn.mean(axis=0)
    told = np.mean([[width[-1] for width in convergence(one, method).widths.values()] for one in fashion], axis=0)
    varies = spread > 0
    assert varies.sum() >= 4
    assert 0.7 < np.median(told[varies] / spread[varies]) < 1.4


def test_the_intervals_narrow_with_the_samples() -> None:
    found = convergence(looked(image_batch(200)), SquaredError())
    assert found.sizes[-1] == 200
    assert list(found.sizes) == sorted(found.sizes)
    for width in found.widths.values():
        assert width[0] > width[-1]


def test_the_order_of_the_samples_changes_nothing() -> None:
    values = image_batch(60)
    one, two = (convergence(looked(v), SquaredError()) for v in (values, values[::-1].copy()))
    assert one == two


def test_thresholds_that_do_not_vary_need_the_fewest_samples() -> None:
    values = np.sign(image_batch(64)).astype(np.float32)
    found = convergence(looked(values), MinMax())
    assert found.widths["image"] == (0.0,) * len(found.sizes)


@pytest.mark.parametrize("samples", [1, 2, 3])
def test_too_few_samples_say_so(samples: int) -> None:
    found = convergence(looked(image_batch(samples)), SquaredError())
    assert (found.sizes, found.enough, found.expected) == ((), None, None)
    assert "too few to tell" in found.sentence


def test_zero_throughout_is_settled() -> None:
    values = np.zeros((20, 3, 12, 12), np.float32)
    values[:, 0, 0, 0] = np.arange(20) * 1e-42  # samples differ, but in nothing a scale could tell
    assert set(convergence(looked(values), MinMax()).widths["image"]) <= {0.0}


def curve(*widths: float, tolerance: float = 0.02) -> Convergence:
    return Convergence("M()", 400, tolerance, (100, 200, 400), {f"t{i}": widths for i in range(20)})


def test_enough_is_interpolated_between_sizes() -> None:
    assert curve(0.04, 0.03, 0.01).enough == 259  # 200·2^(ln(0.03/0.02)/ln(0.03/0.01))
    assert curve(0.01, 0.01, 0.01).enough == 100
    assert "100 or fewer of 400 samples are enough" in curve(0.01, 0.01, 0.01).sentence


def test_a_curve_that_rises_again_counts_from_its_last_fall() -> None:
    found = curve(0.01, 0.03, 0.01).enough
    assert found is not None
    assert found > 200


def test_what_is_not_enough_says_how_many_would_be() -> None:
    found = curve(0.08, 0.06, 0.04)
    assert (found.enough, found.expected) == (None, 1600)
    assert found.sentence.endswith("are within 4 % only; some 1,600 would be.")
    assert curve(0.9, 0.9, 0.9).expected is None


def test_one_tensor_in_twenty_may_stay_outside() -> None:
    found = curve(0.01, 0.01, 0.01)
    found.widths["t0"] = (0.5, 0.5, 0.5)
    assert (found.enough, found.enough_for_all) == (100, None)


def test_subsets_are_disjoint_as_far_as_they_go() -> None:
    found = subsets(16, 4)
    assert len(found) >= 24
    for start in range(0, 24, 4):
        assert sorted(np.concatenate(found[start : start + 4]).tolist()) == list(range(16))


def test_it_can_be_drawn() -> None:
    axes = draw(convergence(looked(image_batch(40)), SquaredError()), ax=Figure().subplots())
    assert len(axes.lines) >= 3 + 2
    assert axes.get_xlabel() == "samples"
