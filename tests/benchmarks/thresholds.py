"""Threshold search over the tensors of EfficientNet-Lite0: `python -m tests.benchmarks.thresholds`."""

import statistics
import time

import numpy as np

from quantlab import engines
from quantlab.calibration.methods.names import parse_method
from quantlab.collector.collect import collect
from quantlab.numerics.arrays import F32
from quantlab.numerics.divergence import DIALECT_NAMES, entropy_threshold
from quantlab.numerics.histogram import Histogram, LinearGrid
from tests.benchmarks.figures import reference, write_figures
from tests.benchmarks.sample import calibration, network

METHODS = (
    "minmax",
    "percentile:99.99",
    "squared-error",
    "entropy",
    "entropy:gtc2017",
    "entropy:pytorch-quantization",
    "entropy:mxnet",
)


def activations(seed: int) -> F32:
    """Return a million values like those of a SiLU network."""
    x = 3 * np.random.default_rng(seed).standard_normal(1_000_000)
    return (x / (1 + np.exp(-x))).astype(np.float32)


def main() -> None:
    root = reference()
    with engines.ort(network(root), expose="quantizable") as engine:
        histograms = collect(engine, calibration(root, limit=64))
    figures: dict[str, tuple[float | int | str, str]] = {"tensors": (len(histograms), "")}
    for name in METHODS:
        method = parse_method(name)
        times = []
        for histogram in histograms.values():
            method(histogram)
            start = time.process_time()
            method(histogram)
            times.append(1e3 * (time.process_time() - start))
        figures[f"{name}: median"] = (statistics.median(times), "CPU ms a tensor")
        figures[f"{name}: slowest"] = (max(times), "CPU ms a tensor")
    for dialect in DIALECT_NAMES:
        times = []
        for histogram in histograms.values():
            assert isinstance(histogram, Histogram)
            counts = histogram.rebin(LinearGrid(2048, histogram.amax / 2048))
            start = time.process_time()
            entropy_threshold(counts, histogram.amax / 2048, dialect=dialect)
            times.append(1e3 * (time.process_time() - start))
        figures[f"entropy_threshold on 2,048 bins, {dialect}: median"] = (statistics.median(times), "CPU ms a tensor")
    write_figures("thresholds", "python -m tests.benchmarks.thresholds", figures)


if __name__ == "__main__":
    main()
