"""Whether a killed training ends where one that was not killed does: `python -m tests.benchmarks.qat.killing --models MODELS`.

The digits network with S = 30 is trained in a process of its own and killed with SIGKILL, from outside, a random moment
after random steps; then it is left to end. MODELS is the folder of
`tests/benchmarks/tuning/README.md`.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import nn

from quantlab.qat.callbacks import Callback, Progress
from tests.benchmarks.figures import write_figures

ROOT = Path(__file__).parents[3]
STEPS, EVERY, RUNS, KILLS = 80, 7, 3, 2


def main() -> None:
    """Measure and write reports/figures/qat_killing.json, or train if there is a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--train", type=Path, metavar="FOLDER", help="train there and do nothing else")
    options = parser.parse_args()
    if options.train is not None:
        _train(options.models, options.train)
        return
    draw = random.SystemRandom()
    kills = [sorted(draw.sample(range(1, STEPS), KILLS)) for _ in range(RUNS)]
    with tempfile.TemporaryDirectory() as folder:
        whole = _run(options.models, Path(folder) / "whole", None)
        same = 0
        for number, steps in enumerate(kills):
            for step in steps:
                _run(options.models, Path(folder) / str(number), step)
            same += _run(options.models, Path(folder) / str(number), None) == whole
    write_figures(
        "qat_killing",
        "python -m tests.benchmarks.qat.killing --models MODELS",
        {
            "torch": (torch.__version__, "version"),
            "trainings": (RUNS, f"of {STEPS} steps, a checkpoint every {EVERY}"),
            "killed with SIGKILL after steps": ("; ".join(", ".join(map(str, steps)) for steps in kills), ""),
            "same final weights as the one that was not killed, bit for bit": (same, f"of {RUNS}"),
        },
    )


def _run(models: Path, folder: Path, step: int | None) -> str:
    """Return the digest of the final weights; kill the training a random moment after a step, and return nothing."""
    command = [sys.executable, "-m", __spec__.name, "--models", str(models), "--train", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        said = ""
        for said in process.stdout or ():
            if step is not None and said == f"{step}\n":
                time.sleep(random.SystemRandom().uniform(0, 0.1))
                process.send_signal(signal.SIGKILL)
                break
    if process.returncode != (0 if step is None else -signal.SIGKILL):
        sys.exit(f"The training ended with {process.returncode}.")
    return "" if step is not None else said


def _train(models: Path, folder: Path) -> None:
    import quantlab as ql
    from quantlab.qat.distillation import Distillation
    from quantlab.qat.prepare import PrepareOptions, prepare
    from quantlab.qat.train import train
    from quantlab.qat.train_options import Schedule, TrainOptions
    from quantlab.qat.training_data import digest_of
    from tests.benchmarks.qat.subjects import TARGET, accuracy, digits

    torch.set_num_threads(1)
    subject = digits(models, 30)
    prepared = prepare(
        subject.module, subject.example, subject.plan(ql.SquaredError()), options=PrepareOptions(target=TARGET)
    )
    options = TrainOptions(
        steps=STEPS, schedule=Schedule(rate=1e-2, scale_rate=3e-2), distillation=Distillation(), ema=0.99,
        augment=subject.augment, evaluate_every=25, folder=folder, checkpoint_every=EVERY,
    )  # fmt: skip
    evaluate = accuracy(subject.subject.tuning)
    trained = train(prepared, subject.samples, options=options, evaluate=evaluate, callbacks=[_Steps()])
    sys.stdout.write(f"{digest_of(trained.module.state_dict().items())}\n")


class _Steps(Callback):
    def on_step(self, module: nn.Module, progress: Progress) -> None:
        sys.stdout.write(f"{progress.step}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
