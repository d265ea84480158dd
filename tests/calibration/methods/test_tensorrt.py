"""TensorRT 8.6's calibrators against the caches that TensorRT 8.6 wrote (tests/golden/trt-8.6)."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

import quantlab as ql
from quantlab.calibration.methods.tensorrt import TensorRTEntropy2, TensorRTLegacy, TensorRTMinMax
from quantlab.calibration.ranges import Range
from quantlab.calibration.trt_cache import parse_cache
from quantlab.errors import UsageError
from quantlab.numerics.tensorrt_histogram import BINS, TensorRTHistogram
from tests.numerics.tensors import f32

GOLDEN = Path(__file__).parents[2] / "golden" / "trt-8.6"


@cache
def histograms() -> dict[str, TensorRTHistogram]:
    """95 tensors of EfficientNet-Lite0 over 512 images, folded from the open-ended grid on which they were recorded."""
    with np.load(GOLDEN / "histograms.npz") as stored:
        return {
            str(name): _folded(stored[f"h{i}"], float(stored["width"][i]), float(stored["batchmax"][i].max()))
            for i, name in enumerate(stored["names"])
        }


def _folded(counts: np.ndarray[tuple[int], np.dtype[np.int64]], width: float, amax: float) -> TensorRTHistogram:
    while counts.size > BINS:
        counts = np.pad(counts, (0, counts.size % 2)).reshape(-1, 2).sum(axis=1)
        width *= 2
    return TensorRTHistogram(np.pad(counts, (0, BINS - counts.size)).astype(np.int64), width, amax, True, 32)


def scales(calibrator: str) -> dict[str, float]:
    """What TensorRT wrote."""
    return dict(parse_cache((GOLDEN / f"efficientnet_lite0.{calibrator}.cache").read_text()).scales)


def test_the_entropy_search_picks_tensorrts_bin_for_95_of_95_tensors() -> None:
    real = scales("entropy2")
    assert len(histograms()) == 95
    for name, seen in histograms().items():
        bin_of = round(real[name] * 127 / seen.width - 0.5)
        assert ql.entropy_threshold(seen.counts, seen.width, dialect="tensorrt") == (bin_of + 0.5) * seen.width, name


@pytest.mark.parametrize(
    ("method", "calibrator", "shared"),
    [(TensorRTEntropy2(), "entropy2", 95), (TensorRTMinMax(), "minmax", 95), (TensorRTLegacy(), "legacy", 52)],
)
def test_scales_are_tensorrts_within_one_in_a_million(method: TensorRTMinMax, calibrator: str, shared: int) -> None:
    real = scales(calibrator)
    both = [name for name in histograms() if name in real]
    worst = max(abs(method(histograms()[name]).amax / 127 / real[name] - 1) for name in both)
    assert len(both) == shared
    assert worst < 1e-6


def counted(*values: float) -> TensorRTHistogram:
    x = f32(*values)
    return TensorRTHistogram.starting(float(np.abs(x).max()), batch=1).added(x)


def test_an_unclipped_tensor_exceeds_its_maximum_by_half_a_bin() -> None:
    x = np.random.default_rng(0).uniform(0, 1, 100_000)
    seen = counted(*x)
    assert TensorRTEntropy2()(seen).high == 2048.5 / 2048 * seen.amax


@pytest.mark.parametrize(
    ("quantile", "kept"), [(0.25, 0.25), (0.26, 0.5), (0.5, 0.5), (0.75, 0.75), (0.9999, 1.0), (1.0, 1.0), (1e-9, 0.25)]
)
def test_legacy_is_the_upper_edge_of_the_bin_that_reaches_the_quantile(quantile: float, kept: float) -> None:
    seen = counted(0.25 - 2**-20, 0.5 - 2**-20, 0.75 - 2**-20, 1.0)
    assert TensorRTLegacy(quantile)(seen) == Range(0.0, kept)


@pytest.mark.parametrize("method", [TensorRTEntropy2(), TensorRTMinMax(), TensorRTLegacy()], ids=repr)
def test_a_tensor_of_zeros_has_an_empty_range(method: TensorRTMinMax) -> None:
    assert method(counted(0.0, 0.0)) == Range(0.0, 0.0)


@pytest.mark.parametrize("quantile", [0.0, -0.5, 1.5, float("nan")])
def test_a_quantile_outside_its_range_is_refused(quantile: float) -> None:
    with pytest.raises(UsageError, match=r"lies in \(0, 1\]"):
        TensorRTLegacy(quantile)


@pytest.mark.parametrize("cutoff", [0.0, 0.5, 2.0, float("nan")])
def test_a_cutoff_whose_rule_nobody_knows_is_refused(cutoff: float) -> None:
    with pytest.raises(UsageError, match="Only a regression cutoff of 1"):
        TensorRTLegacy(0.9999, cutoff)
