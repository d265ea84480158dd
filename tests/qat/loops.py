"""Small networks with fake quantizers, and samples to train them on."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from quantlab.qat.fake_quant import FakeQuantize

torch.set_num_threads(1)  # on tensors this small several threads only wait for each other


class QuantizedLinear(nn.Linear):
    """A linear layer whose input and weight are fake-quantized."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        amax = self.weight.detach().abs().amax(1)
        self.quantize_weight = FakeQuantize("weight", amax / 7, axis=0, low=-8, high=7)
        self.quantize_input = FakeQuantize("input", torch.tensor(4 / 127))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(self.quantize_input(x), self.quantize_weight(self.weight), self.bias)


def network(seed: int = 0, *, dropout: float = 0.0, norm: bool = True) -> nn.Sequential:
    """Return a net from [N, 6] to [N, 3]."""
    torch.manual_seed(seed)
    return nn.Sequential(
        QuantizedLinear(6, 16),
        nn.BatchNorm1d(16) if norm else nn.Identity(),
        nn.ReLU(),
        nn.Dropout(dropout),
        QuantizedLinear(16, 3),
    )


def samples(count: int = 96, seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    """Return batches of 32 whose class is the largest of three sums of two inputs."""
    x = torch.randn(count, 6, generator=torch.Generator().manual_seed(seed))
    labels = (x[:, :3] + x[:, 3:]).argmax(1)
    return list(zip(torch.split(x, 32), torch.split(labels, 32), strict=True))


def accuracy(module: nn.Module) -> float:
    """Return the share that is right of samples that train nothing."""
    found = [(module(x).argmax(1) == labels).float().mean() for x, labels in samples(256, seed=1)]
    return float(torch.stack(found).mean())


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    """Tell whether two modules are the same, bit for bit."""
    theirs = other.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in one.state_dict().items())
