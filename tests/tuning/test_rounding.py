from __future__ import annotations

from itertools import product

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from quantlab.numerics.arrays import F64
from quantlab.tuning.rounding import Grid, least_squares


def problem(seed: int, *, inputs: int, outputs: int = 4, rank: int | None = None) -> tuple[F64, F64, F64]:
    """Return second moments of correlated inputs, weights, and scales of a coarse grid."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(200, rank or inputs)) @ random.normal(size=(rank or inputs, inputs))
    weights = random.normal(size=(outputs, inputs))
    return x.T @ x / 200, weights, np.abs(weights).max(axis=1) / 5


def loss(second: F64, gap: F64) -> F64:
    return np.asarray(np.einsum("ok,kl,ol->o", gap, second, gap))


def damped(second: F64, damping: float) -> F64:
    return second + damping * np.trace(second) / len(second) * np.eye(len(second))


@given(st.integers(0, 10**6), st.integers(1, 12))
def test_the_sum_is_that_of_the_integers_and_never_above_rounding_to_nearest(seed: int, inputs: int) -> None:
    second, weights, scale = problem(seed, inputs=inputs)
    integers, sums = Grid.of(second, 0.01).rounded(weights, scale)
    nearest = np.rint(weights / scale[:, None])
    form = damped(second, 0.01)
    np.testing.assert_allclose(sums, loss(form, weights - scale[:, None] * integers), rtol=1e-6, atol=1e-12)
    assert np.all(sums <= loss(form, weights - scale[:, None] * nearest) + 1e-9)
    assert np.array_equal(integers, np.rint(integers))


def test_correlated_inputs_gain_much() -> None:
    second, weights, scale = problem(1, inputs=40, rank=8)
    integers, _ = Grid.of(second, 0.01).rounded(weights, scale)
    nearest = loss(second, weights - scale[:, None] * np.rint(weights / scale[:, None]))
    assert np.all(loss(second, weights - scale[:, None] * integers) < nearest / 3)


def test_uncorrelated_inputs_are_rounded_to_nearest() -> None:
    _, weights, scale = problem(2, inputs=9)
    integers, _ = Grid.of(np.diag(np.arange(1.0, 10.0)), 0.01).rounded(weights, scale)
    assert np.array_equal(integers, np.rint(weights / scale[:, None]))


@given(st.integers(0, 10**6), st.integers(1, 8))
def test_no_single_integer_can_move_and_lower_the_sum(seed: int, inputs: int) -> None:
    second, weights, scale = problem(seed, inputs=inputs)
    integers, sums = Grid.of(second, 0.01).rounded(weights, scale)
    form = damped(second, 0.01)
    for k, step in product(range(inputs), (-1, 1)):
        moved = integers + step * (np.arange(inputs) == k)
        assert np.all(loss(form, weights - scale[:, None] * moved) >= sums * (1 - 1e-6) - 1e-9)


def test_integers_stay_within_seven_bits_and_a_sign() -> None:
    second, weights, scale = problem(3, inputs=10)
    integers, _ = Grid.of(second, 0.01).rounded(weights, scale / 100)
    assert np.abs(integers).max() == 127


def test_inputs_that_are_always_zero_do_no_harm() -> None:
    _, weights, scale = problem(4, inputs=5)
    integers, sums = Grid.of(np.zeros((5, 5)), 0.01).rounded(weights, scale)
    assert np.array_equal(integers, np.rint(weights / scale[:, None]))
    assert np.isfinite(sums).all()
    assert np.array_equal(least_squares(np.zeros((5, 5)), np.zeros((4, 5)), weights, 1.0), weights)


@given(st.integers(0, 10**6), st.floats(0.001, 100))
def test_at_the_least_the_slope_is_zero(seed: int, strength: float) -> None:
    second, weights, _ = problem(seed, inputs=6)
    cross = np.random.default_rng(seed + 1).normal(size=weights.shape)
    best = least_squares(second, cross, weights, strength)
    step = strength * np.trace(second) / 6
    slope = best @ second - cross + step * (best - weights)
    np.testing.assert_allclose(slope, 0, atol=1e-7 * (1 + step) * (1 + np.abs(second).max()))


def test_an_infinite_strength_leaves_the_weights() -> None:
    second, weights, _ = problem(5, inputs=6)
    assert np.array_equal(least_squares(second, weights, weights, float("inf")), weights)
