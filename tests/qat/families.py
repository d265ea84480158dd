"""The shapes of the networks that people start with, small and with random weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def unit(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1, act: str = "relu"
) -> nn.Sequential:
    """Convolution, BatchNorm and activation."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), ACTIVATIONS[act]())


ACTIVATIONS = {"relu": nn.ReLU, "hswish": nn.Hardswish, "silu": nn.SiLU, "none": nn.Identity}


class Squeeze(nn.Module):
    """Squeeze and excitation: a factor for each channel from its mean."""

    def __init__(self, channels: int, inner: int, gate: type[nn.Module], act: type[nn.Module] = nn.ReLU) -> None:
        super().__init__()
        self.down, self.act = nn.Conv2d(channels, inner, 1), act()
        self.up, self.gate = nn.Conv2d(inner, channels, 1), gate()

    def forward(self, x: Tensor) -> Tensor:
        scale: Tensor = self.gate(self.up(self.act(self.down(nn.functional.adaptive_avg_pool2d(x, 1)))))
        return x * scale


class Residual(nn.Module):
    """A branch that is added to its input, or to a projection of it."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module | None = None, *, relu: bool = True) -> None:
        super().__init__()
        self.branch, self.shortcut, self.act = branch, shortcut or nn.Identity(), nn.ReLU() if relu else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.act(self.branch(x) + self.shortcut(x))
        return found


class Classifier(nn.Module):
    """Features, global mean and a linear layer, as torchvision writes it."""

    def __init__(self, features: nn.Sequential, channels: int, classes: int = 10) -> None:
        super().__init__()
        self.features, self.avgpool, self.dropout = features, nn.AdaptiveAvgPool2d(1), nn.Dropout(0.2)
        self.fc = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.dropout(torch.flatten(self.avgpool(self.features(x)), 1)))
        return logits


def resnet_basic() -> nn.Module:
    """ResNet-18's blocks."""

    def block(inputs: int, outputs: int, stride: int) -> Residual:
        branch = nn.Sequential(unit(inputs, outputs, stride=stride), unit(outputs, outputs, act="none"))
        return Residual(branch, None if stride == 1 else unit(inputs, outputs, 1, stride, act="none"))

    stem = nn.Sequential(unit(3, 16, 7, 2), nn.MaxPool2d(3, 2, 1))
    return Classifier(nn.Sequential(stem, block(16, 16, 1), block(16, 32, 2), block(32, 32, 1)), 32)


def resnet_bottleneck() -> nn.Module:
    """ResNet-50's blocks."""

    def block(inputs: int, inner: int, stride: int) -> Residual:
        outputs = 4 * inner
        branch = nn.Sequential(
            unit(inputs, inner, 1), unit(inner, inner, 3, stride), unit(inner, outputs, 1, act="none")
        )
        return Residual(branch, None if inputs == outputs else unit(inputs, outputs, 1, stride, act="none"))

    stem = nn.Sequential(unit(3, 16, 7, 2), nn.MaxPool2d(3, 2, 1))
    return Classifier(nn.Sequential(stem, block(16, 8, 1), block(32, 8, 1), block(32, 16, 2)), 64)


class Vgg(nn.Module):
    """VGG with BatchNorm: a flatten into three linear layers."""

    def __init__(self) -> None:
        super().__init__()
        widths = ((3, 16), (16, 16), (16, 32), (32, 32))
        layers = [
            part for i, (a, b) in enumerate(widths) for part in (unit(a, b), *([nn.MaxPool2d(2)] if i % 2 else []))
        ]
        self.features, self.avgpool = nn.Sequential(*layers), nn.AdaptiveAvgPool2d((4, 4))
        hidden = (nn.Linear(512, 64), nn.ReLU(), nn.Dropout(), nn.Linear(64, 64), nn.ReLU(), nn.Dropout())
        self.classifier = nn.Sequential(*hidden, nn.Linear(64, 10))

    def forward(self, x: Tensor) -> Tensor:
        y = self.avgpool(self.features(x))
        logits: Tensor = self.classifier(y.view(y.size(0), -1))
        return logits


def mobilenet_v3() -> nn.Module:
    """Inverted residuals with hard-swish and hard-sigmoid gates."""

    def block(inputs: int, inner: int, outputs: int, stride: int, act: str) -> nn.Module:
        gate = Squeeze(inner, 8, nn.Hardsigmoid)
        parts = (unit(inputs, inner, 1, act=act), unit(inner, inner, 5, stride, inner, act), gate)
        branch = nn.Sequential(*parts, unit(inner, outputs, 1, act="none"))
        return Residual(branch, relu=False) if stride == 1 and inputs == outputs else branch

    features = (unit(3, 16, 3, 2, act="hswish"), block(16, 16, 16, 1, "relu"), block(16, 48, 24, 2, "hswish"))
    return Classifier(nn.Sequential(*features, block(24, 72, 24, 1, "hswish"), unit(24, 64, 1, act="hswish")), 64)


def efficientnet() -> nn.Module:
    """Inverted residuals with SiLU and sigmoid gates."""

    def block(inputs: int, outputs: int, stride: int) -> nn.Module:
        inner = 4 * inputs
        depthwise = unit(inner, inner, 3, stride, inner, "silu")
        gate = Squeeze(inner, max(inputs // 4, 4), nn.Sigmoid, nn.SiLU)
        branch = nn.Sequential(unit(inputs, inner, 1, act="silu"), depthwise, gate, unit(inner, outputs, 1, act="none"))
        return Residual(branch, relu=False) if stride == 1 and inputs == outputs else branch

    blocks = (block(16, 16, 1), block(16, 24, 2), block(24, 24, 1))
    return Classifier(nn.Sequential(unit(3, 16, 3, 2, act="silu"), *blocks, unit(24, 64, 1, act="silu")), 64)


def regnet_y() -> nn.Module:
    """RegNetY's blocks: grouped convolutions with gates; without the gates RegNetX."""

    def block(inputs: int, outputs: int, stride: int) -> Residual:
        grouped, gate = unit(outputs, outputs, 3, stride, outputs // 8), Squeeze(outputs, inputs // 4, nn.Sigmoid)
        branch = nn.Sequential(unit(inputs, outputs, 1), grouped, gate, unit(outputs, outputs, 1, act="none"))
        return Residual(branch, None if stride == 1 else unit(inputs, outputs, 1, stride, act="none"))

    return Classifier(nn.Sequential(unit(3, 16, 3, 2), block(16, 24, 2), block(24, 24, 1)), 24)


FAMILIES = {
    "ResNet, basic blocks": resnet_basic,
    "ResNet, bottlenecks": resnet_bottleneck,
    "VGG": Vgg,
    "MobileNetV3": mobilenet_v3,
    "EfficientNet": efficientnet,
    "RegNetY": regnet_y,
}


def family(name: str) -> nn.Module:
    """Return a network of a family, its normalisations settled on a few batches, in eval mode."""
    torch.manual_seed(0)
    net = FAMILIES[name]()
    for part in net.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
    with torch.no_grad():
        for seed in range(4):
            net.train()(images(32, seed=seed))
    return net.eval()


def images(count: int, *, seed: int) -> Tensor:
    """Return [count, 3, 32, 32] float32 of smooth patterns that differ in strength, so that the classes differ."""
    chance = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 3, 4, 4, generator=chance) * torch.rand(count, 1, 1, 1, generator=chance)
    return nn.functional.interpolate(coarse, size=(32, 32), mode="bilinear")
