"""FashionNet: a small depthwise-separable network for 28×28 grey images."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn


class FashionNet(nn.Module):
    """Float32 [N,1,28,28], normalised, to logits [N,10].

    It has on purpose what quantization finds hard: depthwise convolutions,
    unbounded and non-monotonic activations (SiLU, hard-swish) next to bounded
    ones (ReLU6), residual adds and a concat, whose inputs differ in range.
    """

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.stem = conv(1, 24, nn.ReLU6(), kernel=3)
        self.pool = nn.MaxPool2d(2)
        self.widen = separable(24, 48)
        self.silu1 = Residual(48, 96, nn.SiLU())
        self.hard1 = Residual(48, 96, nn.Hardswish())
        self.down = Downsample(48)
        self.relu2 = Residual(96, 192, nn.ReLU6())
        self.relu3 = Residual(96, 192, nn.ReLU6())
        self.head = conv(96, 160, nn.ReLU6())
        self.average = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.dropout = nn.Dropout(0.2)
        self.classify = nn.Linear(160, classes)

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits."""
        x = self.widen(self.pool(self.stem(image)))
        x = self.down(self.hard1(self.silu1(x)))
        x = self.head(self.relu3(self.relu2(x)))
        return self.classify(self.dropout(self.flatten(self.average(x))))


class Residual(nn.Module):
    """Widen, filter each channel, narrow without activation, add the input."""

    def __init__(self, channels: int, inner: int, act: nn.Module) -> None:
        super().__init__()
        self.expand = conv(channels, inner, act)
        self.depthwise = conv(inner, inner, act, kernel=3, groups=inner)
        self.project = conv(inner, channels, nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        """Return the same shape."""
        return x + self.project(self.depthwise(self.expand(x)))


class Downsample(nn.Module):
    """Halve height and width, double the channels: max pool beside a learnt path."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(2)
        self.learnt = separable(channels, channels, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Return [N,2C,H/2,W/2]."""
        return torch.cat([self.pool(x), self.learnt(x)], dim=1)


def separable(inputs: int, outputs: int, *, stride: int = 1) -> nn.Sequential:
    """Return a depthwise 3×3 convolution with ReLU6, then a pointwise one with ReLU."""
    return nn.Sequential(
        OrderedDict(
            depthwise=conv(inputs, inputs, nn.ReLU6(), kernel=3, stride=stride, groups=inputs),
            pointwise=conv(inputs, outputs, nn.ReLU()),
        )
    )


def conv(
    inputs: int, outputs: int, act: nn.Module, *, kernel: int = 1, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """Return convolution, batch norm and activation; odd kernels keep the size."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(OrderedDict(conv=layer, norm=nn.BatchNorm2d(outputs, eps=0.01), act=act))
