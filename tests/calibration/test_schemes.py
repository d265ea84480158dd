"""Schemes: scale and zero point of a range."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlab.calibration.ranges import Range
from quantlab.calibration.schemes import SMALLEST_SCALE, UNUSED_SCALE, Affine, Scheme, Symmetric
from quantlab.errors import InputError, UsageError
from quantlab.numerics.affine import fake_quantize
from quantlab.numerics.arrays import F32
from tests.numerics.tensors import LARGEST, f32, law, ordinary

SCHEMES: list[Scheme] = [Symmetric("int8"), Symmetric("uint8"), Affine("uint8"), Affine("int8")]
every_scheme = pytest.mark.parametrize("scheme", SCHEMES, ids=repr)


@every_scheme
@law
@given(ordinary)
def test_no_value_of_the_range_errs_by_more_than_half_a_step(scheme: Scheme, x: F32) -> None:
    params = scheme.params(Range(float(x.min()), float(x.max())))
    error = np.abs(x.astype(np.float64) - fake_quantize(x, params))
    assert np.all(error <= (0.5 + 1e-4) * float(params.scale))


@every_scheme
@law
@given(ordinary)
def test_zero_is_exact(scheme: Scheme, x: F32) -> None:
    params = scheme.params(Range(float(x.min()), float(x.max())))
    assert fake_quantize(np.zeros(1, np.float32), params).tolist() == [0.0]


@every_scheme
@law
@given(ordinary, st.integers(-20, 20))
def test_the_scale_follows_a_power_of_two(scheme: Scheme, x: F32, power: int) -> None:
    low, high = float(x.min()), float(x.max()) + 2.0**-20
    one, scaled = scheme.params(Range(low, high)), scheme.params(Range(np.ldexp(low, power), np.ldexp(high, power)))
    assert scaled.scale == np.ldexp(one.scale, power)
    assert scaled.zero_point == one.zero_point


@law
@given(ordinary)
def test_the_bytes_of_both_types_differ_by_128(x: F32) -> None:
    chosen = Range(float(x.min()), float(x.max()))
    for kind in (Symmetric, Affine):
        signed, unsigned = kind("int8").params(chosen), kind("uint8").params(chosen)
        assert (signed.scale, signed.zero_point + 128) == (unsigned.scale, unsigned.zero_point)


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (-1.0, 0.3), (0.0, 1.0), (0.5, 1.0), (-1.0, -0.5)])
def test_symmetric_is_the_larger_magnitude_over_127(low: float, high: float) -> None:
    params = Symmetric().params(Range(low, high))
    assert (float(params.scale), int(params.zero_point), params.dtype) == (float(np.float32(1 / 127)), 0, "int8")
    assert params.scale.tobytes()[::-1].hex() == "3c010204"  # what TensorRT writes for an amax of 1


@pytest.mark.parametrize(
    ("low", "high", "scale", "zero_point"),
    [
        (0.0, 2.55, 0.01, 0),
        (-2.55, 0.0, 0.01, 255),
        (-1.0, 1.55, 0.01, 100),
        (9.0, 10.2, 0.04, 0),
        (-10.2, -9, 0.04, 255),
    ],
)
def test_affine_spends_all_256_steps_on_the_range_and_zero(
    low: float, high: float, scale: float, zero_point: int
) -> None:
    params = Affine("uint8").params(Range(low, high))
    assert (float(params.scale), int(params.zero_point)) == (float(np.float32(scale)), zero_point)


@every_scheme
def test_a_tensor_of_zeros_gets_a_harmless_scale(scheme: Scheme) -> None:
    assert scheme.params(Range(0.0, 0.0)).scale == np.float32(UNUSED_SCALE) == np.float32(1 / 127)


@every_scheme
@pytest.mark.parametrize("value", [2.0**-149, 1e-40, 1e-38, 2.0**-126])
def test_a_scale_is_never_zero_nor_subnormal(scheme: Scheme, value: float) -> None:
    for bounds in (Range(0.0, value), Range(-value, value), Range(-value, 0.0)):
        assert scheme.params(bounds).scale >= SMALLEST_SCALE > 0


@every_scheme
@pytest.mark.parametrize("bounds", [(-LARGEST, LARGEST), (0.0, LARGEST), (-LARGEST, 0.0)])
def test_the_largest_range_has_a_scale_whose_steps_stay_finite(scheme: Scheme, bounds: tuple[float, float]) -> None:
    if scheme.name == "affine":
        bounds = (bounds[0] / 2, bounds[1] / 2)  # 256 steps over both halves would need a larger float
    params = scheme.params(Range(*bounds))
    x = f32(bounds[0], bounds[1], LARGEST / 3)
    assert np.all(np.isfinite(fake_quantize(x[(x >= bounds[0]) & (x <= bounds[1])], params)))


@every_scheme
def test_a_range_beyond_float32_is_refused_with_a_sentence(scheme: Scheme) -> None:
    with pytest.raises(InputError):
        scheme.params(Range(-1e60, 1e60))


@pytest.mark.parametrize("kind", [Symmetric, Affine])
@pytest.mark.parametrize("dtype", ["int4", "float32", "", "INT8"])
def test_a_type_that_is_no_byte_is_refused(kind: Any, dtype: str) -> None:
    with pytest.raises(UsageError, match=f"int8 or uint8, not «{dtype}»"):
        kind(dtype)


def test_schemes_are_values() -> None:
    assert Symmetric() == Symmetric("int8") != Symmetric("uint8")
    assert len({Symmetric(), Symmetric("int8"), Affine(), Affine("uint8")}) == 2
    assert [scheme.name for scheme in SCHEMES] == ["symmetric", "symmetric", "affine", "affine"]
    assert repr(Affine("int8")) == "Affine(dtype='int8')"
