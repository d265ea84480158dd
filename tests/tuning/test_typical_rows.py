"""A few rows that hold most of the error are left out of what is fitted; other tails are not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from quantlab.tuning.bias_correction import EmpiricalBias
from quantlab.tuning.layer import Layer
from quantlab.tuning.typical_rows import typical

ROWS, OUTLIERS = 400, 4


def layer(*, outliers: int = OUTLIERS, size: float = 300.0) -> Layer:
    """Return a layer whose INT8 inputs are FP32's but for 0.1 in the mean; the outliers are clipped by `size`."""
    random = np.random.default_rng(0)
    weights = random.normal(size=(1, 3, 8))
    exact = random.normal(size=(1, ROWS, 8))
    exact[:, :outliers] += size
    inputs = exact + 0.1 + random.normal(size=exact.shape) * 0.02
    inputs[:, :outliers] = np.minimum(inputs[:, :outliers], 5)
    held = np.arange(ROWS) % 4 == 3
    targets = (exact @ weights[0].T).astype("f")
    scale = np.abs(weights).max(axis=2).astype("f").astype(np.float64) / 127
    return Layer(weights, scale, np.zeros((1, 3)), True, inputs.astype("f"), targets, held)


def test_outlier_rows_that_hold_the_error_are_left_out() -> None:
    given = layer()
    kept = typical(given)
    assert kept.inputs.shape == (1, ROWS - OUTLIERS, 8)
    np.testing.assert_array_equal(kept.targets, given.targets[:, OUTLIERS:])
    np.testing.assert_array_equal(kept.held_out, given.held_out[OUTLIERS:])


def test_a_bias_fitted_without_them_serves_the_other_rows() -> None:
    given = layer()
    wanted = -(given.weights[0] * 0.1).sum(axis=1)
    apart = [np.abs(EmpiricalBias().correct(one).bias[0] - wanted).max() for one in (typical(given), given)]
    assert apart[0] < 0.02
    assert apart[1] > 1


def test_rows_alike_many_outliers_and_errors_that_matter_stay() -> None:
    many, alike = layer(outliers=ROWS // 10), layer(outliers=0)
    assert typical(many) is many
    assert typical(alike) is alike
    small = layer(size=6.0)
    assert typical(small) is small


def test_a_layer_without_any_error_stays() -> None:
    given = layer(outliers=0)
    weights = np.round(given.weights / given.scale[..., None]) * given.scale[..., None]
    targets = np.matmul(given.inputs, weights.astype("f").transpose(0, 2, 1))
    np.testing.assert_array_equal(typical(replace(given, weights=weights, targets=targets)).targets, targets)
