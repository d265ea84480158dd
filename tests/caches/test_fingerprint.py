"""The algorithm behind a cache is told from its scales."""

from __future__ import annotations

from pathlib import Path

import pytest

from quantlab.caches.fingerprint import OTHER, fingerprint
from quantlab.caches.grid import entropy_bins, mark
from quantlab.caches.network import CacheNetwork
from quantlab.calibration.trt_cache import CalibrationCache, parse_cache
from quantlab.graph.model import load_model
from tests.caches.networks import SCALES, cache, model
from tests.calibration.methods.test_tensorrt import GOLDEN, histograms

ALGORITHMS = {"entropy2": "EntropyCalibration2", "minmax": "MinMaxCalibration", "legacy": "LegacyCalibration"}


def golden(name: str) -> CalibrationCache:
    """A cache that TensorRT 8.6 wrote."""
    return parse_cache((GOLDEN / f"efficientnet_lite0.{name}.cache").read_text())


@pytest.mark.parametrize("bins", [128, 129, 1000, 2047, 2048])
def test_entropys_mark_is_the_middle_of_a_bin(bins: int) -> None:
    threshold = (bins + 0.5) * 6 / 2048
    assert mark(threshold, 6.0) == "middle"
    assert entropy_bins(threshold, 6.0) == bins


@pytest.mark.parametrize(("threshold", "expected"), [(6.0, "top"), (5.25, "edge"), (5.2507, "none"), (0.1, "none")])
def test_other_thresholds_are_no_marks_of_entropy(threshold: float, expected: str) -> None:
    assert mark(threshold, 6.0) == expected
    assert entropy_bins(threshold, 6.0) is None


@pytest.mark.parametrize("name", ALGORITHMS)
def test_histograms_make_the_algorithm_certain_whatever_the_header_says(name: str) -> None:
    scales = golden(name).scales
    found = fingerprint(CalibrationCache("TRT-8601-Odd", scales), histograms=histograms())
    assert (found.algorithm, found.certainty) == (ALGORITHMS[name], "certain")


def test_scales_of_no_calibrator_are_told_from_histograms() -> None:
    assert fingerprint(golden("from_mse"), histograms=histograms()).algorithm == OTHER


@pytest.mark.parametrize(
    ("top", "header", "expected"),
    [
        (6 * 2048.5 / 2048, "TRT-8601-MinMaxCalibration", "EntropyCalibration2"),
        (6.0, "TRT-8601-MinMaxCalibration", "MinMaxCalibration"),
        (6.0, "TRT-8601-EntropyCalibration2", "MinMaxCalibration or a percentile"),
        (5.25, "TRT-8601-EntropyCalibration2", OTHER),
    ],
)
def test_a_relu6_tells_the_algorithm_without_histograms(top: float, header: str, expected: str) -> None:
    scales = {**SCALES, "act": top / 127, "pool": top / 127}
    found = fingerprint(cache(scales, header), CacheNetwork.of(model()))
    assert (found.algorithm, found.certainty) == (expected, "likely")


def test_values_that_never_reach_a_bound_tell_nothing() -> None:
    scales = {**SCALES, "act": 5.97 / 127, "pool": 5.97 / 127}
    found = fingerprint(cache(scales), CacheNetwork.of(model()))
    assert (found.algorithm, found.certainty) == (None, "unknown")


@pytest.mark.parametrize(("name", "expected"), [("entropy2", "EntropyCalibration2"), ("minmax", "MinMaxCalibration")])
def test_a_network_whose_clips_are_not_all_reached_is_recognised(name: str, expected: str) -> None:
    network = CacheNetwork.of(load_model(Path(__file__).parents[2] / "calib_data" / "fashion_net.onnx"))
    found = fingerprint(parse_cache((GOLDEN / f"fashion_net.{name}.cache").read_text()), network)
    assert (found.algorithm, found.certainty) == (expected, "likely")


def test_edges_of_bins_and_keys_after_fusion_are_legacys() -> None:
    scales = {name: s for name, s in SCALES.items() if name not in CacheNetwork.of(model()).inner} | {"act": 5.25 / 127}
    assert fingerprint(cache(scales), CacheNetwork.of(model())).algorithm == "LegacyCalibration"


def test_without_the_model_known_bounds_tell() -> None:
    assert fingerprint(golden("entropy2")).algorithm == "EntropyCalibration2"
    assert fingerprint(golden("minmax")).certainty == "unknown"
    assert fingerprint(golden("legacy")).algorithm == "LegacyCalibration"
    assert fingerprint(cache({"a": 0.123})).algorithm is None


@pytest.mark.reference
@pytest.mark.parametrize("name", ALGORITHMS)
def test_golden_caches_are_recognised_by_the_model_alone(reference: Path, name: str) -> None:
    network = CacheNetwork.of(load_model(reference / "models" / "efficientnet_lite0.onnx"))
    assert fingerprint(golden(name), network).algorithm == ALGORITHMS[name]


@pytest.mark.reference
def test_thresholds_of_least_error_are_told_from_calibrators_by_the_model_alone(reference: Path) -> None:
    network = CacheNetwork.of(load_model(reference / "models" / "efficientnet_lite0.onnx"))
    assert fingerprint(golden("from_mse"), network).algorithm == OTHER
