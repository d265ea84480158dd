"""Histograms made small enough for the page."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from quantlab.numerics.arrays import F32
from quantlab.numerics.histogram import Histogram
from quantlab.numerics.tensorrt_histogram import TensorRTHistogram
from quantlab.report.sketch import BINS, sketch

VALUES = arrays.arrays(np.float32, st.integers(1, 60), elements=st.floats(-1e6, 1e6, width=32))


@given(VALUES)
def test_no_value_is_lost_or_counted_twice(values: F32) -> None:
    small = sketch(Histogram.of(values))
    if small is None:
        assert np.abs(values).max() < 1e-36
        return
    assert small.zeros is not None
    assert sum(small.counts) + small.zeros == small.total == values.size
    assert min(small.counts) >= 0
    assert len(small.counts) <= BINS


@given(VALUES)
def test_tensorrt_s_bins_are_added_up_whole(values: F32) -> None:
    start = TensorRTHistogram.starting(float(np.abs(values[:1]).max()), batch=1)
    counted = start.added(values[:1]).added(values)
    small = sketch(counted)
    if small is None:
        assert counted.amax == 0
        return
    assert sum(small.counts) == small.total == counted.counts.sum()
    assert len(small.counts) <= BINS
    assert small.stop >= counted.amax * (1 - 1e-6)
    assert small.zeros is None


def test_the_last_bin_ends_at_the_maximum() -> None:
    small = sketch(Histogram.of(np.array([0.5, -8.0, 0.0], np.float32)))
    assert small is not None
    assert (small.stop, small.zeros, small.counts[10], small.counts[-1]) == (8.0, 1, 1, 1)


def test_a_tensor_of_zeros_has_nothing_to_draw() -> None:
    assert sketch(Histogram.of(np.zeros(4, np.float32))) is None
    assert sketch(Histogram.of(np.zeros(0, np.float32))) is None
    assert sketch(TensorRTHistogram.starting(0.0, batch=1).added(np.zeros(4, np.float32))) is None
