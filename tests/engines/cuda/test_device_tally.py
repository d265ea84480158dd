"""What of counting on a GPU can be checked without one: the kernel's compilation and the window's place."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlab.engines.cuda.device_tally import KERNELS, MACROS, compile_kernels, floats_of, window_base
from quantlab.errors import MachineError
from quantlab.numerics.arrays import F32
from quantlab.numerics.counting import PARTS, SHIFT
from tests.numerics.tensors import LARGEST, finite, law


@pytest.mark.parametrize("architecture", ["sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120"])
def test_the_kernels_compile(architecture: str) -> None:
    code = compile_kernels(architecture).code
    assert all(name.encode() in code for name in KERNELS.values())


def test_an_unknown_architecture_is_refused_with_a_sentence() -> None:
    with pytest.raises(MachineError, match=r"cannot be compiled for sm_10: .*nvidia-cuda-nvrtc"):
        compile_kernels("sm_10")


@law
@given(st.floats(2.0**-149, LARGEST, width=32), st.booleans())
def test_the_window_holds_the_largest_magnitude_but_no_zero_and_no_infinity(largest: float, negative: bool) -> None:
    base = window_base(-largest if negative else 0.0, 0.0 if negative else largest)
    slot = int(np.float32(largest).view(np.uint32)) >> SHIFT
    first, end = base * PARTS, (base + MACROS["OCTAVES"]) * PARTS
    assert 0 < first < end <= 255 * PARTS
    assert slot < end
    assert slot >= first or largest < 2.0**-126


@pytest.mark.parametrize("value", [0.0, float("nan")])
def test_the_window_has_a_place_before_any_magnitude_is_known(value: float) -> None:
    assert window_base(value, value) == 123


@law
@given(finite)
def test_the_order_of_bits_is_undone_as_on_the_cpu(x: F32) -> None:
    bits = x.view(np.int32)
    back = floats_of(bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF)))
    assert np.array_equal(back.view(np.int32), (x + np.float32(0)).view(np.int32))


def test_extremes_that_no_value_has_touched_are_nan() -> None:
    info = np.iinfo(np.int32)
    assert np.isnan(floats_of(np.array([info.min, info.max], np.int32))).all()
