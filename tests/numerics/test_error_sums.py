"""Error sums: every measure against its formula, and merging against summing at once."""

import math
from collections.abc import Sequence
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlab.errors import InputError
from quantlab.numerics.arrays import F32
from quantlab.numerics.error_sums import ErrorSums, decibels
from tests.numerics.tensors import activation, f32, law, ordinary, tensors

pairs = st.integers(1, 30).flatmap(
    lambda n: st.tuples(*[tensors(st.floats(-1000, 1000, width=32), least=n, most=n)] * 2)
)


def close(one: ErrorSums, two: ErrorSums) -> bool:
    assert (one.count, one.largest) == (two.count, two.largest)
    fields = ("signal", "other", "cross", "noise")
    return bool(np.allclose([getattr(one, f) for f in fields], [getattr(two, f) for f in fields], rtol=1e-12))


@law
@given(pairs)
def test_the_sums_are_those_of_a_plain_loop(pair: tuple[F32, F32]) -> None:
    x, y = ([float(value) for value in side] for side in pair)
    sums = ErrorSums.of(*pair)
    assert math.isclose(sums.signal, math.fsum(a * a for a in x), rel_tol=1e-12)
    assert math.isclose(sums.other, math.fsum(b * b for b in y), rel_tol=1e-12)
    assert math.isclose(sums.cross, math.fsum(a * b for a, b in zip(x, y, strict=True)), abs_tol=1e-6)
    assert math.isclose(sums.noise, math.fsum((a - b) ** 2 for a, b in zip(x, y, strict=True)), rel_tol=1e-12)
    assert sums.largest == max(abs(a - b) for a, b in zip(x, y, strict=True))
    assert sums.count == len(x)


@law
@given(pairs, pairs)
def test_merging_equals_summing_together(one: Sequence[F32], two: Sequence[F32]) -> None:
    together = ErrorSums.of(np.concatenate([one[0], two[0]]), np.concatenate([one[1], two[1]]))
    a, b = ErrorSums.of(*one), ErrorSums.of(*two)
    assert close(a.merge(b), together)
    assert a.merge(b) == b.merge(a)
    assert a.merge(ErrorSums()) == a


@law
@given(pairs)
def test_a_cosine_lies_between_minus_one_and_one(pair: tuple[F32, F32]) -> None:
    assert -1 <= ErrorSums.of(*pair).cosine <= 1


@law
@given(ordinary)
def test_a_tensor_is_parallel_to_itself(x: F32) -> None:
    sums = ErrorSums.of(x, x)
    assert sums.cosine <= 1
    assert math.isclose(sums.cosine, 1, rel_tol=1e-12)
    assert (sums.sqnr_db, sums.largest) == (math.inf, 0.0)


def test_merging_keeps_a_nan_wherever_it_stands() -> None:
    clean, dirty = ErrorSums.of(f32(1), f32(3)), ErrorSums.of(f32(np.nan), f32(1))
    assert math.isnan(clean.merge(dirty).largest)
    assert math.isnan(dirty.merge(clean).largest)
    assert math.isnan(clean.merge(dirty).sqnr_db)


def test_equal_infinities_do_not_differ_and_nobody_is_warned() -> None:
    sums = ErrorSums.of(f32(np.inf, 1), f32(np.inf, 1))
    assert sums.count == 2


def test_sums_do_not_stall_where_float32_would() -> None:
    one = ErrorSums(signal=2.0**24, noise=2.0**24, count=2**24)
    assert one.merge(ErrorSums.of(f32(1), f32(0))).noise == 2.0**24 + 1
    x = np.full(2**20, 4097, np.float32)
    assert ErrorSums.of(x, x).signal == 4097.0**2 * 2**20


def test_sqnr_is_ten_decibels_a_power_of_ten() -> None:
    x = activation("gauss")
    noise = ErrorSums.of(x, np.float32(1.1) * x)
    assert math.isclose(noise.sqnr_db, 20.0, rel_tol=1e-4)


@pytest.mark.parametrize(
    ("signal", "noise", "expected"),
    [(0.0, 0.0, math.inf), (1.0, 0.0, math.inf), (0.0, 1.0, -math.inf), (1.0, 1.0, 0.0), (1e100, 1e-100, 2000.0)],
)
def test_decibels_at_the_ends(signal: float, noise: float, expected: float) -> None:
    assert decibels(signal, noise) == expected


def test_cosine_of_zero_tensors() -> None:
    zero, one = np.zeros(2, np.float32), np.ones(2, np.float32)
    assert (ErrorSums.of(zero, zero).cosine, ErrorSums.of(zero, one).cosine, ErrorSums.of(one, zero).cosine) == (
        1,
        0,
        0,
    )


def test_empty_tensors_have_no_ratio() -> None:
    empty = ErrorSums.of(np.zeros((0, 2), np.float32), np.zeros((0, 2), np.float32))
    assert empty == ErrorSums()
    assert math.isnan(empty.sqnr_db)
    assert empty.cosine == 1.0


def test_other_types_are_compared_without_wrapping_round() -> None:
    assert ErrorSums.of(np.array([-128], np.int8), np.array([127], np.int8)).largest == 255
    assert ErrorSums.of(np.array([0], np.uint8), np.array([255], np.uint8)).noise == 255.0**2
    assert (
        ErrorSums.of(np.array([60000], np.float16), np.array([-60000], np.float16)).largest
        == np.float64(np.float16(60000)) * 2
    )


def test_different_shapes_are_refused() -> None:
    with pytest.raises(InputError, match=r"shapes \[2\] and \[1, 2\] cannot be compared"):
        ErrorSums.of(np.zeros(2), np.zeros((1, 2)))


def test_sums_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        ErrorSums().signal = 1.0  # type: ignore[misc]
