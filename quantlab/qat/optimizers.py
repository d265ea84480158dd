"""The optimizer of a prepared module, and its learning rate over the steps."""

from __future__ import annotations

import math

import torch
from torch import nn

from quantlab.errors import InputError
from quantlab.qat.fake_quant import FakeQuantize
from quantlab.qat.train_options import Schedule


def optimizer_of(module: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    """Return an optimizer with a group each for weights, for biases and norms, and for scales.

    Raises
    ------
    InputError
        When no parameter is trainable.
    """
    scales = {id(q.log_ratio) for q in module.modules() if isinstance(q, FakeQuantize)}
    trainable = [p for p in module.parameters() if p.requires_grad]
    groups = [
        ([p for p in trainable if id(p) not in scales and p.ndim >= 2], schedule.rate, schedule.weight_decay),
        ([p for p in trainable if id(p) not in scales and p.ndim < 2], schedule.rate, 0.0),
        ([p for p in trainable if id(p) in scales], schedule.scale_rate, 0.0),
    ]
    if not trainable:
        raise InputError("The network has no trainable parameter: set requires_grad on what is to be trained.")
    given = [{"params": p, "lr": rate, "peak": rate, "weight_decay": decay} for p, rate, decay in groups if p]
    if schedule.optimizer == "sgd":
        return torch.optim.SGD(given, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(given)


def set_rates(optimizer: torch.optim.Optimizer, share: float) -> None:
    """Give each group of `optimizer_of` this share of its peak rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share


def share_of_peak(step: int, steps: int, schedule: Schedule) -> float:
    """Return the rate in step 0 … steps − 1, as a share of the peak: a line up, then half a cosine down."""
    warm = round(schedule.warmup * steps)
    if step < warm:
        return (step + 1) / (warm + 1)
    turn = (step - warm) / max(steps - warm - 1, 1)
    return schedule.final + (1 - schedule.final) * (1 + math.cos(math.pi * turn)) / 2
