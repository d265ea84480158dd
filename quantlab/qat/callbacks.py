"""What a training loop tells while it runs, and how to stop it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a training stands.

    Attributes
    ----------
    step, steps
        Steps done, and how many there will be unless it stops early.
    epoch
        From 0: the one that the last step belongs to.
    loss
        Of the last step.
    rate
        Learning rate of the weights in the last step.
    metric
        The last one measured; None before the first.
    seconds
        Since the loop began in this process.
    seconds_left
        Expected from the pace in this process; None before its first step.
    """

    step: int
    steps: int
    epoch: int
    loss: float
    rate: float
    metric: float | None
    seconds: float
    seconds_left: float | None


class Callback:
    """Told what happens; every method does nothing until it is overridden. Of several processes the first one's decide."""

    def on_start(self, module: nn.Module, steps: int, step: int) -> None:
        """Training begins: `step` steps of `steps` are done already, more than 0 when it resumes."""

    def on_step(self, module: nn.Module, progress: Progress) -> bool | None:
        """Take note that a step is done; True ends the training."""

    def on_evaluate(self, module: nn.Module, progress: Progress) -> bool | None:
        """Take note that `progress.metric` is new; True ends the training."""

    def on_end(self, module: nn.Module, progress: Progress) -> None:
        """Training is over; the module holds its final weights."""
