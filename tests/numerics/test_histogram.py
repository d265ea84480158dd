"""The log-linear histogram: what is in which bin, and that no order, split or type of the values shows."""

import math
from bisect import bisect_right
from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlab.errors import InputError
from quantlab.numerics.arrays import F32, I64
from quantlab.numerics.histogram import BINS, HIGHEST_TOP, LOWEST_TOP, Histogram
from tests.numerics.tensors import LARGEST, SPECIAL, activation, anything, f32, finite, law

EMPTY = Histogram.of(np.zeros(0, np.float32))


def plain_edges(top: int) -> list[float]:
    """The bin edges by the rule in words: ten octaves of 128 parts, three of 512, the highest one called `top`."""
    octaves = [(e, 128) for e in range(top - 12, top - 2)] + [(e, 512) for e in range(top - 2, top + 1)]
    return [0.0, *(2.0 ** (e - 127) * (1 + k / n) for e, n in octaves for k in range(n)), 2.0 ** (top - 126)]


def plain_counts(values: F32, top: int) -> I64:
    """Count value by value."""
    edges, counts = plain_edges(top), np.zeros((2, BINS), np.int64)
    for value in values.tolist():
        if math.isfinite(value) and abs(value) >= 2.0**-135:
            counts[int(value > 0), bisect_right(edges, abs(value)) - 1] += 1
    return counts


@law
@given(anything)
def test_every_value_is_counted_in_the_bin_that_holds_it(x: F32) -> None:
    seen, ok = Histogram.of(x), x[np.isfinite(x)]
    amax = float(np.abs(ok).max(initial=0))
    assert seen.top == (max(math.frexp(amax)[1] + 126, LOWEST_TOP) if amax else LOWEST_TOP)
    assert np.array_equal(seen.counts, plain_counts(x, seen.top))
    assert seen.zeros == np.count_nonzero(np.abs(ok) < 2.0**-135)


@law
@given(anything)
def test_nan_infinities_and_the_exact_extremes_are_kept_apart(x: F32) -> None:
    seen, ok = Histogram.of(x), x[np.isfinite(x)].astype(np.float64)
    assert (seen.nan, seen.negative_infinite, seen.positive_infinite) == (
        np.isnan(x).sum(),
        np.isneginf(x).sum(),
        np.isposinf(x).sum(),
    )
    assert seen.total == ok.size
    assert seen.nonfinite == x.size - ok.size
    assert np.array_equal([seen.low, seen.high], [ok.min(), ok.max()] if ok.size else [np.nan] * 2, equal_nan=True)
    assert seen.amax == np.abs(ok).max(initial=0)


@law
@given(anything, anything)
def test_merging_equals_counting_together(x: F32, y: F32) -> None:
    assert Histogram.of(x).merge(Histogram.of(y)) == Histogram.of(np.concatenate([x, y]))


@law
@given(anything, anything)
def test_merging_is_commutative(x: F32, y: F32) -> None:
    assert Histogram.of(x).merge(Histogram.of(y)) == Histogram.of(y).merge(Histogram.of(x))


@law
@given(anything, anything, anything)
def test_merging_is_associative(x: F32, y: F32, z: F32) -> None:
    a, b, c = Histogram.of(x), Histogram.of(y), Histogram.of(z)
    assert a.merge(b).merge(c) == a.merge(b.merge(c))


@law
@given(anything)
def test_merging_with_an_empty_tensor_changes_nothing(x: F32) -> None:
    assert Histogram.of(x).merge(EMPTY) == EMPTY.merge(Histogram.of(x)) == Histogram.of(x)


def test_merging_is_exact_however_many_octaves_lie_between() -> None:
    small = np.ldexp(f32(1, 1.37, 1.999), LOWEST_TOP - 127).astype(np.float32)
    for apart in range(HIGHEST_TOP - LOWEST_TOP + 1):
        large = np.ldexp(small, apart).astype(np.float32)
        assert Histogram.of(small).merge(Histogram.of(large)) == Histogram.of(np.concatenate([large, small]))


@law
@given(anything, st.randoms(use_true_random=False))
def test_the_order_of_the_values_leaves_no_trace(x: F32, random: Any) -> None:
    order = list(range(x.size))
    random.shuffle(order)
    assert Histogram.of(x[order]) == Histogram.of(x)


@law
@given(finite)
def test_mirrored_values_swap_the_two_rows(x: F32) -> None:
    seen, mirrored = Histogram.of(x), Histogram.of(-x)
    assert np.array_equal(mirrored.counts, seen.counts[::-1])
    assert np.array_equal([mirrored.low, mirrored.high], [-seen.high, -seen.low], equal_nan=True)


@pytest.mark.parametrize("size", [8191, 8192, 8193, 16390])
def test_blocks_of_the_counting_loop_do_not_show(size: int) -> None:
    x = activation("gauss", size)
    assert np.array_equal(Histogram.of(x).counts, plain_counts(x, Histogram.of(x).top))


def test_shape_strides_and_byte_order_do_not_matter() -> None:
    x = activation("silu", 24)
    expected = Histogram.of(x)
    assert Histogram.of(x.reshape(2, 3, 4)) == expected
    assert Histogram.of(x.reshape(4, 6).T) == expected
    assert Histogram.of(np.repeat(x, 2)[::2]) == expected
    assert Histogram.of(x[::-1]) == expected
    assert Histogram.of(x.astype(">f4")) == expected
    assert Histogram.of(np.broadcast_to(np.float32(2), (3, 4))) == Histogram.of(np.full(12, 2, np.float32))


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int8, np.uint8, np.int32, np.int64, np.bool_])
def test_other_types_are_counted_as_their_float32_values(dtype: Any) -> None:
    x = np.array([0, 1, 3, 100, 1], dtype)
    assert Histogram.of(x) == Histogram.of(x.astype(np.float32))


@pytest.mark.parametrize("value", [0.0, -0.0, 1.5, -1.5, LARGEST, 2.0**-149])
def test_a_scalar_is_one_value(value: float) -> None:
    assert Histogram.of(np.array(value, np.float32)) == Histogram.of(np.array([value], np.float32))
    assert Histogram.of(np.array(value, np.float32)).total == 1


def test_a_float64_beyond_float32_is_counted_as_infinite_without_a_warning() -> None:
    seen = Histogram.of(np.array([1e300, -1e300, 1.0]))
    assert (seen.positive_infinite, seen.negative_infinite, seen.total) == (1, 1, 1)


def test_negative_zero_is_zero() -> None:
    seen = Histogram.of(np.array([-0.0, 1.0], np.float32))
    assert (seen.zeros, math.copysign(1, seen.low)) == (1, 1.0)
    assert seen == Histogram.of(np.array([0.0, 1.0], np.float32))
    assert Histogram.of(np.array([-0.0, np.nan], np.float32)) == Histogram.of(np.array([0.0, np.nan], np.float32))


def test_an_empty_tensor_has_no_extremes() -> None:
    assert (EMPTY.total, EMPTY.amax, EMPTY.zeros) == (0, 0.0, 0)
    assert math.isnan(EMPTY.low)
    assert math.isnan(EMPTY.high)
    assert Histogram.of(np.zeros((0, 3), np.float32)) == EMPTY


def test_a_tensor_of_nan_alone_has_no_extremes() -> None:
    seen = Histogram.of(np.full(3, np.nan, np.float32))
    assert (seen.total, seen.nan, seen.amax, math.isnan(seen.high)) == (0, 3, 0.0, True)


def test_a_signalling_and_a_negative_nan_are_nan() -> None:
    bits = np.array([0x7F800001, 0xFFC00000, 0xFF800001, 0x7FFFFFFF], np.uint32)
    assert Histogram.of(bits.view(np.float32)).nan == 4


@pytest.mark.parametrize("top", [LOWEST_TOP, 100, 127, HIGHEST_TOP])
def test_edges_are_those_of_the_rule(top: int) -> None:
    seen = Histogram.of(np.ldexp(f32(1), top - 127))
    assert seen.edges().tolist() == plain_edges(top)


def test_edges_are_exact_and_coarse_ones_are_unions_of_fine_ones() -> None:
    fine, coarse = (Histogram.of(f32(value)).edges() for value in (1.0, 2.0))
    assert np.array_equal(fine.astype(np.float32), fine)
    assert np.all(np.diff(fine) > 0)
    below = coarse[(coarse <= fine[-1])]
    assert np.isin(below, fine).all()


def test_thresholds_are_decided_at_a_resolution_of_512_parts_an_octave() -> None:
    edges = Histogram.of(f32(1.0)).edges()  # the running maximum is at the bottom of its octave
    width, start = np.diff(edges), edges[:-1]
    two_below = (start >= 0.25) & (start < 1)
    ten_below = start >= 2.0**-10
    assert np.all(width[two_below] <= 2.0 ** np.floor(np.log2(start[two_below])) / 512)
    assert np.all(width[ten_below] <= 2.0 ** np.floor(np.log2(start[ten_below])) / 128)


def test_counting_leaves_the_values_as_they_are() -> None:
    x = np.array([np.nan, np.inf, -2.0, 0.0], np.float32)
    before = x.copy()
    Histogram.of(x)
    assert np.array_equal(x, before, equal_nan=True)
    assert x.flags.writeable


def test_a_histogram_cannot_be_changed() -> None:
    seen = Histogram.of(f32(1, 2))
    with pytest.raises(FrozenInstanceError):
        seen.zeros = 3  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        seen.counts[0, 0] = 1
    with pytest.raises(ValueError, match="read-only"):
        seen.merge(EMPTY).counts[0, 0] = 1


def test_the_array_that_a_histogram_is_made_of_gives_no_way_to_change_it() -> None:
    several = np.zeros((3, 2, BINS), np.int64)
    seen = replace(EMPTY, counts=several[1])
    several[1, 0, 0] = 7
    assert seen.counts[0, 0] == 0


def test_what_is_derived_from_a_histogram_may_be_changed_and_leaves_it_alone() -> None:
    seen = Histogram.of(f32(1, 2, -2))
    counts = seen.counts.copy()
    seen.magnitudes()[:] = 0
    seen.edges()[:] = 0
    assert np.array_equal(seen.counts, counts)
    assert seen.edges()[-1] == 4


def test_merging_leaves_both_sides_as_they_are() -> None:
    one, two = Histogram.of(f32(1, -2)), Histogram.of(f32(1000.0))
    one.merge(two)
    assert one == Histogram.of(f32(1, -2))
    assert two == Histogram.of(f32(1000.0))


@pytest.mark.parametrize("count", [2**24 + 1, 2**31 + 1, 2**53 // 3])
def test_large_counts_are_exact(count: int) -> None:
    seen = replace(Histogram.of(f32(1.0)), counts=Histogram.of(f32(1.0)).counts * count)
    assert seen.merge(Histogram.of(f32(1.0, 4.0))).total == count + 2


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"counts": np.zeros((2, 2048), np.int64)}, r"holds int64\[2, 2817\], not int64\[2, 2048\]"),
        ({"counts": np.zeros((2, BINS), np.int32)}, r"not int32\[2, 2817\]"),
        ({"top": 12}, "13 … 254, not 12"),
        ({"top": 255}, "13 … 254, not 255"),
    ],
)
def test_a_malformed_histogram_is_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        replace(EMPTY, **change)


def test_histograms_differ_where_anything_differs() -> None:
    seen = Histogram.of(f32(1.0, 2.0))
    for other in ([1.0], [1.0, 2.0, 0.0], [1.0, 2.0, np.nan], [1.0, -2.0], [1.0, 2.0 + 2.0**-20]):
        assert seen != Histogram.of(f32(*other))
    assert seen != "a histogram"
    with pytest.raises(TypeError):
        hash(seen)


def test_equality_looks_at_numbers_and_not_at_their_types() -> None:
    seen = Histogram.of(f32(0.0, 1.0))
    assert replace(seen, top=np.int64(seen.top), zeros=np.int64(1), low=np.float64(0)) == seen


@law
@given(anything)
def test_magnitudes_add_both_signs(x: F32) -> None:
    seen = Histogram.of(x)
    both = Histogram.of(np.abs(x))
    assert np.array_equal(seen.magnitudes(), both.counts[1])
    assert seen.magnitudes().sum() + seen.zeros == seen.total


@pytest.mark.parametrize("value", SPECIAL)
def test_a_notebook_shows_any_histogram(value: float) -> None:
    assert "1 values" in Histogram.of(f32(value, np.nan))._repr_html_()
