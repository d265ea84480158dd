"""TensorRT's own grid: a width from the first batch, doubled in pairs, and nothing that merges."""

from dataclasses import FrozenInstanceError
from functools import reduce

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from quantlab.errors import InputError
from quantlab.numerics.arrays import F32, I64
from quantlab.numerics.tensorrt_histogram import BINS, TensorRTGrid, TensorRTHistogram
from tests.numerics.tensors import activation, f32, law, ordinary


def counted(*batches: F32) -> TensorRTHistogram:
    start = TensorRTHistogram.starting(float(np.abs(batches[0]).max(initial=0)), batch=1)
    return reduce(TensorRTHistogram.added, batches, start)


def plain_counts(batches: list[F32]) -> tuple[I64, float]:
    """Follow the rule value by value: the upper edge belongs to the last bin, and full pairs merge before a batch."""
    width, counts = float(np.abs(batches[0]).max()) / BINS, [0] * BINS
    for batch in batches:
        while np.abs(batch).max() > width * BINS:
            counts = [counts[i] + counts[i + 1] for i in range(0, BINS, 2)] + [0] * (BINS // 2)
            width *= 2
        for value in np.abs(batch.astype(np.float64)).tolist():
            counts[min(int(value / width), BINS - 1)] += 1
    return np.array(counts), width


@law
@given(st.lists(ordinary, min_size=1, max_size=4))
def test_counts_and_width_follow_the_rule(batches: list[F32]) -> None:
    assume(np.abs(batches[0]).max() > 0)
    seen = counted(*batches)
    counts, width = plain_counts(batches)
    assert seen.counts.tolist() == counts.tolist()
    assert seen.width == width
    everything = np.concatenate(batches)
    assert seen.amax == np.abs(everything).max()
    assert seen.negative == bool((everything < 0).any())
    assert seen.counts.sum() == everything.size


@law
@given(ordinary, st.integers(1, 12))
def test_doubling_equals_recounting_with_the_doubled_width(x: F32, doublings: int) -> None:
    amax = float(np.abs(x).max())
    assume(amax > 0)
    inside = x[np.abs(x) < amax]  # the first batch's maximum is the upper edge, and stays with its bin's neighbour
    late = f32(amax * 2**doublings)
    width = amax / BINS * 2**doublings
    recounted = TensorRTHistogram(np.zeros(BINS, np.int64), width, 0.0, False, 1).added(inside).added(late)
    assert TensorRTHistogram.starting(amax, batch=1).added(inside).added(late) == recounted


def test_the_first_batch_maximum_ends_in_the_last_bin_and_stays_there_when_pairs_merge() -> None:
    seen = counted(f32(1.0))
    assert np.flatnonzero(seen.counts).tolist() == [BINS - 1]
    assert np.flatnonzero(seen.added(f32(2.0)).counts).tolist() == [BINS // 2 - 1, BINS - 1]


def test_the_width_is_that_of_the_whole_first_batch_though_it_comes_in_parts() -> None:
    x = activation("gauss", 1000)
    start = TensorRTHistogram.starting(float(np.abs(x).max()), batch=4)
    assert start.added(x[:10]).added(x[10:]) == start.added(x)


def test_the_batch_size_shows_since_it_fixes_the_width() -> None:
    x = f32(1.0, 1.5, 3.0)
    assert counted(x[:1], x[1:2], x[2:]).width != counted(x).width


def test_zeros_alone_leave_the_width_open() -> None:
    zeros = counted(np.zeros(5, np.float32))
    assert (zeros.width, zeros.counts[0], zeros.amax) == (0.0, 5, 0.0)
    later = zeros.added(f32(-4.0, 1.0))
    assert (later.width, later.counts[0], later.counts[BINS - 1], later.negative) == (4.0 / BINS, 5, 1, True)


@pytest.mark.parametrize("value", [2.0**-149, 1e-38, 3e38])
def test_the_ends_of_float32_have_a_grid(value: float) -> None:
    x = f32(value, -value / 2)
    seen = counted(x)
    assert seen.counts.sum() == 2
    assert seen.counts[BINS - 1] == 1
    assert counted(f32(2.0**-149), x).counts.sum() == 3


def test_negative_zero_is_not_negative() -> None:
    assert not counted(f32(-0.0, 1.0)).negative


def test_an_empty_batch_changes_nothing() -> None:
    seen = counted(f32(1.0))
    assert seen.added(np.zeros((0, 3), np.float32)) == seen


def test_strides_and_types_do_not_matter() -> None:
    x = np.arange(24, dtype=np.float32).reshape(4, 6)
    start = TensorRTHistogram.starting(23.0, batch=4)
    expected = start.added(x)
    for same in (x.T, x[::-1, ::-1], x.astype(np.float64), x.astype(np.float16), x.astype(np.uint8)):
        assert start.added(same) == expected


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused(value: float) -> None:
    with pytest.raises(InputError, match="NaN or infinity has no place"):
        counted(f32(1.0)).added(f32(0.5, value))


def test_a_float64_beyond_float32_is_refused_without_a_warning() -> None:
    with pytest.raises(InputError, match="NaN or infinity"):
        counted(f32(1.0)).added(np.array([1e300]))


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0])
def test_a_first_maximum_that_cannot_be_one_is_refused(value: float) -> None:
    with pytest.raises(InputError):
        TensorRTHistogram.starting(value, batch=1)


def test_merging_is_refused_with_the_reason() -> None:
    seen = counted(f32(1.0))
    with pytest.raises(InputError, match="depend on batch order and cannot be merged"):
        seen.merge(seen)


def test_adding_leaves_the_histogram_and_the_values_as_they_are() -> None:
    seen, x = counted(f32(1.0)), f32(-3.0, 0.5)
    seen.added(x)
    assert seen == counted(f32(1.0))
    assert x.tolist() == [-3.0, 0.5]


def test_a_histogram_cannot_be_changed() -> None:
    seen = counted(f32(1.0))
    with pytest.raises(FrozenInstanceError):
        seen.width = 2.0  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        seen.counts[0] = 1


def test_malformed_counts_are_refused() -> None:
    for wrong in (np.zeros(BINS, np.int32), np.zeros(128, np.int64), np.zeros((1, BINS), np.int64)):
        with pytest.raises(InputError, match=r"holds int64\[2048\]"):
            TensorRTHistogram(wrong, 1.0, 1.0, False, 1)  # type: ignore[arg-type]


@pytest.mark.parametrize("batch", [0, -1])
def test_a_batch_holds_at_least_one_sample(batch: int) -> None:
    with pytest.raises(InputError, match="at least one sample"):
        TensorRTGrid(batch)


def test_histograms_differ_where_anything_differs() -> None:
    seen = counted(f32(1.0, 0.5))
    others = [counted(f32(1.0, -0.5)), counted(f32(2.0, 0.5)), counted(f32(1.0, 0.4))]
    assert all(other != seen for other in others)
    assert seen != "a histogram"
    with pytest.raises(TypeError):
        hash(seen)
