"""Scales of weights: straight from the array, positive, and clipping nothing."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from quantlab.calibration.schemes import SMALLEST_SCALE, UNUSED_SCALE
from quantlab.calibration.weight_methods import MaxAbs
from quantlab.errors import InputError
from quantlab.numerics.affine import QuantParams, fake_quantize
from quantlab.numerics.arrays import F32, AnyArray
from tests.numerics.tensors import LARGEST, f32, law

weights = arrays(
    np.float32, array_shapes(min_dims=1, max_dims=4, max_side=4), elements=st.floats(-LARGEST, LARGEST, width=32)
)


@law
@given(weights, st.integers(0, 3))
def test_no_weight_of_any_channel_is_clipped(weight: F32, wanted: int) -> None:
    for axis in (None, wanted % weight.ndim):
        scale = MaxAbs()(weight, axis)
        got = fake_quantize(weight, QuantParams(scale, np.zeros(scale.shape, np.int64), "int8", axis))
        step = scale if axis is None else scale.reshape([-1 if i == axis else 1 for i in range(weight.ndim)])
        assert np.all(np.abs(weight.astype(np.float64) - got) <= (0.5 + 1e-4) * step.astype(np.float64))


@law
@given(weights, st.integers(0, 3))
def test_a_scale_a_channel_equals_channel_by_channel(weight: F32, wanted: int) -> None:
    axis = wanted % weight.ndim
    scales = MaxAbs()(weight, axis)
    assert scales.dtype == np.float32
    assert scales.tolist() == [float(MaxAbs()(channel, None)) for channel in np.moveaxis(weight, axis, 0)]
    assert scales.tolist() == MaxAbs()(weight, axis - weight.ndim).tolist()


@law
@given(weights)
def test_every_scale_is_a_normal_positive_number(weight: F32) -> None:
    for axis in (None, 0):
        scale = MaxAbs()(weight, axis)
        assert np.all(np.isfinite(scale) & (scale >= SMALLEST_SCALE))


def test_one_scale_is_the_largest_magnitude_over_127() -> None:
    assert MaxAbs()(np.array([[-1, 0.5], [0.2, 0.9]], np.float32), None).shape == ()
    assert MaxAbs()(np.array([[-1, 0.5], [0.2, 0.9]], np.float32), None) == np.float32(1 / 127)


def test_a_dead_channel_gets_a_harmless_scale_and_leaves_the_others() -> None:
    scales = MaxAbs()(np.array([[0, -0.0], [254, 1]], np.float32), 0)
    assert scales.tolist() == [np.float32(UNUSED_SCALE), 2.0]


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int8, np.int32])
def test_other_types_are_read(dtype: Any) -> None:
    assert MaxAbs()(np.array([-127, 3], dtype), None) == 1.0
    assert MaxAbs()(np.array([-128], np.int8), None) == np.float32(128 / 127)


def test_arrays_without_elements_or_dimensions_have_a_scale() -> None:
    assert MaxAbs()(np.zeros((2, 0), np.float32), 0).tolist() == [np.float32(UNUSED_SCALE)] * 2
    assert MaxAbs()(np.zeros(0, np.float32), None) == np.float32(UNUSED_SCALE)
    assert MaxAbs()(np.array(127.0, np.float32), None) == 1.0


def test_strides_do_not_matter() -> None:
    weight = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    assert MaxAbs()(weight.T, 2).tolist() == MaxAbs()(weight, 0).tolist()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("axis", [None, 0])
def test_nan_and_infinity_are_refused(value: float, axis: int | None) -> None:
    with pytest.raises(InputError, match="NaN or infinity"):
        MaxAbs()(f32(1.0, value), axis)


def test_a_weight_beyond_float32_is_refused_with_a_sentence() -> None:
    with pytest.raises(InputError):
        MaxAbs()(np.array([1e300]), None)


@pytest.mark.parametrize("weight", [np.ones((2, 3), np.float32), np.array(1.0, np.float32)])
@pytest.mark.parametrize("axis", [2, 5, -3])
def test_an_axis_that_the_weight_does_not_have_is_refused(weight: AnyArray, axis: int) -> None:
    with pytest.raises(InputError, match="axis"):
        MaxAbs()(weight, axis)


def test_the_weight_is_left_as_it_is() -> None:
    weight = np.array([[-1, 2]], np.float32)
    MaxAbs()(weight, 0)
    assert weight.tolist() == [[-1, 2]]
    assert MaxAbs() == MaxAbs()
    assert repr(MaxAbs()) == "MaxAbs()"
