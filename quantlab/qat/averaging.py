"""The exponential moving average of a module's parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from quantlab.errors import UsageError


class Average:
    """Averages of the trainable parameters, scales included: a ← d · a + (1 − d) · p after each step.

    d is the smaller of `decay` and (1 + n) / (10 + n) in step n, as TensorFlow's ExponentialMovingAverage has it, so
    that the start counts little.

    Parameters
    ----------
    module
        Its parameters are the first averages.
    decay
        Inside 0 … 1.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        if not 0 < decay < 1:
            raise UsageError(f"The decay of an average lies inside 0 … 1, as 0.999 does, not at {decay}.")
        self._decay, self._steps = decay, 0
        self._means = {name: p.detach().clone() for name, p in module.named_parameters() if p.requires_grad}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Take a step's parameters in."""
        self._steps += 1
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        for name, parameter in module.named_parameters():
            if name in self._means:
                self._means[name].lerp_(parameter.detach(), 1 - decay)

    @contextmanager
    def applied(self, module: nn.Module) -> Iterator[None]:
        """Give the module the averages for the time of the block."""
        kept = {name: p.detach().clone() for name, p in module.named_parameters() if name in self._means}
        self.apply(module)
        try:
            yield
        finally:
            _write(module, kept)

    def apply(self, module: nn.Module) -> None:
        """Give the module the averages."""
        _write(module, self._means)

    def state(self) -> dict[str, object]:
        """Return what `restore` takes."""
        return {"steps": self._steps, "means": self._means}

    def restore(self, steps: int, means: Mapping[str, Tensor]) -> None:
        """Go on from a saved state."""
        self._steps = steps
        for name, mean in means.items():
            self._means[name].copy_(mean)


@torch.no_grad()
def _write(module: nn.Module, values: Mapping[str, Tensor]) -> None:
    for name, parameter in module.named_parameters():
        if name in values:
            parameter.copy_(values[name])
