"""Exact error sums: order, batches and merging change no bit."""

from __future__ import annotations

import math
from functools import reduce

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from quantlab.comparison.exact_sums import ExactErrorSums
from quantlab.comparison.sample_sums import COLUMNS, blocks, parts, sample_sums
from quantlab.errors import InputError
from quantlab.numerics.arrays import AnyArray
from quantlab.numerics.error_sums import ErrorSums
from tests.comparison.laws import law

elements = st.floats(-(2.0**100), 2.0**100, width=32)
rows = hnp.arrays(np.float32, (6, 5), elements=elements)


def slow_sums(x: AnyArray, y: AnyArray) -> list[float]:
    """Add up in Python's floats, one element after the other."""
    signal = other = cross = noise = largest = 0.0
    for a, b in zip(x.ravel().tolist(), y.ravel().tolist(), strict=True):
        signal, other, cross, noise = signal + a * a, other + b * b, cross + a * b, noise + (a - b) * (a - b)
        largest = max(largest, abs(a - b))
    return [signal, other, cross, noise, largest]


@law
@given(rows, rows)
def test_a_samples_sums_are_those_of_a_loop_over_its_elements(x: AnyArray, y: AnyArray) -> None:
    assert sample_sums(x, y, 6).tolist() == [slow_sums(a, b) for a, b in zip(x, y, strict=True)]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8, np.int64, np.bool_])
def test_any_numbers_are_compared(dtype: type) -> None:
    x: AnyArray = np.array([[0, 1], [1, 1]]).astype(dtype)
    y = np.array([[1, 1], [0, 1]], np.float32)
    found = dict(zip(COLUMNS, sample_sums(x, y, 2).sum(axis=0), strict=True))
    assert found == {"signal": 3, "other": 3, "cross": 2, "noise": 2, "largest": 2}


def test_an_array_that_is_not_contiguous_is_compared_in_its_own_order() -> None:
    x = np.arange(12.0).reshape(3, 4).T
    assert np.array_equal(sample_sums(x, x[::-1], 4), sample_sums(x.copy(), x[::-1].copy(), 4))


@law
@given(rows, rows)
def test_the_total_is_the_correctly_rounded_sum_over_the_samples(x: AnyArray, y: AnyArray) -> None:
    found = ExactErrorSums.of(x, y, 6).total
    each = sample_sums(x, y, 6)
    assert [found.signal, found.other, found.cross, found.noise] == [math.fsum(each[:, i]) for i in range(4)]
    assert found.largest == each[:, 4].max()
    assert found.count == 30


@law
@given(rows, rows)
def test_the_total_is_that_of_error_sums_up_to_rounding(x: AnyArray, y: AnyArray) -> None:
    found, twin = ExactErrorSums.of(x, y, 6).total, ErrorSums.of(x, y)
    reach = 1e-12 * (twin.signal + twin.other)
    for name in ("signal", "other", "cross", "noise"):
        assert getattr(found, name) == pytest.approx(getattr(twin, name), rel=1e-12, abs=reach)


@law
@given(rows, rows, st.integers(1, 5))
def test_merging_equals_counting_together(x: AnyArray, y: AnyArray, k: int) -> None:
    one, two = ExactErrorSums.of(x[:k], y[:k], k), ExactErrorSums.of(x[k:], y[k:], 6 - k)
    assert one.merge(two) == ExactErrorSums.of(x, y, 6) == two.merge(one)


@law
@given(rows, rows, st.permutations(range(6)))
def test_the_samples_order_changes_no_bit(x: AnyArray, y: AnyArray, order: list[int]) -> None:
    assert ExactErrorSums.of(x[order], y[order], 6) == ExactErrorSums.of(x, y, 6)


def test_nothing_is_lost_beside_a_large_sample() -> None:
    samples = [np.array([1e16])] + [np.array([1.0])] * 10
    total = reduce(ExactErrorSums.merge, (ExactErrorSums.of(x, np.zeros(1), 1) for x in samples)).total
    assert total.signal == math.fsum([1e32] + [1.0] * 10)


@pytest.mark.parametrize("value", [5e-324, 1e-200, 1e100])
def test_extreme_magnitudes_are_exact(value: float) -> None:
    assert ExactErrorSums.of(np.array([value]), np.array([0.0]), 1).total.signal == value * value


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e200])
def test_a_sample_without_finite_sums_is_left_out_and_counted(value: float) -> None:
    x = np.array([[1.0, value], [2.0, 3.0]])
    found = ExactErrorSums.of(x, np.zeros((2, 2)), 2)
    assert (found.left_out, found.count, found.total.signal) == (1, 2, 13.0)


SHAPES = [((4, 3), 4, 4), ((8, 3), 4, 4), ((3,), 4, 1), ((), 4, 1), ((0, 2), 4, 1), ((4, 0), 4, 4)]


@pytest.mark.parametrize(("shape", "samples", "count"), SHAPES)
def test_a_sample_is_an_equal_part_of_the_first_dimension(shape: tuple[int, ...], samples: int, count: int) -> None:
    values = np.ones(shape)
    assert parts(values, samples) == len(sample_sums(values, values, samples)) == count


@pytest.mark.parametrize(
    "shape", [*(shape for shape, _, _ in SHAPES), (4, 1 << 16), (4, 1 << 17), (4, 1 << 18), (8, 1 << 18)]
)
def test_blocks_are_the_whole_in_order(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).normal(size=shape)
    found = [*blocks(values, 4)]
    joined = np.concatenate([block for block, _ in found]) if values.ndim else found[0][0]
    assert np.array_equal(joined, values)
    assert sum(count for _, count in found) == parts(values, 4)
    assert all(block.size <= 1 << 18 or count == 1 for block, count in found)


def test_other_shapes_are_refused() -> None:
    with pytest.raises(InputError, match=r"shapes \[2\] and \[2, 1\] cannot be compared"):
        ExactErrorSums.of(np.zeros(2), np.zeros((2, 1)), 2)
