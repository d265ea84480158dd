"""Networks, data and tables that the tests of the walk share."""

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
from quantlab.graph.model import Model
from quantlab.numerics.arrays import AnyArray, Tensors
from tests.graph.nets import net

SAME = "<pads = [1, 1, 1, 1]>"


@dataclass(frozen=True)
class Rows:
    """A data set in memory."""

    inputs: Tensors
    batch: int = 5

    @property
    def identity(self) -> DataIdentity:
        return identify("rows", hash_batch(Batch(self.inputs)))

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def __iter__(self) -> Iterator[Batch]:
        for start in range(0, len(self), self.batch):
            yield Batch({name: values[start : start + self.batch] for name, values in self.inputs.items()})


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
