"""Networks, data and tables that the tests of tuning share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import onnx

from quantlab import engines
from quantlab.builder import QuantizeOptions, quantize
from quantlab.calibration.calibrate import calibrate
from quantlab.calibration.provenance import DataIdentity
from quantlab.calibration.scale_table import ScaleTable
from quantlab.calibration.schemes import Affine
from quantlab.collector.collect import collect
from quantlab.data.batch import Batch
from quantlab.data.fingerprint import hash_batch, identify
from quantlab.graph.model import Model, load_model
from quantlab.numerics.arrays import AnyArray, Tensors
from quantlab.tuning.candidate import Candidate
from tests.graph.nets import net, net_of
from tests.networks import image_batch, small_cnn

SAME = "<pads = [1, 1, 1, 1]>"


@dataclass(frozen=True)
class Rows:
    """A data set in memory."""

    inputs: Tensors
    batch: int = 5
    labels: AnyArray | None = None
    name: str = "rows"
    named: bool = False

    @property
    def identity(self) -> DataIdentity:
        return identify(self.name, hash_batch(Batch(self.inputs)))

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def __iter__(self) -> Iterator[Batch]:
        for start in range(0, len(self), self.batch):
            part = slice(start, start + self.batch)
            labels = None if self.labels is None else self.labels[part]
            rows = {name: values[part] for name, values in self.inputs.items()}
            names = tuple(f"{self.name}[{i}]" for i in range(len(self))[part]) if self.named else ()
            yield Batch(rows, labels=labels, names=names)


def smooth(count: int, *, channels: int = 3, size: int = 16, seed: int = 0) -> AnyArray:
    """Return float32 [count, channels, size, size] whose neighbours are correlated, as in photographs."""
    noise = np.random.default_rng(seed).normal(size=(count, channels, size + 4, size + 4))
    windows = np.lib.stride_tricks.sliding_window_view(noise, (5, 5), axis=(2, 3))
    return (windows.mean(axis=(-2, -1)) * 5 + 0.5).astype(np.float32)


def matmul_net() -> onnx.ModelProto:
    """Two matrices with biases, one without, on sequences, and a head."""
    text = (
        "g (float[N,T,12] x) => (float[N,T,4] y) { a = MatMul(x, w1) \n b = Add(a, b1) \n r = Relu(b) \n"
        "c = MatMul(r, w2) \n s = Sigmoid(c) \n d = MatMul(s, w3) \n e = Add(b3, d) \n y = MatMul(e, w4) }"
    )
    return net(text, w1=(12, 16), b1=(16,), w2=(16, 8), w3=(8, 8), b3=(8,), w4=(8, 4))


def grouped_net() -> onnx.ModelProto:
    """A grouped, a depthwise and a transposed convolution, with and without bias."""
    text = (
        f"g (float[N,4,8,8] x) => (float[N,3,8,8] y) {{ a = Conv<group = 2, pads = [1, 1, 1, 1]>(x, w1, b1) \n"
        f'r = Relu(a) \n b = Conv<group = 8, auto_pad = "SAME_UPPER">(r, w2) \n q = Relu(b) \n'
        f"t = ConvTranspose{SAME}(q, w3, b3) \n u = Relu(t) \n y = Conv(u, w4) }}"
    )
    return net(text, w1=(8, 2, 3, 3), b1=(8,), w2=(8, 1, 3, 3), w3=(8, 6, 3, 3), b3=(6,), w4=(3, 6, 1, 1))


def spread_net() -> onnx.ModelProto:
    """Three convolutions whose channels differ in size by up to eight octaves, which equalization takes back."""
    random = np.random.default_rng(3)
    sizes = [2.0 ** random.integers(-4, 5, 8) for _ in range(2)]
    text = (
        "g (float[N,3,8,8] x) => (float[N,5] y) { a = Conv(x, w1) \n r = Relu(a) \n b = Conv(r, w2) \n q = Relu(b) \n"
        "c = Conv(q, w3) \n g1 = GlobalAveragePool(c) \n y = Flatten(g1) }"
    )
    weights = {name: random.normal(size=shape) for name, shape in (("w1", (8, 3)), ("w2", (8, 8)), ("w3", (5, 8)))}
    weights["w1"] *= sizes[0][:, None]
    weights["w2"] *= sizes[1][:, None] / sizes[0]
    weights["w3"] /= sizes[1]
    return net_of(text, **{name: values.astype("f")[:, :, None, None] for name, values in weights.items()})


def token_net() -> onnx.ModelProto:
    """Three normalised matrix products on sequences; two channels are outliers by their gamma, as in transformers."""
    random = np.random.default_rng(4)
    gamma = np.ones(12, "f")
    gamma[[2, 7]] = 60
    text = "g (float[N,T,12] x) => (float[N,T,12] y) { "
    before = "x"
    for i in range(4):
        text += f"n{i} = LayerNormalization({before}, gamma, beta) \n a{i} = MatMul(n{i}, w{i}) \n r{i} = Relu(a{i}) \n"
        before = f"r{i}"
    weights = {f"w{i}": random.normal(size=(12, 12)).astype("f") / (8 * gamma[:, None] ** 0.5) for i in range(4)}
    return net_of(text + f"y = Identity({before}) }}", gamma=gamma, beta=np.zeros(12, "f"), **weights)


def classifier(*, batch: str | int = "batch", seed: int = 0) -> onnx.ModelProto:
    """Return `small_cnn` with the mean of its logits taken off, so that every class is chosen."""
    model = small_cnn(batch=batch, seed=seed)
    mean = outputs(small_cnn(seed=seed), {"image": image_batch(64, 0)}).mean(axis=0)
    (bias,) = (each for each in model.graph.initializer if each.name == "b3")
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) - mean, "b3"))
    return model


def classes(count: int, *, seed: int = 1, wrong: int = 10, batch: int = 16, name: str = "images") -> Rows:
    """Return samples of `classifier`, labelled with its own answers, every `wrong`-th with another class."""
    rows = {"image": image_batch(count, seed)}
    labels = outputs(classifier(), rows).argmax(axis=1).astype(np.int64)
    labels[::wrong] = (labels[::wrong] + 1) % 5
    return Rows(rows, batch, labels, name)


def tokens(count: int = 24) -> Rows:
    """Return sequences of 6 tokens for `matmul_net` and `token_net`."""
    return Rows({"x": np.random.default_rng(0).normal(size=(count, 6, 12)).astype("f")}, 16)


def candidate_of(model: onnx.ModelProto, inputs: Tensors, target: str = "tensorrt") -> Candidate:
    """Return the candidate with min-max scales."""
    return Candidate(load_model(model), table_of(model, inputs, target), QuantizeOptions(target=target))


def table_of(model: onnx.ModelProto, inputs: Tensors, target: str = "tensorrt") -> ScaleTable:
    """Return min-max scales."""
    with engines.ort(model, expose="quantizable", target=target, threads=1) as engine:
        found = calibrate(collect(engine, [dict(inputs)]), scheme=Affine("uint8") if target == "ort" else None)
    return replace(found, provenance=None)


def int8_outputs(model: Model | onnx.ModelProto, table: ScaleTable, inputs: Tensors, target: str) -> AnyArray:
    """Return the first output of the quantized model, simulated."""
    built = quantize(model, table, options=QuantizeOptions(target=target))
    with engines.ort(built.model, optimize=False, threads=1) as engine:
        return np.array(next(iter(engine.run(inputs).values())))


def outputs(model: onnx.ModelProto, inputs: Tensors) -> AnyArray:
    """Return the first output in FP32."""
    with engines.ort(model, threads=1) as engine:
        return np.array(next(iter(engine.run(inputs).values())))
