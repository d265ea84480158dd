"""Equalization by what activations reach."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from quantlab.errors import InputError
from quantlab.graph.equalize import EqualizeOptions, equalize, wanted
from quantlab.numerics.arrays import F32
from tests.graph.channel_nets import channel_ranges, difference, feeds, peaks_of, random_net, two
from tests.graph.quantizing import constant

SEEDS = st.integers(0, 10_000)


@example(517)  # a flattened tensor all of whose channels are one class
@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_peaks_leave_outputs_as_they_were_too(seed: int) -> None:
    model, given_feeds = random_net(seed), feeds(seed)
    done = equalize(model, peaks_of(model, wanted(model), given_feeds))
    assert difference(model, done.model, given_feeds) == 0.0


def test_peaks_balance_the_activations_themselves() -> None:
    model = two("r = Relu(c)")
    given_feeds = feeds()
    seen = peaks_of(model, wanted(model), given_feeds)
    assert wanted(model) == {"r": 1}
    done = equalize(model, seen, options=EqualizeOptions(steps="any"))
    columns = np.abs(constant(done.model.proto, "v")).max(axis=(0, 2, 3))
    np.testing.assert_allclose(channel_ranges(done.model, "r", given_feeds), columns, rtol=1e-5)


@pytest.mark.parametrize(
    ("peaks", "why"),
    [
        ({}, "There are no peaks of tensor «r»"),
        ({"r": np.ones(3, "f")}, "has 4 channels"),
        ({"r": np.array([1, 2, np.nan, 1], "f")}, "NaN"),
        ({"r": np.array([1, 2, -1, 1], "f")}, "below 0"),
        ({"r": np.ones(4, np.int64)}, "int64"),
    ],
)
def test_peaks_that_do_not_fit_are_refused(peaks: dict[str, F32], why: str) -> None:
    with pytest.raises(InputError, match=why):
        equalize(two("r = Relu(c)"), peaks)
