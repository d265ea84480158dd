"""Many tests at once: statsmodels' numbers, an obvious slow twin, and the level of all together."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.sparse import csr_array

from quantlab.errors import UsageError
from quantlab.numerics.arrays import F64
from quantlab.regression.multiple import benjamini_hochberg, exchanged, holm
from quantlab.regression.paired_tests import mcnemar_above
from tests.comparison.laws import law

p_lists = st.lists(st.floats(0, 1), min_size=1, max_size=40)


@law
@given(p_lists)
def test_holm_is_statsmodels(p_values: list[float]) -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest", reason="statsmodels is not installed")
    assert holm(p_values) == pytest.approx(multitest.multipletests(p_values, method="holm")[1], abs=1e-12)


@law
@given(p_lists)
def test_benjamini_hochberg_is_statsmodels(p_values: list[float]) -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest", reason="statsmodels is not installed")
    assert benjamini_hochberg(p_values) == pytest.approx(
        multitest.multipletests(p_values, method="fdr_bh")[1], abs=1e-12
    )


def test_no_tests_have_no_p_values() -> None:
    assert holm([]).size == benjamini_hochberg([]).size == 0


@pytest.mark.parametrize("wrong", [[-0.1], [1.1], [float("nan")], [[0.5]]])
def test_what_is_no_p_value_is_refused(wrong: list[float]) -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        holm(wrong)


@pytest.mark.parametrize(("worse", "better"), [(9, 3), (30, 20), (5, 0), (3, 8)])
def test_exchanging_right_and_wrong_answers_is_mcnemars_mid_p(worse: int, better: int) -> None:
    gap = np.array([1.0] * worse + [-1.0] * better + [0.0] * 50)[:, None]
    assert exchanged(gap, np.ones(1))[0] == pytest.approx(mcnemar_above(worse, better), abs=0.012)


def test_exchanging_equals_trying_all_exchanges() -> None:
    draw = np.random.default_rng(3)
    gap = np.zeros((9, 3))
    gap[:, 0] = draw.choice([-1.0, 1.0], 9)
    gap[:5, 1], gap[5:, 2] = gap[:5, 0], gap[5:, 0]
    weights = np.array([0.5, 0.25, 0.25])
    assert exchanged(gap, weights) == pytest.approx(_by_enumeration(gap, weights), abs=0.015)


def test_zeros_that_are_not_stored_change_nothing() -> None:
    gap = np.random.default_rng(5).choice([-1.0, 0.0, 0.0, 0.5], (60, 4))
    weights = np.full(4, 0.25)
    assert np.array_equal(exchanged(csr_array(gap), weights), exchanged(gap, weights))


def test_a_test_without_differences_has_the_p_value_1() -> None:
    assert exchanged(np.array([[0.0, 1.0], [0.0, 1.0]]), np.array([0.5, 0.5]))[0] == 1.0


def test_all_tests_together_alarm_at_the_level() -> None:
    draw = np.random.default_rng(0)
    weights = np.array([0.5, *[0.05] * 10])
    alarms = 0
    for _ in range(200):
        size = int(draw.poisson(40))
        signs = draw.choice([-1.0, 1.0], size)
        parts = np.eye(10)[draw.integers(0, 10, size)]
        alarms += bool(exchanged(np.hstack([signs[:, None], signs[:, None] * parts]), weights).min() <= 0.05)
    low, high = (stats.binom.ppf(end, 200, 0.05) for end in (0.005, 0.995))
    assert low <= alarms <= high


def _by_enumeration(gap: F64, weights: F64) -> F64:
    sizes = np.sqrt((gap**2).sum(axis=0))
    q = np.array(
        [stats.norm.sf((np.array(s)[:, None] * gap).sum(axis=0) / sizes) / weights for s in product((-1, 1), repeat=9)]
    )
    least, observed = q.min(axis=1), stats.norm.sf(gap.sum(axis=0) / sizes) / weights
    same = np.isclose(least[:, None], observed, rtol=1e-9)
    return np.asarray(((least[:, None] < observed) & ~same).mean(axis=0) + same.mean(axis=0) / 2, np.float64)
