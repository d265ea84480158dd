"""Small networks whose modules get the quantizers of other libraries."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Chain(nn.Module):
    """Conv, BatchNorm, ReLU, MaxPool, depthwise Conv, ReLU, ConvTranspose, ReLU, average pooling, Linear on [n,3,12,12].

    Every convolution's input is a tensor that TensorRT quantizes too, so that Q/DQ stand where the quantizers do.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
        self.pool = nn.MaxPool2d(2)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.relu = nn.ReLU()
        self.up = nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.average = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(4, 5)

    def forward(self, image: Tensor) -> Tensor:
        hidden = self.relu(self.depthwise(self.pool(self.stem(image))))
        return self.fc(self.average(self.relu(self.up(hidden))).flatten(1))


class Tokens(nn.Module):
    """A Linear on [n,7,6], called twice, a subclass of Linear with its own forward, and a join of two branches."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Linear(6, 6)
        self.own = Doubled(6, 6)
        self.left, self.right = nn.Linear(6, 3), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.own(self.shared(torch.relu(self.shared(x)))))
        return self.left(x) + self.right(x)


class Doubled(nn.Linear):
    """A subclass that computes something of its own."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's own name
        return nn.functional.linear(input, self.weight, self.bias) * 2


def chain(seed: int = 0) -> Chain:
    """Return a network with trained-looking BatchNorm: factors of both signs, far from 1."""
    generator = torch.Generator().manual_seed(seed)
    network = Chain()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * (0.3 if "weight" in name else 0.1))
        norm = network.stem[1]
        assert isinstance(norm, nn.BatchNorm2d)
        assert isinstance(norm.running_mean, Tensor)
        assert isinstance(norm.running_var, Tensor)
        norm.weight.copy_(torch.tensor([1.5, -0.7, 0.3, 2.0, -1.2, 0.9, 1.1, -0.4]))
        norm.running_mean.copy_(torch.randn(8, generator=generator) * 0.2)
        norm.running_var.copy_(torch.rand(8, generator=generator) + 0.2)
    return network.eval()


def tokens(seed: int = 0) -> Tokens:
    """Return a network with random weights."""
    torch.manual_seed(seed)
    return Tokens().eval()


def images(count: int = 4, seed: int = 1) -> Tensor:
    """Return float32 [count,3,12,12]."""
    return torch.randn(count, 3, 12, 12, generator=torch.Generator().manual_seed(seed))
