"""The scale with the least squared error, by search."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from quantlab.calibration.scale_search import least_error_scales
from quantlab.calibration.schemes import LARGEST_SCALE, SMALLEST_SCALE, UNUSED_SCALE
from quantlab.calibration.weight_methods import MaxAbs, SquaredErrorWeights
from quantlab.errors import InputError
from quantlab.numerics.affine import QuantParams, fake_quantize
from quantlab.numerics.arrays import F32, F64
from tests.numerics.tensors import LARGEST, f32, law

weights = arrays(
    np.float32, array_shapes(min_dims=1, max_dims=4, max_side=4), elements=st.floats(-LARGEST, LARGEST, width=32)
)


def errors(weight: F32, scales: F32, axis: int | None) -> F64:
    """Return the squared error of each channel, measured with the quantizer itself."""
    got = fake_quantize(weight, QuantParams(scales, np.zeros(scales.shape, np.int64), "int8", axis))
    off = np.square(weight.astype(np.float64) - got)
    others = None if axis is None else tuple(i for i in range(weight.ndim) if i != axis)
    return np.asarray(off.sum(axis=others))


@law
@given(weights, st.integers(0, 3))
def test_no_channel_errs_more_than_with_the_largest_magnitude(weight: F32, wanted: int) -> None:
    for axis in (None, wanted % weight.ndim):
        before = errors(weight, MaxAbs()(weight, axis), axis)
        assert np.all(errors(weight, SquaredErrorWeights()(weight, axis), axis) <= before * (1 + 1e-12))


@law
@given(weights, st.integers(0, 3))
def test_a_scale_a_channel_equals_channel_by_channel(weight: F32, wanted: int) -> None:
    axis = wanted % weight.ndim
    scales = SquaredErrorWeights()(weight, axis)
    assert scales.dtype == np.float32
    assert scales.tolist() == [float(SquaredErrorWeights()(part, None)) for part in np.moveaxis(weight, axis, 0)]
    assert scales.tolist() == SquaredErrorWeights()(weight, axis - weight.ndim).tolist()


@law
@given(weights)
def test_every_scale_is_a_normal_positive_number(weight: F32) -> None:
    scales = SquaredErrorWeights()(weight, 0)
    assert np.all((scales >= SMALLEST_SCALE) & (scales <= np.float32(LARGEST_SCALE)) | (scales == UNUSED_SCALE))


def test_no_scale_of_a_dense_grid_is_noticeably_better() -> None:
    random = np.random.default_rng(3)
    for size, spared in ((9, 1.02), (400, 1.03), (4000, 1.005)):
        weight = random.normal(size=(3, size)).astype(np.float32)
        found = errors(weight, SquaredErrorWeights()(weight, 0), 0)
        start = MaxAbs()(weight, 0)
        grid = [errors(weight, (start * f).astype(np.float32), 0) for f in np.linspace(0.3, 1.25, 4001)]
        assert np.all(found <= np.min(grid, axis=0) * spared)


def test_an_outlier_is_clipped_where_that_costs_less() -> None:
    weight = np.append(np.random.default_rng(0).normal(size=100_000), 12.0).astype(np.float32)
    scale = SquaredErrorWeights()(weight, None)
    assert 127 * scale < 0.8 * 12
    assert errors(weight, scale, None) < 0.7 * errors(weight, MaxAbs()(weight, None), None)


def test_weights_that_lie_on_a_grid_are_exact() -> None:
    steps = np.random.default_rng(1).integers(-127, 128, (4, 50))
    steps[:, 0] = 127
    weight = (steps * np.float32(0.037)).astype(np.float32)
    scales = SquaredErrorWeights()(weight, 0)
    assert errors(weight, scales, 0).tolist() == [0.0] * 4


def test_of_equal_errors_the_larger_scale_wins() -> None:
    weight = f32(8.0, -4.0, 0.0)
    scale = float(least_error_scales(weight[None], -2, 2)[0])
    assert scale == 4.0
    one = float(least_error_scales(f32(1.0)[None], -128, 127)[0])
    assert one >= float(np.float32(1 / 127))
    assert errors(f32(1.0), np.float32(one)[...], None) == 0


def test_a_dead_channel_gets_a_harmless_scale_and_leaves_the_others() -> None:
    weight = np.array([[0, -0.0, 0], [1, 2, 3]], np.float32)
    scales = SquaredErrorWeights()(weight, 0)
    assert scales[0] == np.float32(UNUSED_SCALE)
    assert scales[1] == SquaredErrorWeights()(weight[1], None)


def test_arrays_without_elements_or_dimensions_have_a_scale() -> None:
    assert SquaredErrorWeights()(np.zeros((2, 0), np.float32), 0).tolist() == [np.float32(UNUSED_SCALE)] * 2
    assert SquaredErrorWeights()(np.zeros((0, 2), np.float32), 0).shape == (0,)
    assert SquaredErrorWeights()(np.zeros(0, np.float32), None) == np.float32(UNUSED_SCALE)
    assert SquaredErrorWeights()(np.array(127.0, np.float32), None).shape == ()


def test_four_bits_have_a_range_of_their_own() -> None:
    weight = np.random.default_rng(2).normal(size=(64, 32)).astype(np.float32)
    scales = least_error_scales(weight, -8, 7)[:, None]
    found = np.square(weight - np.clip(np.rint(weight / scales), -8, 7) * scales).sum()
    plain = np.abs(weight).max(axis=1, keepdims=True) / 7
    assert found < 0.8 * np.square(weight - np.clip(np.rint(weight / plain), -8, 7) * plain).sum()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused(value: float) -> None:
    with pytest.raises(InputError, match="NaN or infinity"):
        SquaredErrorWeights()(f32(1.0, value), 0)


def test_an_axis_that_the_weight_does_not_have_is_refused() -> None:
    with pytest.raises(InputError, match="no axis 2"):
        SquaredErrorWeights()(np.ones((2, 3), np.float32), 2)


def test_the_weight_is_left_as_it_is() -> None:
    weight = np.array([[-1, 2]], np.float32)
    SquaredErrorWeights()(weight, 0)
    assert weight.tolist() == [[-1, 2]]
    assert repr(SquaredErrorWeights()) == "SquaredErrorWeights()"
