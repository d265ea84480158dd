"""TensorRT 8.6's own caches repeated without TensorRT: `python -m tests.benchmarks.parity`."""

from collections.abc import Mapping
from pathlib import Path

from quantlab import engines
from quantlab.calibration.calibrate import calibrate
from quantlab.calibration.histogram_set import HistogramSet
from quantlab.calibration.methods.tensorrt import TensorRTEntropy2, TensorRTLegacy, TensorRTMinMax
from quantlab.calibration.trt_cache import parse_cache
from quantlab.collector.collect import collect
from quantlab.numerics.tensorrt_histogram import TensorRTGrid
from tests.benchmarks.figures import reference, write_figures
from tests.benchmarks.sample import calibration, network

CALIBRATORS = {"entropy2": TensorRTEntropy2(), "minmax": TensorRTMinMax(), "legacy": TensorRTLegacy()}


def collected(root: Path) -> HistogramSet:
    """Collect on TensorRT's grid what TensorRT was given: 512 images in its order, in batches of 32."""
    with engines.ort(network(root), expose="all") as engine:
        return collect(engine, calibration(root), grid=TensorRTGrid(32))


def differences(root: Path, histograms: HistogramSet, calibrator: str) -> Mapping[str, float]:
    """Return the relative difference of each scale of TensorRT's cache that is an activation of the ONNX model."""
    cache = parse_cache((root / "golden" / "trt-8.6" / f"efficientnet_lite0.{calibrator}.cache").read_text())
    table = calibrate(histograms, CALIBRATORS[calibrator])
    return {
        name: abs(table[name].scale[0] / scale - 1)
        for name, scale in cache.scales.items()
        if not name.startswith("(Unnamed Layer*")
    }


def main() -> None:
    root = reference()
    histograms = collected(root)
    figures: dict[str, tuple[float | int | str, str]] = {}
    for name in CALIBRATORS:
        found = differences(root, histograms, name)
        figures[f"{name}: tensors compared"] = (len(found), "tensors")
        figures[f"{name}: within 1e-5"] = (sum(d <= 1e-5 for d in found.values()), "tensors")
        figures[f"{name}: worst relative difference"] = (max(found.values()), "ratio")
    write_figures("parity", "python -m tests.benchmarks.parity", figures)


if __name__ == "__main__":
    main()
