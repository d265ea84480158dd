"""Channels are followed through a reshape exactly, or not at all."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlab.graph.channel_classes import Classes
from quantlab.graph.channel_moves import reshaped
from quantlab.graph.view import Shape
from quantlab.numerics.arrays import I64


def cut(factors: list[int], cuts: set[int]) -> tuple[int, ...]:
    """Return a shape: the products of the runs of factors between the cuts."""
    edges = sorted({0, len(factors), *(c for c in cuts if c < len(factors))})
    return tuple(math.prod(factors[a:b]) for a, b in pairwise(edges))


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=6),
    st.sets(st.integers(1, 5)),
    st.sets(st.integers(1, 5)),
    st.data(),
)
def test_reshaping_channels_is_reshaping_the_tensor_of_them(
    factors: list[int], first: set[int], second: set[int], data: st.DataObject
) -> None:
    old, new = cut(factors, first), cut(factors, second)
    shape = [data.draw(st.sampled_from([1, size])) for size in old]
    ids: I64 = np.arange(math.prod(shape), dtype=np.int64).reshape(shape)
    found = reshaped(ids, old, new)
    assert found is not None
    assert found.ndim == len(new)
    np.testing.assert_array_equal(np.broadcast_to(found, new), np.broadcast_to(ids, old).reshape(new))


@pytest.mark.parametrize(
    ("old", "channels", "new", "expected"),
    [
        (("N", 6, "h", "w"), (1, 6, 1, 1), ("N", 6, "?"), (1, 6, 1)),
        (("N", 6, 2, 2), (1, 6, 1, 1), ("N", 24), (1, 24)),
        (("N", 6, 2, 2), (1, 6, 1, 1), ("?", 24), (1, 24)),
        (("N", 6, 1, 1), (1, 6, 1, 1), ("N", "?"), (1, 6)),
        (("N", 6, "h", "w"), (1, 6, 1, 1), ("N", 2, 3, "h", "w"), (1, 2, 3, 1, 1)),
        (("N", "t", 6), (1, 1, 6), ("?", "?", 2, 3), (1, 1, 2, 3)),
        (("?", "?", 2, 3), (1, 1, 2, 3), ("?", "?", 6), (1, 1, 6)),
    ],
)
def test_open_sizes_are_matched_where_that_is_certain(
    old: Shape, channels: tuple[int, ...], new: Shape, expected: tuple[int, ...]
) -> None:
    found = reshaped(np.arange(6, dtype=np.int64).reshape(channels), old, new)
    assert found is not None
    assert found.shape == expected


@pytest.mark.parametrize(
    ("old", "channels", "new"),
    [
        (("N", 6, "h", "w"), (1, 6, 1, 1), ("N", "?")),
        (("?", 6, "?"), (1, 6, 1), ("?", 6, "?")),
        (("N", 6, "h"), (1, 6, 1), ("N", "h", 6)),
        ((2, 6, 4), (1, 6, 1), ("?", "?", 4)),
    ],
)
def test_open_sizes_that_may_be_anything_are_not_followed(old: Shape, channels: tuple[int, ...], new: Shape) -> None:
    assert reshaped(np.arange(6, dtype=np.int64).reshape(channels), old, new) is None


def test_joined_channels_are_fixed_together_with_the_first_reason() -> None:
    classes = Classes()
    one, other = classes.new(3), classes.new(3)
    classes.join(one, other)
    classes.fix(other[1:2], "the first")
    classes.fix(one[1:2], "the second")
    assert classes.fixed().tolist() == [False, True, False] * 2
    assert (classes.reason(one), classes.reason(one[:1])) == ("the first", None)
    classes.join(one[:1], one[1:2])
    assert classes.reason(other[:1]) == "the first"
    np.testing.assert_array_equal(classes.roots(one), classes.roots(other))
