"""Entropy: what the search makes of a log-linear histogram."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlab.calibration.methods.entropy import Entropy
from quantlab.errors import UsageError
from quantlab.numerics.arrays import F32
from quantlab.numerics.divergence import DIALECT_NAMES, divergence_curve
from quantlab.numerics.histogram import Histogram
from tests.numerics.mxnet_twin import plain_divergences
from tests.numerics.tensors import ACTIVATIONS, activation, law, ordinary

DIALECTS = [dialect for dialect in DIALECT_NAMES if dialect != "tensorrt"]
every_dialect = pytest.mark.parametrize("dialect", DIALECTS)


@pytest.mark.parametrize("dialect", [d for d in DIALECTS if d != "mxnet"])
@pytest.mark.parametrize("name", ["gauss", "laplace with an outlier of 40", "silu", "relu6", "uniform", "negative"])
def test_its_threshold_is_nearly_the_best_on_the_values_own_2048_bins(name: str, dialect: str) -> None:
    x = np.abs(activation(name, 200_000))
    amax = float(x.max())
    counts = np.histogram(x, 2048, (0, amax))[0]
    if dialect == "quantlab":
        counts[0] -= np.count_nonzero(x == 0)
    curve = divergence_curve(counts, amax / 2048, dialect=dialect)
    chosen = Entropy(dialect)(Histogram.of(x)).amax
    at = int(np.argmin(np.abs(curve.thresholds - chosen)))
    assert curve.divergences[max(at - 2, 0) : at + 3].min() <= 1.1 * curve.divergences.min() + 1e-4


@law
@given(ordinary, st.integers(1, 5000))
def test_zeros_change_nothing_where_the_first_bin_is_left_out_or_replaced(x: F32, zeros: int) -> None:
    padded = np.append(x, np.zeros(zeros, np.float32))
    for dialect in ("quantlab", "pytorch-quantization"):
        assert Entropy(dialect)(Histogram.of(padded)) == Entropy(dialect)(Histogram.of(x))


def test_zeros_do_change_the_dialects_that_count_them() -> None:
    x = activation("relu, 69 % zeros")
    seen, dense = Histogram.of(x), Histogram.of(x[x != 0])
    assert Entropy("gtc2017")(seen).high < 0.1 * seen.amax < Entropy("gtc2017")(dense).high
    assert Entropy("mxnet")(seen).high < 0.1 * seen.amax < Entropy("mxnet")(dense).high


@every_dialect
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_it_is_about_zero_or_from_zero_where_no_negative_was_seen(name: str, dialect: str) -> None:
    x = activation(name)
    chosen = Entropy(dialect)(Histogram.of(x))
    assert chosen.low == (-chosen.high if x.min() < 0 else 0)


@every_dialect
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_curve_ends_at_the_exact_maximum(name: str, dialect: str) -> None:
    x = activation(name)
    curve = Entropy(dialect).curve(Histogram.of(x))
    assert curve.thresholds[-1] == pytest.approx(np.abs(x).max(), rel=3e-4)
    assert curve.thresholds[curve.best] == Entropy(dialect)(Histogram.of(x)).high
    assert curve.kept.size == curve.divergences.size == curve.thresholds.size


def test_mxnets_bins_lie_about_zero_as_its_histogram_has_them() -> None:
    width = 1 / 4000.5  # 8,001 bins over [-1, 1]: bin k holds the magnitudes from (k - 0.5) to (k + 0.5) widths
    counts = np.random.default_rng(0).integers(0, 200, 60)
    x = np.concatenate([np.repeat(np.arange(60) * width, counts), [1.0] * 20]).astype(np.float32)
    signed = np.histogram(np.concatenate([x, -x]), 8001, (-1.0, 1.0))[0]
    curve = Entropy("mxnet").curve(Histogram.of(x))
    some = slice(0, 299)  # in the last one, the middle bins are all there is
    expected = plain_divergences(signed[4000 - 426 : 4001 + 426] + _outside(signed, 426))
    assert np.allclose(curve.divergences[some], expected[some], rtol=1e-6)


def _outside(
    signed: np.ndarray[tuple[int], np.dtype[np.int64]], half: int
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """What lies beyond the middle bins, put where it counts as outside for every candidate but the last."""
    beyond = np.zeros(2 * half + 1, np.int64)
    beyond[0], beyond[-1] = signed[: 4000 - half].sum(), signed[4001 + half :].sum()
    return beyond


@pytest.mark.parametrize("dialect", ["tensorrt", "kl", "", "QUANTLAB"])
def test_an_unknown_dialect_lists_the_known_ones(dialect: str) -> None:
    with pytest.raises(UsageError, match="Entropy knows quantlab, gtc2017, pytorch-quantization, mxnet"):
        Entropy(dialect)
