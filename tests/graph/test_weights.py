"""Weights as integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from onnx import numpy_helper

from quantlab.calibration.weight_methods import MaxAbs
from quantlab.errors import InputError
from quantlab.graph.weights import int8_initializer, int32_bias, room_for_bias, weight_row
from quantlab.numerics.affine import QuantParams, dequantize

F32 = NDArray[np.float32]
WEIGHTS = arrays(np.float32, (3, 2, 2), elements=st.floats(-1e3, 1e3, width=32))


@given(WEIGHTS, st.sampled_from([None, 0, 1, 2]))
def test_every_scale_is_positive_and_every_weight_within_half_a_step(weight: F32, axis: int | None) -> None:
    params = weight_row("w", weight, axis).params
    assert params.axis == axis
    assert np.all(params.scale > 0)
    integers = numpy_helper.to_array(int8_initializer("q", weight, params))
    assert integers.dtype == np.int8
    half = params.scale.max() * 0.5 * (1 + 1e-5)
    assert np.abs(dequantize(integers, params) - weight).max() <= half


def test_a_row_says_what_it_is() -> None:
    row = weight_row("w", np.ones((4, 3, 3, 3), "f"), 0)
    assert (row.role, row.axis, row.shape, row.dtype, row.scheme) == ("weight", 0, (4, 3, 3, 3), "int8", "symmetric")
    assert row.method == str(MaxAbs())
    assert len(row.scale) == 4


def test_a_dead_channel_gets_a_positive_scale_whatever_the_method_makes_of_it() -> None:
    class Naive:
        def __call__(self, weight: NDArray[np.generic], axis: int | None, /) -> F32:
            assert axis == 0
            return (np.abs(weight).max(axis=1) / 127).astype(np.float32)

    weight = np.array([[0, 0], [1, -127]], np.float32)
    row = weight_row("w", weight, 0, Naive())
    assert row.scale[1] == 1
    assert row.scale[0] > 0


def test_a_method_that_gives_a_living_channel_no_scale_is_an_error() -> None:
    class Broken:
        def __call__(self, _weight: NDArray[np.generic], _axis: int | None, /) -> F32:
            return np.array([1, np.nan], np.float32)

    with pytest.raises(InputError, match="weight 'w' a scale that is not finite"):
        weight_row("w", np.ones((2, 2), "f"), 0, Broken())
    with pytest.raises(InputError, match=r"scales of shape \(2,\) for weight 'w', not \(3,\)"):
        weight_row("w", np.ones((3, 2), "f"), 0, Broken())


def test_nan_in_a_weight_is_an_error_with_its_name() -> None:
    with pytest.raises(InputError, match="'w' holds NaN"):
        weight_row("w", np.array([[1, np.nan]], "f"), 0)


def params(*scales: float) -> QuantParams:
    return QuantParams(np.array(scales, np.float32), np.zeros(len(scales), np.int64), "int8", 0)


def test_a_bias_becomes_steps_of_both_scales() -> None:
    integers, steps = int32_bias(np.array([1.0, -3.0], "f"), np.float32(0.5)[...], params(0.25, 0.5).scale)
    assert integers.tolist() == [8, -12]
    assert steps.tolist() == [0.125, 0.25]


def test_only_a_channel_too_fine_for_its_bias_is_widened() -> None:
    got = room_for_bias(params(1e-12, 0.1), np.array([1.0, 1.0], "f"), np.float32(0.01)[...])
    assert got.scale[1] == np.float32(0.1)
    integers, _ = int32_bias(np.array([1.0, 1.0], "f"), np.float32(0.01)[...], got.scale)
    assert 2**29 < integers[0] < 2**31 - 1


def test_the_steps_of_a_bias_never_vanish() -> None:
    got = room_for_bias(params(1e-38), np.zeros(1, "f"), np.float32(1e-6)[...])
    integers, steps = int32_bias(np.zeros(1, "f"), np.float32(1e-6)[...], got.scale)
    assert steps[0] > 0
    assert integers[0] == 0
