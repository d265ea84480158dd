"""Tests of paired shares: published examples, statsmodels, scipy, and the level that they promise."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats

from quantlab.comparison.statistics import PairedCounts, mcnemar, newcombe
from quantlab.errors import UsageError
from quantlab.numerics.arrays import F64
from quantlab.regression.paired_tests import binomial_below, mcnemar_above, tango, tango_above, tango_z
from tests.comparison.laws import law

CAVO = PairedCounts(59, 6, 16, 80)
"""Cavo et al. (2012), in Fagerland, Lydersen and Laake, «Statistical Analysis of Contingency Tables», 2017, chapter 8."""

counts = st.builds(PairedCounts, *[st.integers(0, 200)] * 4).filter(lambda found: found.total > 0)
margins = st.floats(-0.9, 0.9)


def test_mid_p_and_exact_p_are_those_of_a_published_example() -> None:
    assert round(2 * mcnemar_above(16, 6), 6) == 0.034690
    assert round(mcnemar(6, 16), 6) == 0.052479


def test_tangos_interval_is_that_of_a_published_example() -> None:
    found = tango(CAVO)
    assert (round(found.low, 4), round(found.high, 4)) == (-0.1240, -0.0054)
    assert round(tango_z(CAVO, 0.0), 3) == -2.132


@law
@given(st.integers(0, 300), st.integers(0, 300))
def test_at_no_margin_tangos_statistic_is_statsmodels_mcnemar(one: int, two: int) -> None:
    tables = pytest.importorskip("statsmodels.stats.contingency_tables", reason="statsmodels is not installed")
    found = tango_z(PairedCounts(10, one, two, 10), 0.0)
    if one + two:
        twin = tables.mcnemar([[10, one], [two, 10]], exact=False, correction=False)
        assert found**2 == pytest.approx(twin.statistic, rel=1e-9, abs=1e-9)
        assert 2 * tango_above(PairedCounts(10, max(one, two), min(one, two), 10), 0.0) == pytest.approx(
            twin.pvalue, rel=1e-6
        )


@law
@given(st.integers(0, 300), st.integers(0, 300))
def test_the_mid_p_value_is_the_exact_one_less_half_of_the_observed(one: int, two: int) -> None:
    total = one + two
    exact = stats.binomtest(one, total, 0.5, alternative="greater").pvalue if total else 1.0
    assert mcnemar_above(one, two) == pytest.approx(exact - stats.binom.pmf(one, total, 0.5) / 2, abs=1e-12)


@law
@given(st.integers(0, 300), st.integers(0, 300))
def test_both_sides_of_a_mid_p_value_add_up_to_one(one: int, two: int) -> None:
    assert mcnemar_above(one, two) + mcnemar_above(two, one) == pytest.approx(1.0, abs=1e-12)


def test_the_mid_p_values_level_stays_below_the_stated_one() -> None:
    totals = np.arange(200)
    rates = [_alarm_rate(int(total), 0.05) for total in totals]
    levels = {expected: float(stats.poisson.pmf(totals, expected) @ rates) for expected in (1, 3, 10, 34, 60, 100)}
    assert max(levels.values()) < 0.05
    assert min(levels[34], levels[60], levels[100]) > 0.048


@law
@given(counts, margins)
def test_tangos_shares_are_the_likeliest_under_the_margin(found: PairedCounts, margin: float) -> None:
    n, b, c = found.total, found.first_only, found.second_only
    low, high = max(0.0, -margin), (1 - margin) / 2

    def unlikely(second: float) -> float:
        shares = np.clip([second + margin, second, 1 - margin - 2 * second], 1e-300, 1)
        return -float(np.dot([b, c, n - b - c], np.log(shares)))

    best = optimize.minimize_scalar(unlikely, bounds=(low, high), method="bounded", options={"xatol": 1e-12}).x
    variance = n * (2 * best + margin * (1 - margin))
    if variance > 1e-6:
        assert tango_z(found, margin) == pytest.approx((b - c - n * margin) / sqrt(variance), rel=1e-3, abs=1e-3)


@law
@given(counts, st.sampled_from([0.8, 0.9, 0.95]))
def test_tangos_interval_holds_the_margins_its_test_does_not_refuse(found: PairedCounts, level: float) -> None:
    interval, z = tango(found, level), float(stats.norm.ppf((1 + level) / 2))
    gap = (found.first_only - found.second_only) / found.total
    assert -1 <= interval.low <= gap <= interval.high <= 1
    if interval.high < 1:
        assert tango_z(found, interval.high) == pytest.approx(-z, abs=1e-4)
    if interval.low > -1:
        assert tango_z(found, interval.low) == pytest.approx(z, abs=1e-4)


@law
@given(counts)
def test_exchanging_the_sides_reverses_tangos_interval(found: PairedCounts) -> None:
    one = tango(found)
    two = tango(PairedCounts(found.both, found.second_only, found.first_only, found.neither))
    assert (two.low, two.high) == pytest.approx((-one.high, -one.low), abs=1e-8)


def test_without_discordant_samples_tangos_interval_is_that_of_the_formula() -> None:
    z2 = float(stats.norm.ppf(0.975)) ** 2
    found = tango(PairedCounts(90, 0, 0, 10))
    assert (found.low, found.high) == pytest.approx((-z2 / (100 + z2), z2 / (100 + z2)), rel=1e-6)


def test_tangos_interval_is_close_to_newcombes_of_many_samples() -> None:
    many = PairedCounts(4500, 60, 40, 400)
    one, two = tango(many), newcombe(many)
    assert (one.low, one.high) == pytest.approx((two.low, two.high), abs=2e-4)


@pytest.mark.parametrize("margin", [0.01, 0.05])
def test_tangos_test_holds_its_level_at_the_margin(margin: float) -> None:
    draw = np.random.default_rng(0)
    shares = [0.9 - margin, 0.03 + margin, 0.03, 0.04]
    tables = draw.multinomial(500, shares, 4000)
    alarms = np.mean([tango_above(PairedCounts(*map(int, row)), margin) <= 0.05 for row in tables])
    assert 0.04 < alarms < 0.06


@law
@given(st.integers(1, 400), st.data(), st.floats(0.01, 0.99))
def test_the_binomial_p_value_is_scipys(total: int, data: st.DataObject, share: float) -> None:
    count = data.draw(st.integers(0, total))
    twin = stats.binomtest(count, total, share, alternative="less").pvalue
    assert binomial_below(count, total, share) == pytest.approx(twin, rel=1e-7, abs=1e-12)


def test_no_samples_say_nothing() -> None:
    assert mcnemar_above(0, 0) == 0.5
    assert tango_above(PairedCounts(0, 0, 0, 0), 0.1) == 1.0
    assert (tango(PairedCounts(0, 0, 0, 0)).low, tango(PairedCounts(0, 0, 0, 0)).high) == (-1.0, 1.0)
    assert binomial_below(0, 0, 0.9) == 1.0


def test_a_level_outside_0_and_1_is_refused() -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        tango(CAVO, 95)


def _alarm_rate(total: int, alpha: float) -> float:
    ones = np.arange(total + 1)
    chances: F64 = stats.binom.pmf(ones, total, 0.5)
    alarm = [mcnemar_above(int(one), total - int(one)) <= alpha for one in ones]
    return float(chances[alarm].sum())
