"""Rebinning: the one way from the log-linear grid to a linear one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlab.errors import InputError
from quantlab.numerics.arrays import F32
from quantlab.numerics.histogram import Histogram, LinearGrid
from tests.numerics.tensors import ACTIVATIONS, activation, anything, f32, law, ordinary, tensors

on_edges = st.integers(-(8 * 64) + 1, 8 * 64 - 1).map(lambda k: k / 64)
below_8 = tensors(st.one_of(on_edges, st.integers(-(8 * 512) + 1, 8 * 512 - 1).map(lambda k: k / 512)), most=20)


@law
@given(anything, st.integers(1, 3000), st.floats(2.0**-140, 2.0**100))
def test_rebinning_keeps_the_sum(x: F32, bins: int, width: float) -> None:
    seen = Histogram.of(x)
    counts = seen.rebin(LinearGrid(bins, width))
    assert counts.shape == (bins,)
    assert counts.dtype == np.int64
    assert counts.sum() == seen.total
    assert np.all(counts >= 0)


@law
@given(below_8)
def test_rebinning_is_exact_where_every_edge_is_a_bins_edge(x: F32) -> None:
    bins = np.bincount(np.floor(np.abs(x) * 64).astype(int), minlength=512)
    assert Histogram.of(x).rebin(LinearGrid(512, 1 / 64)).tolist() == bins.tolist()


@pytest.mark.parametrize("outside", [8.0, 9.0, 1e30])
@law
@given(below_8)
def test_what_lies_beyond_the_grid_falls_in_its_last_bin(outside: float, x: F32) -> None:
    counts = Histogram.of(np.append(x, np.float32(outside))).rebin(LinearGrid(2, 4.0 if outside < 1e30 else 1e28))
    assert counts[1] == 1 + (np.abs(x) >= 4).sum() * (outside < 1e30)


@law
@given(ordinary, st.integers(-20, 20))
def test_rebinning_follows_a_power_of_two(x: F32, power: int) -> None:
    amax = float(np.abs(x).max()) or 1.0
    seen, scaled = Histogram.of(x), Histogram.of(np.ldexp(x, power))
    grid, other = LinearGrid(2048, amax / 2048), LinearGrid(2048, float(np.ldexp(amax / 2048, power)))
    assert np.array_equal(seen.rebin(grid), scaled.rebin(other))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_running_total_is_off_by_at_most_one_bin_of_either_grid(name: str) -> None:
    x = np.abs(activation(name))
    seen, width = Histogram.of(x), float(x.max()) / 2048
    running = np.cumsum(seen.rebin(LinearGrid(2048, width)))
    ends = width * np.arange(1, 2049)
    ordered = np.sort(x.astype(np.float64))
    edges = seen.edges()
    at = np.minimum(np.searchsorted(edges, ends, side="right"), edges.size - 1)
    least = np.searchsorted(ordered, edges[at - 1], side="left")
    most = np.searchsorted(ordered, np.maximum(edges[at], ends), side="right")
    assert np.all((least <= running) & (running <= most))


def test_zeros_are_in_the_first_bin() -> None:
    counts = Histogram.of(f32(0, -0.0, 1e-44, 1.0)).rebin(LinearGrid(4, 0.25))
    assert counts.tolist() == [3, 0, 0, 1]


def test_a_tensor_of_zeros_is_all_in_the_first_bin() -> None:
    assert Histogram.of(np.zeros(5, np.float32)).rebin(LinearGrid(3, 1.0)).tolist() == [5, 0, 0]


def test_an_empty_tensor_rebins_to_nothing() -> None:
    assert Histogram.of(np.zeros(0, np.float32)).rebin(LinearGrid(3, 1.0)).tolist() == [0, 0, 0]


def test_a_maximum_on_an_edge_is_in_the_bin_that_starts_there() -> None:
    assert Histogram.of(f32(1.0)).rebin(LinearGrid(4, 0.5)).tolist() == [0, 0, 1, 0]


@pytest.mark.parametrize(("bins", "width"), [(0, 1.0), (-1, 1.0), (4, 0.0), (4, -1.0), (4, np.inf), (4, np.nan)])
def test_a_grid_without_bins_or_width_is_refused(bins: int, width: float) -> None:
    with pytest.raises(InputError, match="at least one bin and a positive width"):
        LinearGrid(bins, width)
