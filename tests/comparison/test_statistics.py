"""Paired intervals and tests: published examples, laws, and the coverage that they promise."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from quantlab.comparison.statistics import Interval, PairedCounts, bootstrap, mcnemar, newcombe, wilson
from quantlab.errors import InputError, UsageError
from quantlab.numerics.arrays import AnyArray
from tests.comparison.laws import law

counts = st.builds(PairedCounts, *[st.integers(0, 300)] * 4).filter(lambda found: found.total > 0)


def mean(values: AnyArray) -> float:
    return float(np.mean(values))


@pytest.mark.parametrize(
    ("table", "low", "high"),
    [
        # Fagerland, Lydersen, Laake (2014), airway reactivity before and after transplantation (Bentur et al., 2009)
        ((1, 1, 7, 12), -0.507, -0.026),
        # Fagerland, Lydersen, Laake, Statistical Analysis of Contingency Tables, chapter 8 (Cavo et al., 2012)
        ((59, 6, 16, 80), -0.1186, -0.0046),
    ],
)
def test_newcombes_interval_is_that_of_published_examples(
    table: tuple[int, int, int, int], low: float, high: float
) -> None:
    found = newcombe(PairedCounts(*table))
    digits = 3 if low == -0.507 else 4
    assert (round(found.low, digits), round(found.high, digits)) == (low, high)


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    # Newcombe, Statistics in Medicine 17, 1998, 857-872, table I, method 3
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilsons_interval_is_that_of_published_examples(count: int, total: int, low: float, high: float) -> None:
    found = wilson(count, total)
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)


@law
@given(st.integers(1, 5000), st.data(), st.sampled_from([0.8, 0.95, 0.99]))
def test_wilsons_interval_is_scipys(total: int, data: st.DataObject, level: float) -> None:
    count = data.draw(st.integers(0, total))
    twin = stats.binomtest(count, total).proportion_ci(level, method="wilson")
    found = wilson(count, total, level)
    assert found.low == pytest.approx(twin.low, abs=1e-12)
    assert found.high == pytest.approx(twin.high, abs=1e-12)


@law
@given(st.integers(1, 2000), st.data(), st.sampled_from([0.9, 0.95]))
def test_wilsons_interval_and_mcnemars_p_value_are_statsmodels(total: int, data: st.DataObject, level: float) -> None:
    proportion = pytest.importorskip("statsmodels.stats.proportion", reason="statsmodels is not installed")
    tables = pytest.importorskip("statsmodels.stats.contingency_tables", reason="statsmodels is not installed")
    count = data.draw(st.integers(0, total))
    found = wilson(count, total, level)
    assert (found.low, found.high) == pytest.approx(
        proportion.proportion_confint(count, total, alpha=1 - level, method="wilson"), abs=1e-12
    )
    twin = tables.mcnemar([[5, count], [total - count, 5]], exact=True)
    assert mcnemar(count, total - count) == pytest.approx(twin.pvalue, rel=1e-9, abs=1e-300)


def test_no_samples_say_nothing() -> None:
    assert wilson(0, 0) == Interval(0.0, 1.0)
    assert newcombe(PairedCounts(0, 0, 0, 0)) == Interval(-1.0, 1.0)


@law
@given(counts)
def test_the_interval_holds_the_difference_and_stays_in_bounds(found: PairedCounts) -> None:
    interval = newcombe(found)
    gap = (found.first_only - found.second_only) / found.total
    assert -1 - 1e-12 <= interval.low <= gap <= interval.high <= 1 + 1e-12
    assert interval.low < interval.high


@law
@given(counts)
def test_exchanging_the_engines_reverses_the_interval(found: PairedCounts) -> None:
    one = newcombe(found)
    two = newcombe(PairedCounts(found.both, found.second_only, found.first_only, found.neither))
    assert (two.low, two.high) == pytest.approx((-one.high, -one.low), abs=1e-12)


@law
@given(counts)
def test_exchanging_right_and_wrong_reverses_the_interval(found: PairedCounts) -> None:
    one = newcombe(found)
    two = newcombe(PairedCounts(found.neither, found.second_only, found.first_only, found.both))
    assert (two.low, two.high) == pytest.approx((-one.high, -one.low), abs=1e-9)


@pytest.mark.parametrize("rates", [(0.9, 0.02, 0.01, 0.07), (0.7, 0.05, 0.02, 0.23), (0.5, 0.0, 0.03, 0.47)])
def test_the_interval_holds_its_level_where_few_samples_are_discordant(rates: tuple[float, ...]) -> None:
    size = 40
    truth = rates[1] - rates[2]
    tables = np.array([*_tables(size)])
    weights = stats.multinomial.pmf(tables, size, rates)
    likely = weights > 1e-7
    covered = sum(
        weight
        for table, weight in zip(tables[likely], weights[likely], strict=True)
        if (found := newcombe(PairedCounts(*map(int, table)))).low <= truth <= found.high
    )
    assert covered >= 0.945


def test_even_without_discordant_samples_the_interval_has_a_width() -> None:
    found = newcombe(PairedCounts(4600, 0, 0, 400))
    assert -0.001 < found.low < -0.0003 < 0.0003 < found.high < 0.001


@law
@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemars_p_value_is_the_exact_binomial_one(one: int, two: int) -> None:
    twin = stats.binomtest(one, one + two, 0.5).pvalue if one + two else 1.0
    assert mcnemar(one, two) == pytest.approx(twin, rel=1e-9, abs=1e-300)


def test_mcnemars_p_value_of_a_published_example() -> None:
    assert round(mcnemar(1, 7), 4) == 0.0703  # Bentur et al. (2009), exact conditional


def test_the_bootstrap_agrees_with_scipys() -> None:
    random = np.random.default_rng(3)
    first = random.gamma(2.0, size=200)
    second = first + random.normal(0.1, 0.5, size=200)
    found = bootstrap(first, second, mean)
    twin = stats.bootstrap((first - second,), np.mean, n_resamples=4000, method="percentile", batch=500)
    width = found.high - found.low
    assert found.low == pytest.approx(twin.confidence_interval.low, abs=0.07 * width)
    assert found.high == pytest.approx(twin.confidence_interval.high, abs=0.07 * width)


def test_the_bootstrap_of_a_score_of_pairs_agrees_with_scipys() -> None:
    random = np.random.default_rng(5)
    first = random.gamma(2.0, size=150)
    second = first * random.uniform(0.7, 1.1, size=150)

    def middle(values: AnyArray) -> float:
        return float(np.percentile(values, 75))

    def gap(one: AnyArray, two: AnyArray) -> float:
        return middle(one) - middle(two)

    found = bootstrap(first, second, middle, 0.9)
    twin = stats.bootstrap(
        (first, second),
        gap,
        paired=True,
        vectorized=False,
        n_resamples=4000,
        confidence_level=0.9,
        method="percentile",
        rng=7,
    )
    width = found.high - found.low
    assert found.low == pytest.approx(twin.confidence_interval.low, abs=0.1 * width)
    assert found.high == pytest.approx(twin.confidence_interval.high, abs=0.1 * width)


def test_the_bootstrap_repeats_itself() -> None:
    one, two = np.random.default_rng(4).normal(size=(2, 30))
    assert bootstrap(one, two, mean) == bootstrap(one, two, mean)


def test_a_bootstrap_of_equal_differences_has_no_width() -> None:
    values = np.arange(8.0)
    found = bootstrap(values + 0.5, values, mean)
    assert (found.low, found.high) == pytest.approx((0.5, 0.5))


def test_draws_without_a_score_are_left_out() -> None:
    one, two = np.array([np.nan, 1.0]), np.zeros(2)
    found = bootstrap(one, two, lambda side: float(np.max(side)))
    assert (found.low, found.high) == (1.0, 1.0)
    with pytest.raises(InputError, match="no finite number for any draw"):
        bootstrap(one, two, lambda side: mean(side) * np.nan)


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0, float("nan")])
def test_a_level_outside_zero_and_one_is_refused(level: float) -> None:
    values = np.zeros(3)
    with pytest.raises(UsageError, match="confidence level lies between 0 and 1"):
        newcombe(PairedCounts(1, 1, 1, 1), level)
    with pytest.raises(UsageError, match="confidence level lies between 0 and 1"):
        bootstrap(values, values, mean, level)


def _tables(size: int) -> Iterator[tuple[int, int, int, int]]:
    for b in range(12):
        for c in range(12):
            for a in range(size - b - c + 1):
                yield a, b, c, size - a - b - c
