"""MXNet's dialect against a plain twin of the published algorithm."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from quantlab.numerics.arrays import I64
from quantlab.numerics.divergence import divergence_curve, entropy_threshold
from tests.numerics.mxnet_twin import LEVELS, mirrored, plain_divergences


def falling(bins: int, seed: int = 0) -> I64:
    return np.random.default_rng(seed).poisson(2000 * np.exp(-np.arange(bins) / (bins / 7)))


def zoo(bins: int) -> dict[str, I64]:
    rng = np.random.default_rng(1)
    relu, outlier, one = falling(bins), falling(bins, 2), np.zeros(bins, np.int64)
    relu[0] = 1_000_000
    outlier[bins // 3 :] = 0
    outlier[-1] = 1
    one[bins - 5] = 400
    return {
        "falling": falling(bins),
        "relu-like": relu,
        "an outlier": outlier,
        "sparse": (rng.random(bins) < 0.05) * rng.integers(1, 9, bins),
        "one bin": one,
        "constant": np.full(bins, 3, np.int64),
    }


@pytest.mark.parametrize("kind", zoo(401))
def test_every_candidates_divergence_is_the_plain_twins(kind: str) -> None:
    counts = zoo(401)[kind]
    curve = divergence_curve(counts, 1.0, dialect="mxnet")
    plain = plain_divergences(mirrored(counts))
    finite = np.isfinite(plain)
    assert np.array_equal(np.isfinite(curve.divergences), finite)
    assert np.abs(curve.divergences[finite] - plain[finite]).max(initial=0) < 1e-11


@settings(max_examples=15, deadline=None)
@given(arrays(np.int64, st.integers(128, 180), elements=st.integers(0, 1000)))
def test_any_histogram_gives_the_plain_twins_divergences(counts: I64) -> None:
    curve = divergence_curve(counts, 1.0, dialect="mxnet")
    plain = plain_divergences(mirrored(counts))
    assert np.allclose(curve.divergences, plain, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("kind", ["falling", "relu-like", "an outlier"])
def test_the_threshold_is_the_right_edge_of_the_first_best_candidate(kind: str) -> None:
    counts, width = zoo(401)[kind], 0.25
    edges = (np.arange(802) - 400.5) * width
    best = LEVELS // 2 + int(np.argmin(plain_divergences(mirrored(counts))))
    assert entropy_threshold(counts, width, dialect="mxnet") == edges[400 + best + 1]


def test_mirroring_a_real_signed_histogram_gives_the_same_search() -> None:
    x = np.random.default_rng(3).laplace(size=20_000)
    both = np.concatenate([x, -x])
    amax = np.abs(x).max()
    signed, edges = np.histogram(both, 801, (-amax, amax))
    magnitudes = signed[400:].copy()
    magnitudes[0] //= 2
    best = LEVELS // 2 + int(np.argmin(plain_divergences(signed)))
    got = entropy_threshold(magnitudes, float(edges[1] - edges[0]), dialect="mxnet")
    assert got == pytest.approx(edges[400 + best + 1], rel=1e-12)
