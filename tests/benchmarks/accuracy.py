"""What INT8 costs EfficientNet-Lite0, a method at a time: `python -m tests.benchmarks.accuracy`.

Calibrated on `calib` alone, scored on `eval`, which chooses nothing. The Q/DQ model runs in ONNX Runtime with graph
optimization off, which simulates TensorRT.
"""

from typing import Any

from quantlab import engines
from quantlab.builder import QuantizeOptions, quantize
from quantlab.calibration.calibrate import calibrate
from quantlab.calibration.methods.names import parse_method
from quantlab.collector.collect import collect
from quantlab.comparison.comparison import compare
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


def main() -> None:
    root = reference()
    model = network(root)
    with engines.ort(model, expose="quantizable") as engine:
        histograms = collect(engine, calibration(root))
    figures: dict[str, tuple[Any, str]] = {}
    with engines.ort(model) as fp32:
        for name in METHODS:
            table = calibrate(histograms, parse_method(name))
            built = quantize(model, table, options=QuantizeOptions(target="tensorrt@8.6"))
            with engines.ort(built.model, optimize=False) as int8:
                result = compare(fp32, int8, evaluation(root), chosen_on=table.provenance.chosen_on)
            top1 = result.metrics[0]
            figures |= {
                f"{name}: top-1 FP32 / INT8": (f"{top1.fp32:.4f} / {top1.int8:.4f}", f"of {result.samples} images"),
                f"{name}: top-1 drop": (round(top1.drop, 2), "points"),
                f"{name}: 95 % interval of the drop": (f"{top1.interval.low:.2f} … {top1.interval.high:.2f}", "points"),
                f"{name}: agreement with FP32's argmax": (round(result.agreement.score, 4), "share"),
                f"{name}: logit SQNR": (round(result.outputs[0].sqnr_db, 2), "dB"),
            }
    figures["backend"] = (int8.backend, "")
    write_figures("accuracy", "python -m tests.benchmarks.accuracy", figures)


if __name__ == "__main__":
    main()
