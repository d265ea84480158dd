"""How a prepared network is trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from quantlab.errors import UsageError
from quantlab.qat.distillation import Distillation
from quantlab.qat.training_data import Samples

OptimizerName: TypeAlias = Literal["adamw", "sgd"]
Precision: TypeAlias = Literal["float32", "bfloat16"]
Keep: TypeAlias = Literal["best", "last"]

_CHOICES = {"optimizer": ("adamw", "sgd"), "precision": ("float32", "bfloat16"), "keep": ("best", "last")}


@dataclass(frozen=True, slots=True)
class Schedule:
    """The optimizer and its learning rates.

    Attributes
    ----------
    optimizer
        adamw or sgd (Nesterov's momentum 0.9).
    rate
        Peak for weights, biases and norms.
    scale_rate
        Peak for the scales' `log_ratio`: with AdamW about the relative change of a scale a step.
    weight_decay
        Of weights with two axes or more; biases, norms and scales have none.
    warmup
        Share of the steps, 0 … 1, in which the rates rise in a line.
    final
        Share of the peak, 0 … 1, that a half cosine ends at: Loshchilov and Hutter, SGDR, ICLR 2017, without restarts.
    clip
        Largest norm of all gradients together; None: not clipped.
    """

    optimizer: OptimizerName = "adamw"
    rate: float = 1e-3
    scale_rate: float = 1e-2
    weight_decay: float = 0.0
    warmup: float = 0.05
    final: float = 0.01
    clip: float | None = 1.0

    def __post_init__(self) -> None:
        _check_choice(self, "optimizer")
        if not (self.rate > 0 and self.scale_rate >= 0 and self.weight_decay >= 0):
            raise UsageError("A learning rate is greater than 0, that of the scales and a weight decay at least 0.")
        if not (0 <= self.warmup < 1 and 0 <= self.final <= 1):
            raise UsageError("The warm-up and the final rate are shares from 0 to 1.")
        if self.clip is not None and not self.clip > 0:
            raise UsageError(f"Gradients are clipped to a norm greater than 0, not {self.clip}.")


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """How long, on what and with which aids.

    Attributes
    ----------
    epochs
        Passes over the data.
    steps
        Their number, in place of `epochs`.
    batch
        Samples a batch and process, where `shuffle` makes the batches.
    shuffle
        True: all samples are held in memory and drawn anew each epoch, those that fill no batch left out. False: batches are taken as the
        loader yields them, whose own shuffling should draw from torch's generator.
    memory
        Bytes that the held samples may take.
    augment
        Changes a batch of training samples; it should draw from torch's generator. The teacher sees the changed ones.
    schedule
        Optimizer and learning rates.
    precision
        bfloat16: under autocast; scales, their gradients and the loss stay float32.
    ema
        Decay of the moving average that takes the weights' place in evaluation and at the end; None: no average.
    distillation
        Weights of what the teacher says; None: the defaults where there is a teacher.
    target
        Training ends when `evaluate` reaches it.
    patience
        Training ends when so many evaluations in a row brought nothing better.
    evaluate_every
        Steps between evaluations; None: at the end of each epoch, or of the training alone where `steps` is given and a
        stream does not tell its length.
    keep
        best: the weights with the highest metric, where there is one; last: the final ones.
    freeze_batch_norm_at
        Share of the steps, 0 … 1, after which batch norms keep their statistics; None: never.
    seed
        Of the order, of dropout and of what draws from torch's generator.
    folder
        Of the checkpoint, from which a training that was interrupted goes on; None: none is written.
    checkpoint_every
        Steps between checkpoints.
    fresh
        Start anew whatever the folder holds.
    """

    epochs: int = 10
    steps: int | None = None
    batch: int = 64
    shuffle: bool = True
    memory: int = 2 << 30
    augment: Callable[[Samples], Samples] | None = None
    schedule: Schedule = field(default_factory=Schedule)
    precision: Precision = "float32"
    ema: float | None = None
    distillation: Distillation | None = None
    target: float | None = None
    patience: int | None = None
    evaluate_every: int | None = None
    keep: Keep = "best"
    freeze_batch_norm_at: float | None = 0.5
    seed: int = 0
    folder: Path | None = None
    checkpoint_every: int = 100
    fresh: bool = False

    def __post_init__(self) -> None:
        for name in ("precision", "keep"):
            _check_choice(self, name)
        for name in ("epochs", "steps", "batch", "memory", "patience", "evaluate_every", "checkpoint_every"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise UsageError(f"`{name}` is a whole number, at least 1, not {value!r}.")
        if self.ema is not None and not 0 < self.ema < 1:
            raise UsageError(f"The decay of an average lies inside 0 … 1, as 0.999 does, not at {self.ema}.")
        if self.freeze_batch_norm_at is not None and not 0 <= self.freeze_batch_norm_at <= 1:
            raise UsageError(
                f"Batch norms are frozen after a share of the steps, 0 … 1, not {self.freeze_batch_norm_at}."
            )

    def asked(self) -> dict[str, Any]:
        """Return what decides the final weights, as JSON values: a checkpoint goes on only with the same."""
        decides = {name: getattr(self, name) for name in _DECIDING}
        return decides | {
            "schedule": asdict(self.schedule),
            "distillation": asdict(self.distillation) if self.distillation else None,
            "augment": _name(self.augment),
        }


_DECIDING = (
    "epochs", "steps", "batch", "shuffle", "precision", "ema", "target", "patience", "evaluate_every", "keep",
    "freeze_batch_norm_at", "seed",
)  # fmt: skip


def _check_choice(options: Any, name: str) -> None:
    if getattr(options, name) not in _CHOICES[name]:
        raise UsageError(f"`{name}` is {' or '.join(_CHOICES[name])}, not «{getattr(options, name)}».")


def _name(function: Any) -> str | None:
    return None if function is None else getattr(function, "__qualname__", type(function).__qualname__)
