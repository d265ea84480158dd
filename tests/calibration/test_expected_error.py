"""What the histogram says a scale will cost, against what it costs on the values themselves."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlab.calibration.expected_error import clipped_share, expected_sqnr_db, representable
from quantlab.calibration.ranges import Range
from quantlab.calibration.schemes import Affine, Scheme, Symmetric
from quantlab.numerics.affine import QuantParams, fake_quantize
from quantlab.numerics.arrays import F32
from quantlab.numerics.error_sums import ErrorSums
from quantlab.numerics.histogram import Histogram
from tests.numerics.tensors import ACTIVATIONS, activation, f32, finite, law, ordinary

SCHEMES: list[Scheme] = [Symmetric("int8"), Affine("uint8"), Affine("int8")]
PARTS = [1.0, 0.7, 0.3]


def chosen(x: F32, scheme: Scheme, part: float) -> QuantParams:
    return scheme.params(Range(min(float(x.min()), 0.0) * part, max(float(x.max()), 0.0) * part))


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("scheme", SCHEMES, ids=repr)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_expected_sqnr_is_the_real_one(name: str, scheme: Scheme, part: float) -> None:
    x = activation(name, 50_000)
    params = chosen(x, scheme, part)
    real = ErrorSums.of(x, fake_quantize(x, params)).sqnr_db
    assert expected_sqnr_db(Histogram.of(x), params) == pytest.approx(real, abs=0.15)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("scheme", SCHEMES, ids=repr)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_clipped_share_is_the_real_one_within_the_bins_that_the_limits_cut(
    name: str, scheme: Scheme, part: float
) -> None:
    x = activation(name, 50_000)
    params = chosen(x, scheme, part)
    seen = Histogram.of(x)
    low, high = (end + side * float(params.scale) / 2 for end, side in zip(representable(params), (-1, 1), strict=True))
    real = np.mean((x < low) | (x > high))
    edges = seen.edges()
    cut = sum(
        int(seen.counts[side, min(max(int(np.searchsorted(edges, limit, "right")) - 1, 0), edges.size - 2)])
        for side, limit in ((0, -low), (1, high))
        if limit > 0
    )
    assert clipped_share(seen, params) == pytest.approx(real, abs=cut / x.size + 1e-12)


@pytest.mark.parametrize("value", [5.0, -5.0, 0.1, 1e-20, 3e38])
@pytest.mark.parametrize("scheme", SCHEMES, ids=repr)
@pytest.mark.parametrize("part", PARTS)
def test_a_constant_tensor_costs_what_it_really_costs(value: float, scheme: Scheme, part: float) -> None:
    x = np.full(10, value, np.float32)
    params = chosen(x, scheme, part)
    real = ErrorSums.of(x, fake_quantize(x, params)).sqnr_db
    assert min(expected_sqnr_db(Histogram.of(x), params), 100) == pytest.approx(min(real, 100), abs=0.01)
    assert clipped_share(Histogram.of(x), params) == (1.0 if part < 1 else 0.0)


@law
@given(ordinary)
def test_min_max_clips_nothing(x: F32) -> None:
    for dtype in ("int8", "uint8"):
        params = Symmetric(dtype).params(Range(float(x.min()), float(x.max())))
        assert clipped_share(Histogram.of(x), params) == 0.0


@law
@given(finite, st.floats(1e-30, 1e30), st.integers(-128, 127))
def test_any_scale_on_any_tensor_gives_a_share_and_decibels(x: F32, scale: float, zero_point: int) -> None:
    params = QuantParams(np.array(scale, np.float32), np.array(zero_point), "int8")
    seen = Histogram.of(x)
    assert 0 <= clipped_share(seen, params) <= 1
    assert not math.isnan(expected_sqnr_db(seen, params))


@law
@given(ordinary, st.integers(-20, 20))
def test_a_power_of_two_changes_neither(x: F32, power: int) -> None:
    one = Symmetric().params(Range(-0.37, 0.37))
    scaled = Symmetric().params(Range(-float(np.ldexp(0.37, power)), float(np.ldexp(0.37, power))))
    seen, other = Histogram.of(x), Histogram.of(np.ldexp(x, power))
    assert clipped_share(seen, one) == clipped_share(other, scaled)
    assert expected_sqnr_db(seen, one) == pytest.approx(expected_sqnr_db(other, scaled), abs=1e-6)


@pytest.mark.parametrize("x", [np.zeros(0, np.float32), np.zeros(4, np.float32)])
def test_nothing_and_zeros_cost_nothing(x: F32) -> None:
    params = Symmetric().params(Range(-1.0, 1.0))
    assert (clipped_share(Histogram.of(x), params), expected_sqnr_db(Histogram.of(x), params)) == (0.0, math.inf)


def test_a_value_within_half_a_step_of_the_end_is_not_clipped() -> None:
    params = QuantParams(np.array(1.0, np.float32), np.array(0), "int8")
    assert clipped_share(Histogram.of(f32(127.4, -128.4)), params) == 0.0
    assert clipped_share(Histogram.of(f32(127.6, -128.6, 0, 0)), params) == 0.5
    assert representable(params) == (-128.0, 127.0)
