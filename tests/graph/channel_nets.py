"""Networks whose channels can be scaled, random ones and a digits network with an injected spread of channels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from quantlab.graph.model import Model, load_model
from quantlab.graph.normalise import normalise
from quantlab.graph.probe import expose
from quantlab.numerics.arrays import F32
from tests.graph.nets import net
from tests.graph.quantizing import SAME, run

SIZE = 8
Feeds = dict[str, NDArray[Any]]


class RandomNet:
    """A convolutional network that grows by random steps; `tensor` holds `channels` of SIZE×SIZE values."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.tensor, self.channels = "x", 3

    def constant(self, array: Any, dtype: Any = np.float32) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array, dtype), name))
        return name

    def weight(self, *shape: int) -> str:
        """Weights whose rows differ in size by up to 8 octaves."""
        spread = 2.0 ** self.random.integers(-4, 4, (shape[0],) + (1,) * (len(shape) - 1))
        return self.constant(self.random.normal(size=shape) * spread / np.sqrt(np.prod(shape[1:])))

    def add(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        names = [f"t{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, f"{kind}{len(self.nodes)}", **attributes))
        return names[0]

    def conv(self, source: str, channels: int, *, groups: int = 1, bias: bool = True) -> str:
        inputs = [source, self.weight(channels, self.channels // groups, 3, 3)]
        inputs += [self.constant(self.random.normal(size=channels))] if bias else []
        return self.add("Conv", *inputs, pads=[1] * 4, group=groups)

    def grow(self) -> None:
        steps: list[Callable[[], None]] = [
            self.dense, self.depthwise, self.grouped, self.transposed, self.activation, self.pooling, self.moving,
            self.residual, self.concat, self.split, self.shuffle, self.gate, self.border, self.norm, self.scaled,
        ]  # fmt: skip
        steps[self.random.integers(len(steps))]()

    def dense(self) -> None:
        channels = int(self.random.choice([4, 8]))
        self.tensor, self.channels = self.conv(self.tensor, channels), channels

    def depthwise(self) -> None:
        self.tensor = self.conv(self.tensor, self.channels, groups=self.channels, bias=False)

    def grouped(self) -> None:
        if self.channels % 2 == 0:
            self.tensor, self.channels = self.conv(self.tensor, 6, groups=2), 6

    def transposed(self) -> None:
        groups = 2 if self.channels % 2 == 0 else 1
        weight = self.weight(self.channels, 6 // groups, 3, 3)
        self.tensor = self.add("ConvTranspose", self.tensor, weight, pads=[1] * 4, group=groups)
        self.channels = 6

    def activation(self) -> None:
        kind = self.random.choice(["Relu", "LeakyRelu", "PRelu", "Identity"])
        slope = [self.constant(self.random.random((self.channels, 1, 1)))] if kind == "PRelu" else []
        self.tensor = self.add(str(kind), self.tensor, *slope)

    def pooling(self) -> None:
        kind = str(self.random.choice(["MaxPool", "AveragePool"]))
        self.tensor = self.add(kind, self.tensor, kernel_shape=[3, 3], pads=[1] * 4)

    def moving(self) -> None:
        padded = self.add("Pad", self.tensor, self.constant([0, 0, 1, 1, 0, 0, 1, 1], np.int64))
        turned = self.add("Transpose", padded, perm=[0, 2, 3, 1])
        back = self.add("Transpose", turned, perm=[0, 3, 1, 2])
        starts, ends, axes = (self.constant(v, np.int64) for v in ([1, 1], [-1, -1], [2, 3]))
        self.tensor = self.add("Slice", back, starts, ends, axes)

    def residual(self) -> None:
        branch = self.add("Relu", self.conv(self.tensor, self.channels))
        self.tensor = self.add("Add", self.conv(branch, self.channels), self.tensor)

    def concat(self) -> None:
        one, other = self.conv(self.tensor, 4), self.conv(self.tensor, 2)
        self.tensor, self.channels = self.add("Concat", one, self.add("Relu", other), axis=1), 6

    def split(self) -> None:
        if self.channels % 2 == 0:
            half = self.channels // 2
            first = self.add("Split", self.tensor, self.constant([half, half], np.int64), outputs=2, axis=1)
            self.tensor, self.channels = self.add("Add", first, f"{first[:-1]}1"), half

    def shuffle(self) -> None:
        """Channel shuffle of two groups, as ShuffleNet has it."""
        if self.channels % 2 == 0:
            shape = self.constant([0, 2, self.channels // 2, SIZE, SIZE], np.int64)
            apart = self.add("Transpose", self.add("Reshape", self.tensor, shape), perm=[0, 2, 1, 3, 4])
            self.tensor = self.add("Reshape", apart, self.constant([0, -1, SIZE, SIZE], np.int64))

    def gate(self) -> None:
        """Squeeze and excitation."""
        pooled = self.add("GlobalAveragePool", self.tensor)
        inner = self.add("Conv", pooled, self.weight(4, self.channels, 1, 1))
        outer = self.add("Conv", self.add("Relu", inner), self.weight(self.channels, 4, 1, 1))
        self.tensor = self.add("Mul", self.tensor, self.add("Sigmoid", outer))

    def border(self) -> None:
        kind = str(self.random.choice(["HardSwish", "Clip", "Sigmoid", "Tanh"]))
        bounds = [self.constant(0.0), self.constant(6.0)] if kind == "Clip" else []
        self.tensor = self.add(kind, self.tensor, *bounds)

    def norm(self) -> None:
        """A normalisation that nothing before it can take in."""
        values = self.random.random((4, self.channels)) + 0.5
        before = self.add("Relu", self.tensor)
        self.tensor = self.add("BatchNormalization", before, *(self.constant(v) for v in values))

    def scaled(self) -> None:
        shape = (self.channels, 1, 1)
        scaled = self.add("Mul", self.tensor, self.constant(self.random.random(shape) + 0.5))
        self.tensor = self.add("Add", scaled, self.constant(self.random.normal(size=shape)))

    def finished(self, open_batch: bool = True) -> Model:
        """Return the network with a classifier of two layers behind it, normalised."""
        pooled = self.add("Flatten", self.add("AveragePool", self.tensor, kernel_shape=[4, 4], strides=[4, 4]))
        hidden = self.add("Gemm", pooled, self.weight(8, 4 * self.channels), self.constant(np.ones(8)), transB=1)
        logits = self.add("MatMul", self.add("Relu", hidden), self.weight(8, 5))
        self.nodes.append(helper.make_node("Add", [logits, self.constant(np.ones(5))], ["y"], "last"))
        batch = "N" if open_batch else 2
        graph = helper.make_graph(
            self.nodes,
            "random",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, SIZE, SIZE])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 5])],
            self.constants,
        )
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(proto, full_check=True)
        return normalise(load_model(proto)).model


def random_net(seed: int, steps: int = 10) -> Model:
    net = RandomNet(seed)
    net.dense()
    for _ in range(steps):
        net.grow()
    return net.finished(open_batch=bool(seed % 2))


def feeds(seed: int = 0) -> Feeds:
    return {"x": np.random.default_rng(seed).normal(size=(2, 3, SIZE, SIZE)).astype(np.float32)}


def difference(one: Model, other: Model, given: Feeds) -> float:
    """Return the largest difference of the outputs relative to the largest output."""
    pairs = zip(run(one.proto, given), run(other.proto, given), strict=True)
    return max(float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-30)) for a, b in pairs)


def spread_net(spread: float, seed: int = 0) -> Model:
    """Depthwise → ReLU → pointwise → hard-swish, three blocks; ReLU channels rescaled by exp(U(−ln S, ln S))."""
    random = np.random.default_rng(seed)
    net = RandomNet(seed)

    def plain(*shape: int) -> NDArray[Any]:
        return random.normal(size=shape) * np.sqrt(2 / np.prod(shape[1:]))

    stem = net.add("Conv", "x", net.constant(plain(16, 3, 3, 3)), pads=[1] * 4)
    net.tensor = net.add("HardSwish", stem)
    for _ in range(3):
        factor = np.exp(random.uniform(-np.log(spread), np.log(spread), 16))
        depthwise, bias = plain(16, 1, 3, 3), random.normal(size=16) * 0.1
        inner = net.add(
            "Conv",
            net.tensor,
            net.constant(depthwise * factor[:, None, None, None]),
            net.constant(bias * factor),
            pads=[1] * 4,
            group=16,
        )
        pointwise = net.constant(plain(16, 16, 1, 1) / factor[:, None, None])
        net.tensor = net.add("HardSwish", net.add("Conv", net.add("Relu", inner), pointwise))
    net.channels = 16
    return net.finished()


def of(proto: onnx.ModelProto) -> Model:
    return normalise(load_model(proto)).model


def two(between: str, **more: tuple[int, ...]) -> Model:
    """Two convolutions with `between` from c to r."""
    text = f"g (float[N,3,8,8] x) => (float[N,5,h,w] y) {{ c = Conv{SAME}(x, w, b) \n {between} \n y = Conv(r, v) }}"
    return of(net(text, w=(4, 3, 3, 3), b=(4,), v=(5, 4, 1, 1), **more))


def peaks_of(model: Model, axes: dict[str, int], given_feeds: Feeds) -> dict[str, F32]:
    exposed = expose(model.proto, tuple(axes))
    names = [o.name for o in exposed.graph.output]
    values = dict(zip(names, run(exposed, given_feeds), strict=True)) | given_feeds
    found = {}
    for name, axis in axes.items():
        others = tuple(i for i in range(values[name].ndim) if i != axis % values[name].ndim)
        found[name] = np.abs(values[name]).max(axis=others)
    return found


def channel_ranges(model: Model, tensor: str, given_feeds: Feeds) -> F32:
    return peaks_of(model, {tensor: 1}, given_feeds)[tensor]
