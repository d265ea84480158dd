"""Ranges: finite, the lower bound first."""

from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlab.calibration.ranges import Range
from quantlab.errors import InputError

numbers = st.floats(-1e38, 1e38)
ranges = st.builds(lambda a, b: Range(min(a, b), max(a, b)), numbers, numbers)


@given(ranges, ranges)
def test_a_union_covers_both_and_nothing_more(a: Range, b: Range) -> None:
    union = a.union(b)
    assert (union.low, union.high) == (min(a.low, b.low), max(a.high, b.high))
    assert union == b.union(a)
    assert a.union(a) == a


@given(ranges)
def test_amax_is_the_larger_magnitude(a: Range) -> None:
    assert a.amax == max(-a.low, a.high)


@pytest.mark.parametrize(
    "bounds", [(1.0, 0.0), (float("nan"), 1.0), (0.0, float("nan")), (0.0, float("inf")), (float("-inf"), 0.0)]
)
def test_what_is_no_range_is_refused(bounds: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="finite bounds, low first"):
        Range(*bounds)


def test_a_range_may_be_a_point_and_cannot_be_changed() -> None:
    point = Range(5.0, 5.0)
    assert point.amax == 5.0
    with pytest.raises(FrozenInstanceError):
        point.low = 0.0  # type: ignore[misc]
