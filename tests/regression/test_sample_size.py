"""Numbers of samples: the power that they promise, tried out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlab.comparison.statistics import PairedCounts
from quantlab.regression.paired_tests import mcnemar_above, tango
from quantlab.regression.sample_size import samples_to_exclude_a_loss, samples_to_show_a_loss
from tests.comparison.laws import law


@pytest.mark.parametrize(("discordant", "gap"), [(0.05, 0.02), (0.2, 0.05), (0.03, 0.005)])
def test_so_many_samples_show_the_loss_with_the_power(discordant: float, gap: float) -> None:
    samples = samples_to_show_a_loss(discordant, gap, alpha=0.05, power=0.8)
    assert samples is not None
    tables = np.random.default_rng(1).multinomial(
        samples, [(discordant + gap) / 2, (discordant - gap) / 2, 1 - discordant], 2000
    )
    assert np.mean([mcnemar_above(int(b), int(c)) <= 0.05 for b, c, _ in tables]) == pytest.approx(0.8, abs=0.04)


@pytest.mark.parametrize(("discordant", "gap", "margin"), [(0.05, 0.0, 0.01), (0.1, -0.005, 0.02), (0.02, 0.004, 0.01)])
def test_so_many_samples_exclude_the_loss_with_the_power(discordant: float, gap: float, margin: float) -> None:
    samples = samples_to_exclude_a_loss(discordant - gap * gap, gap, margin, alpha=0.05, power=0.8)
    assert samples is not None
    tables = np.random.default_rng(1).multinomial(
        samples, [(discordant + gap) / 2, (discordant - gap) / 2, 1 - discordant], 1500
    )
    uppers = [tango(PairedCounts(int(rest), int(b), int(c), 0), 0.9).high for b, c, rest in tables]
    assert np.mean(np.array(uppers) <= margin) == pytest.approx(0.8, abs=0.06)


def test_the_formula_of_connor_by_hand() -> None:
    # z = 1.6449 and 0.8416, d = 0.1, gap = 0.04: (1.6449·0.316228 + 0.8416·0.313688)² / 0.0016
    assert samples_to_show_a_loss(0.1, 0.04, alpha=0.05, power=0.8) == 385


@law
@given(st.floats(0.01, 0.5), st.floats(0.05, 0.9), st.floats(0.55, 0.95))
def test_a_larger_loss_needs_fewer_samples_and_more_power_more(discordant: float, share: float, power: float) -> None:
    gap = discordant * share
    few, many = (samples_to_show_a_loss(discordant, gap * part, alpha=0.05, power=power) for part in (1.0, 0.9))
    more = samples_to_show_a_loss(discordant, gap, alpha=0.05, power=power + 0.04)
    assert few is not None
    assert many is not None
    assert more is not None
    assert few <= min(many, more)


@pytest.mark.parametrize("gap", [0.0, -0.01, 0.2])
def test_no_number_shows_a_loss_that_is_none_or_larger_than_all_that_differs(gap: float) -> None:
    assert samples_to_show_a_loss(0.1, gap, alpha=0.05, power=0.8) is None


def test_no_number_excludes_the_loss_that_there_is() -> None:
    assert samples_to_exclude_a_loss(0.05, 0.01, 0.01, alpha=0.05, power=0.8) is None


def test_more_than_ten_million_samples_are_no_advice() -> None:
    assert samples_to_show_a_loss(0.5, 1e-6, alpha=0.05, power=0.8) is None
