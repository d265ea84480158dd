"""Trains a small net whose activation is HSwish, and exports it twice: as `quantlab::HSwish`, and spelled out.

An `autograd.Function` is opaque to the exporter; its `symbolic` says which node stands for it. The second file has the
same weights and tensor names, with the node replaced by ONNX's own operators: what the custom layer is compared with.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

DOMAIN, OPERATOR = "quantlab", "HSwish"
OPSET = 13
MEAN, STD = 0.2860, 0.3530
EPOCHS, BATCH, RATE = 12, 50, 4e-3
SETS = Path(__file__).parents[2] / "calib_data"


class HSwish(torch.autograd.Function):
    """`x · relu6(x + 3) / 6`, rounded after each step in this order, here as in every other implementation."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * torch.clamp(x + 3, 0, 6) / 6

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grad * torch.where(x.abs() < 3, (2 * x + 3) / 6, (x >= 3).to(x.dtype))

    @staticmethod
    def symbolic(g: Any, x: Any) -> Any:
        # The type goes into the file. No tool could infer it, and quantlab would keep all that follows in float.
        return g.op(f"{DOMAIN}::{OPERATOR}", x).setType(x.type())


class Activation(nn.Module):
    """The function as a module: it gives the exported node its name."""

    def forward(self, x: Tensor) -> Tensor:
        return HSwish.apply(x)


class Net(nn.Module):
    """Float32 [N,1,28,28], normalised, to logits [N,10]: five convolutions, two of them depthwise."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = block(1, 32, kernel=3)
        self.depthwise1 = block(32, 32, kernel=3, stride=2, groups=32)
        self.pointwise1 = block(32, 64)
        self.depthwise2 = block(64, 64, kernel=3, stride=2, groups=64)
        self.pointwise2 = block(64, 128)
        self.average = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classify = nn.Linear(128, 10)

    def forward(self, image: Tensor) -> Tensor:
        x = self.depthwise1(self.stem(image))
        x = self.pointwise2(self.depthwise2(self.pointwise1(x)))
        return self.classify(self.flatten(self.average(x)))


class Block(nn.Module):
    """Convolution, batch norm and HSwish."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv, self.act = conv, Activation()
        self.norm: nn.Module = nn.BatchNorm2d(conv.out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.conv(x)))

    def fold(self) -> None:
        """Make the batch norm part of the convolution, whose weights keep their names."""
        self.conv, self.norm = fuse_conv_bn_eval(self.conv, self.norm), nn.Identity()


def block(inputs: int, outputs: int, *, kernel: int = 1, stride: int = 1, groups: int = 1) -> Block:
    return Block(nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False))


def train() -> Net:
    """Return a net trained on the shipped calibration and tuning images, batch norms folded; about 20 s on 2 cores."""
    images, labels = map(torch.cat, zip(*(read(f"{name}.npz") for name in ("calibration", "tuning")), strict=True))
    net = Net()
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=0.02)
    steps = EPOCHS * (len(images) // BATCH)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(images)).split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(images[rows]), labels[rows]).backward()
            optimizer.step()
            rate.step()
    net.eval()
    for child in net.children():
        if isinstance(child, Block):
            child.fold()
    return net


def read(name: str) -> tuple[Tensor, Tensor]:
    """Return normalised images float32 [N,1,28,28] and labels int64 [N]."""
    with np.load(SETS / name) as data:
        pixels = torch.from_numpy(data["image"][..., 0].copy())[:, None].float()
        return (pixels / 255 - MEAN) / STD, torch.from_numpy(data["label"].copy())


def export(net: Net, path: Path) -> None:
    """Write the net with its custom nodes."""
    torch.onnx.export(
        net,
        (torch.zeros(2, 1, 28, 28),),
        path,
        input_names=["image"],
        output_names=["logits"],
        dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
        opset_version=OPSET,
        custom_opsets={DOMAIN: 1},
        dynamo=False,
    )


def spelled_out(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with each custom node replaced by HardSigmoid and Mul, its output's name kept."""
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    del plain.graph.node[:], plain.graph.value_info[:], plain.opset_import[:]
    plain.opset_import.extend(entry for entry in model.opset_import if entry.domain != DOMAIN)
    for node in model.graph.node:
        plain.graph.node.extend(parts(node) if is_custom(node) else [node])
    onnx.checker.check_model(plain, full_check=True)
    return onnx.shape_inference.infer_shapes(plain)


def parts(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    gate = node.output[0].replace(OPERATOR, "HardSigmoid")
    named = node.name.replace(OPERATOR, "{}").format
    return [
        onnx.helper.make_node("HardSigmoid", node.input, [gate], named("HardSigmoid"), alpha=1 / 6, beta=0.5),
        onnx.helper.make_node("Mul", [node.input[0], gate], node.output, named("Mul")),
    ]


def is_custom(node: onnx.NodeProto) -> bool:
    return (node.domain, node.op_type) == (DOMAIN, OPERATOR)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, metavar="DIR")
    out = parser.parse_args().out
    torch.manual_seed(0)
    torch.set_num_threads(2)  # the order of summation, and so the weights, depends on it
    torch.use_deterministic_algorithms(True)
    net = train()
    images, labels = read("evaluation.npz")
    with torch.inference_mode():
        print(f"top-1 on evaluation.npz: {(net(images).argmax(1) == labels).float().mean().item():.4f}")
    export(net, out / "hswish_net.onnx")
    onnx.save(spelled_out(onnx.load(out / "hswish_net.onnx")), out / "hswish_builtin.onnx")


if __name__ == "__main__":
    main()
