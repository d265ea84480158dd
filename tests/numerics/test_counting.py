"""The running count behind a histogram: batches added, and what Pad and Clip make of it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlab.numerics.arrays import F32
from quantlab.numerics.counting import Tally, can_clip, new_lanes
from quantlab.numerics.histogram import Histogram
from tests.numerics.tensors import anything, f32, law


def tallied(*batches: F32) -> Tally:
    tally = Tally()
    for batch in batches:
        tally.add(batch)
    return tally


@law
@given(st.lists(anything, max_size=4))
def test_adding_batches_equals_counting_together(batches: list[F32]) -> None:
    together = np.concatenate([np.zeros(0, np.float32), *batches])
    assert Histogram.from_tally(tallied(*batches)) == Histogram.of(together)


@law
@given(anything, anything)
def test_a_reused_working_table_carries_nothing_over(x: F32, y: F32) -> None:
    lanes, tally = new_lanes(), Tally()
    tally.add(x, lanes)
    assert not lanes.any()
    tally.add(y, lanes)
    assert Histogram.from_tally(tally) == Histogram.of(np.concatenate([x, y]))


@law
@given(anything, st.integers(0, 9))
def test_padding_equals_counting_the_padded_tensor(x: F32, zeros: int) -> None:
    padded = tallied(x).padded(zeros)
    assert Histogram.from_tally(padded) == Histogram.of(np.append(x, np.zeros(zeros, np.float32)))


bounds = st.sampled_from([0.0, 2.0**-135, 0.5, 1.0, 6.0, 1 + 2.0**-9, 2.0**127, float("inf")])


@law
@given(anything, bounds, bounds)
def test_clipping_the_count_equals_counting_the_clipped_tensor(x: F32, below: float, above: float) -> None:
    assert can_clip(-below, above)
    clipped = np.where(np.isnan(x), x, np.clip(x, -below, above)).astype(np.float32)
    assert Histogram.from_tally(tallied(x).clipped(-below, above)) == Histogram.of(clipped)


@law
@given(anything)
def test_clipping_and_padding_leave_the_count_they_start_from(x: F32) -> None:
    tally = tallied(x)
    tally.clipped(0.0, 6.0)
    tally.padded(3)
    assert Histogram.from_tally(tally) == Histogram.of(x)


@pytest.mark.parametrize(
    ("low", "high"),
    [(0.5, 6.0), (-6.0, -0.5), (0.0, 6.1), (-1 / 3, 1.0), (0.0, 2.0**-140), (0.0, float("nan")), (float("nan"), 6.0)],
)
def test_a_bound_off_the_edges_or_on_the_wrong_side_of_zero_cannot_be_clipped(low: float, high: float) -> None:
    assert not can_clip(low, high)


def test_a_bound_beyond_float32_cannot_be_clipped() -> None:
    assert not can_clip(0.0, 1e300)


def test_an_empty_batch_changes_nothing() -> None:
    tally = tallied(f32(1.0), np.zeros((0, 3), np.float32))
    assert Histogram.from_tally(tally) == Histogram.of(f32(1.0))
