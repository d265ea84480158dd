"""SquaredError: as good as the best threshold that trying many on the values themselves would find."""

from functools import reduce
from typing import Any

import numpy as np
import pytest

from quantlab.calibration.methods.entropy import Entropy
from quantlab.calibration.methods.minmax import MinMax
from quantlab.calibration.methods.percentile import Percentile
from quantlab.calibration.methods.squared_error import SquaredError, squared_errors
from quantlab.calibration.ranges import Range
from quantlab.calibration.schemes import Symmetric
from quantlab.numerics.affine import fake_quantize
from quantlab.numerics.arrays import F32
from quantlab.numerics.error_sums import ErrorSums
from quantlab.numerics.histogram import Histogram
from tests.numerics.tensors import ACTIVATIONS, activation, f32


def noise(x: F32, threshold: float) -> float:
    params = Symmetric().params(Range(-threshold, threshold))
    return ErrorSums.of(x, fake_quantize(x, params)).noise


def thresholds(x: F32, octaves: int) -> list[float]:
    amax = float(np.abs(x).max())
    return [amax * 2 ** (-k / 16) for k in range(16 * octaves)]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_its_true_error_is_within_one_percent_of_the_best_there_is(name: str) -> None:
    x = activation(name, 200_000)
    best = min(noise(x, t) for t in thresholds(x, 4))
    assert noise(x, SquaredError()(Histogram.of(x)).amax) <= 1.01 * best


@pytest.mark.parametrize("outlier", [30.0, 300.0, 3000.0])
def test_an_outlier_among_millions_does_not_keep_it_from_the_best(outlier: float) -> None:
    x, copies = activation("gauss", 200_000), 10
    many = reduce(lambda seen, _: seen.merge(seen), range(copies), Histogram.of(x))  # 205 million values
    seen = many.merge(Histogram.of(f32(outlier)))

    def true(threshold: float) -> float:
        return noise(x, threshold) * 2**copies + noise(f32(outlier), threshold)

    best = min(true(t) for t in np.geomspace(2.5, outlier, 60).tolist())
    assert true(SquaredError()(seen).amax) <= 1.01 * best


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_no_other_method_loses_less(name: str) -> None:
    x = activation(name)
    seen = Histogram.of(x)
    others: list[Any] = [
        MinMax(),
        Percentile(99.9),
        Percentile(99.99),
        Percentile(99.99, "nonzero"),
        Entropy(),
        Entropy("mxnet"),
    ]
    least = min(noise(x, method(seen).amax) for method in others)
    assert noise(x, SquaredError()(seen).amax) <= 1.01 * least


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_expected_error_of_a_candidate_is_the_real_one(name: str) -> None:
    x = activation(name)
    t, errors = squared_errors(Histogram.of(x))
    assert np.all(np.diff(t) >= 0)
    for i in np.linspace(0, t.size - 1, 15, dtype=int):
        assert errors[i] == pytest.approx(noise(x, float(t[i])), rel=0.1)


def test_the_candidates_reach_the_exact_maximum() -> None:
    x = activation("uniform")
    assert squared_errors(Histogram.of(x))[0][-1] == np.abs(x).max()


def test_zeros_cost_nothing_and_change_nothing() -> None:
    x = activation("relu, 69 % zeros")
    more = np.append(x, np.zeros(100_000, np.float32))
    assert SquaredError()(Histogram.of(more)) == SquaredError()(Histogram.of(x))


def test_the_range_is_cut_to_what_was_seen() -> None:
    assert SquaredError()(Histogram.of(activation("relu6"))).low == 0
    assert SquaredError()(Histogram.of(activation("negative"))).high == 0
    silu = SquaredError()(Histogram.of(activation("silu")))
    assert -0.28 < silu.low < -0.27 < 5 < silu.high
