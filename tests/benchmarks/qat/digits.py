"""What training brings where channels are spread: `python -m tests.benchmarks.qat.digits --models MODELS`.

The digits network with S = 30, without equalization first: the ranges are those of the squared error, and training
alone has to balance the channels. Rates, epochs and the teacher's weights were chosen in a dozen runs of seed 0 that showed
the evaluation score as well as the tuning score. MODELS is the folder of `tests/benchmarks/tuning/README.md`.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import torch

import quantlab as ql
from quantlab.qat.distillation import Distillation
from quantlab.qat.export import evaluate_equality, export
from quantlab.qat.prepare import PrepareOptions, prepare
from quantlab.qat.train import train
from quantlab.qat.train_options import Schedule, TrainOptions
from tests.benchmarks.figures import write_figures
from tests.benchmarks.qat.subjects import TARGET, Trainable, accuracy, digits, right

SPREAD = 30
SEEDS = (0, 1, 2)
TEACHER = Distillation(kl=1.0, mse=0.1, labels=0.0)

Figures = dict[str, tuple[float | int | str, str]]


def main() -> None:
    """Measure, and write reports/figures/qat_digits.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    subject = digits(options.models, SPREAD)
    scored = subject.subject.evaluation
    figures: Figures = {
        "torch": (torch.__version__, "version"),
        "threads": (options.threads, ""),
        "FP32": (right(subject.plan(ql.MinMax()).model, scored), "share right of 2,000"),
    }
    for name, method in (("min-max", ql.MinMax()), ("squared error", ql.SquaredError())):
        model = subject.plan(method).quantized().model
        figures[f"PTQ, {name}"] = (right(model, scored), "share right of 2,000")
    whole = TrainOptions(
        epochs=50, schedule=Schedule(rate=5e-3, scale_rate=3e-2), distillation=TEACHER, augment=subject.augment,
        keep="last",
    )  # fmt: skip
    figures |= _trained("QAT without equalization", subject, subject.plan(ql.SquaredError()), whole)
    short = TrainOptions(
        epochs=5, schedule=Schedule(rate=3e-4, scale_rate=1e-3), distillation=TEACHER, augment=subject.augment,
        keep="last",
    )  # fmt: skip
    tuned = ql.tune(
        subject.subject.model, subject.subject.calibration, tuning=subject.subject.tuning,
        options=ql.TuneOptions(quantize=ql.QuantizeOptions(target=TARGET)),
    )  # fmt: skip
    figures["PTQ, tuned with equalization"] = (
        right(tuned.quantized().model, scored),
        "share right of 2,000",
    )
    figures |= _trained("QAT with equalization", subject, tuned, short)
    command = f"python -m tests.benchmarks.qat.digits --models MODELS --threads {options.threads}"
    write_figures("qat_digits", command, figures)


def _trained(name: str, subject: Trainable, plan: Any, options: TrainOptions) -> Figures:
    figures: Figures = {}
    found = []
    for seed in SEEDS:
        started, cpu = time.monotonic(), time.process_time()
        prepared = prepare(subject.module, subject.example, plan, options=PrepareOptions(target=TARGET))
        trained = train(
            prepared, subject.samples, options=replace(options, seed=seed), evaluate=accuracy(subject.subject.tuning)
        )
        exported = export(prepared)
        seconds, cpu = time.monotonic() - started, time.process_time() - cpu
        model = exported.quantized.model
        scored = subject.subject.evaluation
        found.append(right(model, scored))
        same = evaluate_equality(prepared, exported, [torch.tensor(batch["image"]) for batch in scored])
        figures |= {
            f"{name}, seed {seed}": (found[-1], "share right of 2,000"),
            f"{name}, seed {seed}: without ORT's optimizations": (right(model, scored, optimize=False), "share right"),
            f"{name}, seed {seed}: same class as the module": (same.agreement, "share"),
            f"{name}, seed {seed}: steps": (trained.steps, "of 64 samples"),
            f"{name}, seed {seed}: wall time": (seconds, "s, from prepare to export"),
            f"{name}, seed {seed}: CPU time": (cpu, "s, from prepare to export"),
        }
    return figures | {f"{name}, mean of {len(SEEDS)} seeds": (mean(found), "share right of 2,000")}


if __name__ == "__main__":
    main()
