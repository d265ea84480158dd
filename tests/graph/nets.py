"""Small networks in ONNX's text form, for the tests of the graph part."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

OPSET = 17
_SAME = "<pads = [1, 1, 1, 1]>"


def net(text: str, **shapes: tuple[int, ...]) -> onnx.ModelProto:
    """Return the model `text` with named nodes and a random float32 initializer of each given shape."""
    random = np.random.default_rng(0)
    return net_of(text, **{name: random.normal(size=shape).astype("f") for name, shape in shapes.items()})


def net_of(text: str, **constants: NDArray[np.generic]) -> onnx.ModelProto:
    """Return the model `text` with these initializers; nodes are named by operator and number."""
    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : {OPSET}]> {text}')
    proto.graph.initializer.extend(numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items())
    for index, node in enumerate(proto.graph.node):
        node.name = f"{node.op_type}{index}"
    return proto


def residual_net() -> onnx.ModelProto:
    """Convolutions, a residual Add, clips, padding, max pooling, a concat, average pooling and a classifier."""
    text = (
        f"g (float[N,3,16,16] x) => (float[N,5] y) {{ p = Pad(x, pads) \n c1 = Conv<strides = [2, 2]>(p, w1, b1) \n"
        f"a1 = Clip(c1, zero, six) \n c2 = Conv{_SAME}(a1, w2, b2) \n a2 = Relu(c2) \n c3 = Conv{_SAME}(a2, w3, b3) \n"
        f"s = Add(c3, a1) \n m = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(s) \n c4 = Conv(m, w4, b4) \n"
        f"h = Sigmoid(c4) \n a4 = Mul(c4, h) \n k = Concat<axis = 1>(m, a4) \n c5 = Conv{_SAME}(k, w5, b5) \n"
        f"a5 = Relu(c5) \n g1 = GlobalAveragePool(a5) \n f = Flatten(g1) \n y = Gemm<transB = 1>(f, w6, b6) }}"
    )
    shapes = {"w1": (8, 3, 3, 3), "w2": (8, 8, 3, 3), "w3": (8, 8, 3, 3), "w4": (4, 8, 1, 1), "w5": (8, 12, 3, 3)}
    random = np.random.default_rng(1)
    arrays: dict[str, NDArray[Any]] = {
        name: random.normal(size=shape).astype("f") / np.sqrt(np.prod(shape[1:])) for name, shape in shapes.items()
    }
    arrays |= {f"b{i}": random.normal(size=n).astype("f") * 0.1 for i, n in enumerate((8, 8, 8, 4, 8, 5), 1)}
    arrays |= {"w6": random.normal(size=(5, 8)).astype("f"), "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1])}
    arrays |= {"zero": np.zeros((), "f"), "six": np.full((), 6, "f")}
    return net_of(text, **{k: v.astype("f") if v.dtype == np.float64 else v for k, v in arrays.items()})
