"""The float networks whose Q/DQ form TensorRT-RTX must take, each with a data set of a few samples."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx

from quantlab.numerics.arrays import Tensors
from tests.graph.nets import net

_SAME = "<pads = [1, 1, 1, 1]>"
_DATA = Path(__file__).parents[3] / "calib_data"
_CUBE = (8, 8, 3, 3)


def fashion() -> tuple[onnx.ModelProto, Tensors]:
    pixels = np.load(_DATA / "calibration.npz")["image"][:32].transpose(0, 3, 1, 2)
    proto = onnx.load(_DATA / "fashion_net.onnx")
    return proto, {proto.graph.input[0].name: ((pixels / 255 - 0.2860) / 0.3530).astype(np.float32)}


def residual_add() -> tuple[onnx.ModelProto, Tensors]:
    text = (
        f"g (float[N,8,8,8] x) => (float[N,5] y) {{ a = Conv{_SAME}(x, w1) \n r = Relu(a) \n c = Conv{_SAME}(r, w2) \n"
        f"s = Add(c, r) \n t = Relu(s) \n e = Conv{_SAME}(t, w3) \n {_head('e')} }}"
    )
    return net(text, w1=_CUBE, w2=_CUBE, w3=_CUBE, wh=(5, 8)), _images(8)


def concat() -> tuple[onnx.ModelProto, Tensors]:
    text = (
        f"g (float[N,8,8,8] x) => (float[N,5] y) {{ a = Conv{_SAME}(x, w1) \n r = Relu(a) \n c = Conv{_SAME}(x, w2) \n"
        f"q = Sigmoid(c) \n k = Concat<axis = 1>(r, q) \n e = Conv{_SAME}(k, w3) \n {_head('e')} }}"
    )
    return net(text, w1=_CUBE, w2=_CUBE, w3=(8, 16, 3, 3), wh=(5, 8)), _images(8)


def depthwise() -> tuple[onnx.ModelProto, Tensors]:
    text = (
        "g (float[N,8,8,8] x) => (float[N,5] y) { a = Conv<group = 8, pads = [1, 1, 1, 1]>(x, w1, b1) \n"
        f"r = Clip(a, zero, six) \n e = Conv(r, w2) \n {_head('e')} }}"
    )
    proto = net(text, w1=(8, 1, 3, 3), b1=(8,), w2=(8, 8, 1, 1), wh=(5, 8))
    limits = (("zero", 0.0), ("six", 6.0))
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(np.array(v, "f"), name) for name, v in limits)
    return proto, _images(8)


def transposed_convolution() -> tuple[onnx.ModelProto, Tensors]:
    text = (
        "g (float[N,8,8,8] x) => (float[N,5] y) { a = ConvTranspose<strides = [2, 2]>(x, w1) \n r = Relu(a) \n"
        f"c = ConvTranspose<group = 2>(r, w2) \n e = Conv{_SAME}(c, w3) \n {_head('e')} }}"
    )
    return net(text, w1=(8, 6, 2, 2), w2=(6, 4, 3, 3), w3=_CUBE, wh=(5, 8)), _images(8)


def attention() -> tuple[onnx.ModelProto, Tensors]:
    text = (
        "g (float[N,6,16] x) => (float[N,6,5] y) { n = LayerNormalization<axis = -1>(x, g1, b1) \n"
        "q = MatMul(n, wq) \n k = MatMul(n, wk) \n v = MatMul(n, wv) \n t = Transpose<perm = [0, 2, 1]>(k) \n"
        "s = MatMul(q, t) \n p = Softmax<axis = -1>(s) \n o = MatMul(p, v) \n m = MatMul(o, wo) \n r = Add(m, x) \n"
        "h = LayerNormalization<axis = -1>(r, g2, b2) \n u = MatMul(h, w1) \n a = Relu(u) \n y = MatMul(a, w2) }"
    )
    square = dict.fromkeys(("wq", "wk", "wv", "wo"), (16, 16))
    proto = net(text, **square, g1=(16,), b1=(16,), g2=(16,), b2=(16,), w1=(16, 32), w2=(32, 5))
    return proto, {"x": np.random.default_rng(5).normal(size=(16, 6, 16)).astype("f")}


NETS: dict[str, Callable[[], tuple[onnx.ModelProto, Tensors]]] = {
    "fashion_net": fashion,
    "residual add": residual_add,
    "concat": concat,
    "depthwise": depthwise,
    "transposed convolution": transposed_convolution,
    "attention": attention,
}


def _head(tensor: str) -> str:
    return f"p = GlobalAveragePool({tensor}) \n f = Flatten(p) \n y = Gemm<transB = 1>(f, wh)"


def _images(channels: int) -> Tensors:
    return {"x": np.random.default_rng(5).normal(size=(16, channels, 8, 8)).astype("f")}
