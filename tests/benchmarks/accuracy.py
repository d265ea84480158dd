"""What INT8 costs EfficientNet-Lite0, a method at a time: `python -m tests.benchmarks.accuracy`.

Calibrated on `calib` alone, scored on `eval`, which chooses nothing.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from quantlab import engines
from quantlab.builder import QuantizeOptions, quantize
from quantlab.calibration.calibrate import calibrate
from quantlab.calibration.methods.names import parse_method
from quantlab.calibration.scale_table import ScaleTable
from quantlab.calibration.schemes import Affine, Scheme, Symmetric
from quantlab.collector.collect import collect
from quantlab.comparison.comparison import Comparison, compare
from quantlab.comparison.latency import measure_latency
from tests.benchmarks.figures import reference, write_figures
from tests.benchmarks.sample import calibration, evaluation, network

METHODS = (
    "minmax",
    "percentile:99.99",
    "percentile:99.999",
    "percentile:99.99,of=nonzero",
    "squared-error",
    "entropy",
    "entropy:gtc2017",
    "entropy:pytorch-quantization",
    "entropy:mxnet",
)
TARGETS: dict[str, tuple[Scheme, bool]] = {"tensorrt@8.6": (Symmetric(), False), "ort": (Affine("uint8"), True)}
"""Target → scheme of the activations, and whether ONNX Runtime runs its own integer kernels; else it simulates TensorRT's."""


def main() -> None:
    root = reference()
    figures: dict[str, tuple[Any, str]] = {}
    for target, (scheme, optimize) in TARGETS.items():
        with engines.ort(network(root), expose="quantizable", target=target) as engine:
            histograms = collect(engine, calibration(root))
        for name in METHODS:
            table = calibrate(histograms, parse_method(name), scheme=scheme)
            result = _scored(root, table, target, optimize=optimize)
            figures |= {f"{target}, {name}: {what}": figure for what, figure in _figures(result).items()}
        figures[f"{target}: backend"] = (result.backends.int8, "")
    write_figures("accuracy", "python -m tests.benchmarks.accuracy", figures)


def _scored(root: Path, table: ScaleTable, target: str, *, optimize: bool) -> Comparison:
    built = quantize(network(root), table, options=QuantizeOptions(target=target))
    assert table.provenance is not None
    opened = engines.ort(built.model) if optimize else engines.simulation(built.model)
    with engines.ort(network(root)) as fp32, opened as int8:
        result = compare(fp32, int8, evaluation(root), chosen_on=table.provenance.chosen_on)
        batch = next(iter(evaluation(root))).bind(["input"])
        return replace(result, latency=measure_latency(fp32, int8, batch, rounds=10) if optimize else None)


def _figures(result: Comparison) -> dict[str, tuple[Any, str]]:
    top1 = result.metrics[0]
    figures: dict[str, tuple[Any, str]] = {
        "top-1 FP32 / INT8": (f"{top1.fp32:.4f} / {top1.int8:.4f}", f"of {result.samples} images"),
        "top-1 drop": (round(top1.drop, 2), "points"),
        "95 % interval of the drop": (f"{top1.interval.low:.2f} … {top1.interval.high:.2f}", "points"),
        "agreement with FP32's argmax": (round(result.agreement.score, 4), "share"),
        "logit SQNR": (round(result.outputs[0].sqnr_db, 2), "dB"),
    }
    if result.latency is not None:
        figures["FP32's time / INT8's"] = (round(result.latency.speed, 2), "ratio, batch 32")
    return figures


if __name__ == "__main__":
    main()
