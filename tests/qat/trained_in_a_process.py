"""A training in a process of its own, which kills itself: FOLDER, the step that kills it, and how it is trained."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from torch import nn

from quantlab.qat.callbacks import Callback, Progress
from quantlab.qat.distillation import Distillation
from quantlab.qat.train import train
from quantlab.qat.train_options import Schedule, TrainOptions
from quantlab.qat.trained import Trained
from tests.qat.loops import accuracy, network, samples


class Killed(Callback):
    """Ends the process without any clean-up."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, module: nn.Module, progress: Progress) -> None:
        """Kill at the step."""
        if progress.step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def trained(folder: Path, way: str, *callbacks: Callback) -> Trained:
    """Train the same network in the same way wherever it is called."""
    options = TrainOptions(
        epochs=6, batch=16, schedule=Schedule(rate=1e-2), folder=folder, checkpoint_every=4, ema=0.9,
        distillation=Distillation(), shuffle=way != "streamed", evaluate_every=5,
    )  # fmt: skip
    return train(network(dropout=0.2), samples(), options=options, evaluate=accuracy, callbacks=callbacks)


if __name__ == "__main__":
    trained(Path(sys.argv[1]), sys.argv[3], Killed(int(sys.argv[2])))
