"""Percentile: that of the sorted values themselves, within one bin; never 0."""

from fractions import Fraction
from math import ceil
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlab.calibration.methods.percentile import Percentile
from quantlab.errors import UsageError
from quantlab.numerics.arrays import F32
from quantlab.numerics.histogram import Histogram
from tests.numerics.tensors import ACTIVATIONS, activation, f32, law, ordinary

PERCENTS = [1.0, 50.0, 90.0, 99.0, 99.9, 99.99, 99.999, 100.0]


def exact_percentile(values: F32, p: float) -> float:
    """The smallest magnitude that at least p percent do not exceed (numpy's «inverted_cdf», without its rounding)."""
    rank = ceil(Fraction(str(p)) * values.size / 100)
    return float(np.sort(np.abs(values))[rank - 1])


def upper_edge(seen: Histogram, value: float) -> float:
    """The end of the bin that holds a magnitude: its upper edge, or the maximum."""
    edges = seen.edges()
    return float(min(edges[np.searchsorted(edges, value, "right")], seen.amax))


@pytest.mark.parametrize("p", PERCENTS)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_it_is_the_end_of_the_bin_that_holds_the_exact_one(name: str, p: float) -> None:
    x = activation(name)
    for of, values in (("all", x), ("nonzero", x[x != 0])):
        exact = exact_percentile(values, p)
        if p < 99.9:
            assert exact == np.percentile(np.abs(values), p, method="inverted_cdf")
        expected = upper_edge(Histogram.of(x), exact or float(np.abs(x[x != 0]).min()))
        chosen = Percentile(p, of)(Histogram.of(x))  # type: ignore[arg-type]
        assert chosen.amax == min(expected, max(-float(x.min()), float(x.max()), 0.0))


@law
@given(ordinary, st.sampled_from(PERCENTS))
def test_at_least_p_percent_lie_within_it(x: F32, p: float) -> None:
    for of, values in (("all", x), ("nonzero", x[x != 0])):
        chosen = Percentile(p, of)(Histogram.of(x))  # type: ignore[arg-type]
        assert np.count_nonzero(np.abs(values) <= chosen.amax) >= p / 100 * values.size * (1 - 1e-12)


@law
@given(ordinary)
def test_a_larger_share_never_gives_a_smaller_range(x: F32) -> None:
    seen = Histogram.of(x)
    found = [Percentile(p)(seen).amax for p in PERCENTS]
    assert found == sorted(found)
    assert found[-1] == seen.amax


@pytest.mark.parametrize("share", [0.9, 0.99, 0.9999])
@pytest.mark.parametrize("of", ["all", "nonzero"])
def test_it_is_never_zero_where_the_zeros_reach_the_share(share: float, of: Any) -> None:
    x = np.zeros(100_000, np.float32)
    dense = round((1 - share) * x.size)
    x[:dense] = np.linspace(1, 3, dense)
    chosen = Percentile(50.0, of)(Histogram.of(x))
    assert 1 <= chosen.high <= 3
    if of == "all":
        assert chosen.high == upper_edge(Histogram.of(x), 1.0)


@pytest.mark.parametrize("value", [2.0**-149, 2.0**-136, 2.0**-135])
@pytest.mark.parametrize("of", ["all", "nonzero"])
def test_values_too_small_for_a_bin_do_not_break_it(value: float, of: Any) -> None:
    assert 0 < Percentile(99.0, of)(Histogram.of(f32(value, 0))).high <= value


def test_zeros_left_out_make_no_difference_however_many_there_are() -> None:
    x = activation("relu, 99.4 % zeros")
    more = np.append(x, np.zeros(1000, np.float32))
    assert Percentile(99.9, "nonzero")(Histogram.of(more)) == Percentile(99.9, "nonzero")(Histogram.of(x))


def test_the_share_is_taken_as_the_decimal_that_was_written() -> None:
    values = (np.arange(512, 1012) + 0.5) / 512  # each alone in the middle of its bin
    seen = Histogram.of(np.append(np.zeros(500), values).astype(np.float32))
    assert 99.9 / 100 * 1000 > 999  # in binary, that is: the last value would be taken in
    assert Percentile(99.9)(seen).high == 1011 / 512 < seen.amax
    assert Percentile(np.float64(99.9))(seen) == Percentile(99.9)(seen)
    assert Percentile(100)(seen) == Percentile(100.0)(seen)


@pytest.mark.parametrize("p", [0, -1.0, 100.01, float("nan"), float("inf")])
def test_a_share_outside_its_range_is_refused(p: float) -> None:
    with pytest.raises(UsageError, match=r"lies in \(0, 100\]"):
        Percentile(p)


def test_of_neither_all_nor_nonzero_is_refused() -> None:
    with pytest.raises(UsageError, match="not of «some»"):
        Percentile(99.0, of="some")  # type: ignore[arg-type]
