"""TensorRT divides a dynamic range by 127 in float32; the scale that was meant must come out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlab.engines.tensorrt.ranges import amax_of, is_exact

amaxes = st.floats(width=32, min_value=float(np.float32(1e-30)), max_value=float(np.float32(1e30)))


@given(amaxes)
def test_a_scale_made_by_dividing_an_amax_comes_back_bit_for_bit(amax: float) -> None:
    scale = float(np.float32(np.float32(amax) / np.float32(127)))
    assert is_exact(scale)
    assert np.float32(np.float32(amax_of(scale)) / np.float32(127)) == np.float32(scale)


@given(amaxes)
def test_any_scale_comes_back_within_a_last_bit(scale: float) -> None:
    got = np.float32(np.float32(amax_of(scale)) / np.float32(127))
    assert np.nextafter(got, np.float32(0)) <= np.float32(scale) <= np.nextafter(got, np.float32(np.inf))


def test_about_one_float_in_128_is_no_quotient() -> None:
    first = int(np.float32(1.3).view(np.int32))
    neighbours = np.arange(first, first + 4096, dtype=np.int32).view(np.float32)
    share = np.mean([not is_exact(float(scale)) for scale in neighbours])
    assert share == pytest.approx(1 / 128, rel=0.05)
