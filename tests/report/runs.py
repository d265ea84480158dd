"""Synthetic runs: the values that a page is made from, without any inference."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from quantlab.calibration.calibrate import calibrate
from quantlab.calibration.histogram_set import HistogramSet
from quantlab.calibration.methods.names import parse_method
from quantlab.calibration.provenance import DataIdentity, Provenance
from quantlab.calibration.scale_table import ScaleTable
from quantlab.comparison.agreement import Agreement, Flip
from quantlab.comparison.backends import Backends
from quantlab.comparison.comparison import Comparison, Sizes
from quantlab.comparison.latency import Latency
from quantlab.comparison.metric_score import MetricScore
from quantlab.comparison.observation import NanSamples
from quantlab.comparison.statistics import Interval
from quantlab.comparison.tensors import TensorError
from quantlab.numerics.error_sums import ErrorSums
from quantlab.numerics.histogram import Histogram
from quantlab.report.report_score import Score
from quantlab.report.run_parts import RunParts

METHODS = ("minmax", "percentile:99.99", "squared-error")
BACKENDS = Backends("onnxruntime 1.31.1 CPU (avx2)", "onnxruntime 1.31.1 CPU unoptimized (avx2)")
CALIBRATION = DataIdentity("calibration", "blake2b:aa", 1000, {"scale": 0.5})
TUNING = DataIdentity("tuning", "blake2b:bb", 2000)
EVALUATION = DataIdentity("evaluation", "blake2b:cc", 5000)
RANDOM = DataIdentity("noise", "blake2b:dd", 100, random=True)
PROVENANCE = Provenance(
    "sha256:1234", "net.onnx", (CALIBRATION,), {"quantlab": "0.1.0", "onnxruntime": "1.31.1 CPU (avx2)"}, "log-linear"
)


def names(count: int) -> list[str]:
    return [f"/features/features.{i // 3}/conv/conv.{i % 3}/Conv_output_0" for i in range(count)]


def histogram_set(tensors: Iterable[str], provenance: Provenance = PROVENANCE, *, size: int = 500) -> HistogramSet:
    random = np.random.default_rng(0)
    found = {
        name: Histogram.of(random.standard_t(4, size=size).astype("f") * (1 + i)) for i, name in enumerate(tensors)
    }
    return HistogramSet(found, provenance, dict.fromkeys(found, ("batch", 8, 4, 4)), {})


def tables_of(histograms: HistogramSet, methods: Sequence[str] = METHODS) -> dict[str, ScaleTable]:
    return {method: calibrate(histograms, parse_method(method)) for method in methods}


def sums(db: float) -> ErrorSums:
    return ErrorSums(1.0, 1.0, 0.9, 10 ** (-db / 10), 0.5, 100)


def metric(drop: float, reach: float = 0.3, name: str = "top-1") -> MetricScore:
    return MetricScore(name, 0.93, 0.93 - drop / 100, drop, "points", Interval(drop - reach, drop + reach), 30, 24, 0.4)


def comparison(data: DataIdentity = EVALUATION, **known: Any) -> Comparison:
    flips = (Flip(3, "shoe.png", 1, 1, 2), Flip(7, "", 5, 4, 5), Flip(9, "bag.png", 0, 4, 2))
    fields: dict[str, Any] = {
        "samples": data.count,
        "metrics": (metric(0.12),),
        "agreement": Agreement(data.count - len(flips), data.count, flips),
        "outputs": (TensorError("logits", sums(24.25)),),
        "tensors": (),
        "nan": NanSamples(),
        "backends": BACKENDS,
        "data": data,
        "chosen_on": (CALIBRATION,),
        "final": data is EVALUATION,
        "sizes": Sizes(4000, 1100),
    }
    return Comparison(**(fields | known))


def measured(tensors: Iterable[str]) -> tuple[TensorError, ...]:
    return tuple(TensorError(name, sums(20.0 + i), sums(40.0 - i)) for i, name in enumerate(tensors))


def score(**known: Any) -> Score:
    return Score.of("Q/DQ model", comparison(**known))


def parts(tensors: Sequence[str] = ("a", "b", "c"), **known: Any) -> RunParts:
    """Return a whole run over these tensors."""
    histograms = histogram_set(tensors)
    fields: dict[str, Any] = {
        "tables": tables_of(histograms),
        "chosen": "squared-error",
        "histograms": histograms,
        "tuning": {method: comparison(TUNING, metrics=(metric(0.1 * i),)) for i, method in enumerate(METHODS)},
        "final": comparison(tensors=measured(tensors)),
        "ort": comparison(latency=Latency((0.004, 0.004), (0.002, 0.002), 32, BACKENDS)),
        "floats": {
            "x": "inside one kernel: Conv + Relu",
            "y": "read by Softmax in float",
            "z": "inside one kernel: Conv + Relu",
        },
        "max_drop": 0.5,
    }
    return RunParts(**(fields | known))
