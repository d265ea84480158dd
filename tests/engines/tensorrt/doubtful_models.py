"""Models with one illegal or doubtful thing each, made of one quantized operator."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Constant: TypeAlias = NDArray[Any] | np.generic | TensorProto

_NUMBERS: dict[str, Constant] = {
    "s": np.float32(0.05),  # scale and zero point of the activation, then those of the weight
    "z": np.int8(0),
    "ws": np.full(4, 0.01, "f"),
    "wz": np.zeros(4, np.int8),
    "w": np.arange(144).reshape(4, 4, 3, 3).astype(np.int8),
    "f": np.linspace(-1, 1, 144).reshape(4, 4, 3, 3).astype("f"),
}
_IN = "q = QuantizeLinear(x, s, z) \n d = DequantizeLinear(q, s, z) \n"
_WEIGHT = "v = DequantizeLinear<axis = 0>(w, ws, wz) \n"
_CONV = "y = Conv<pads = [1, 1, 1, 1]>(d, v)"


def model(text: str, *, opset: int = 17, **constants: Constant) -> onnx.ModelProto:
    """Return the model with the constants that it reads: those given, the others from the table above."""
    proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : {opset}]> g {text}')
    read = {name for node in proto.graph.node for name in node.input}
    for name, value in (_NUMBERS | constants).items():
        if name in read - {i.name for i in proto.graph.input} - {o for n in proto.graph.node for o in n.output}:
            ready = value if isinstance(value, TensorProto) else numpy_helper.from_array(np.asarray(value), name)
            proto.graph.initializer.append(ready)
    for index, node in enumerate(proto.graph.node):
        node.name = f"{node.op_type}{index}"
    return proto


def convolution(activation: str = _IN, weight: str = _WEIGHT, node: str = _CONV, **more: Any) -> onnx.ModelProto:
    """Return a convolution of x [2,4,8,8] with a square kernel; every part can be replaced."""
    return model(f"(float[2,4,8,8] x) => (float[2,4,8,8] y) {{ {activation} {weight} {node} }}", **more)


def matrix(axis: int | None, shape: tuple[int, ...], node: str, out: str = "2,6", scales: int = 0) -> onnx.ModelProto:
    """Return a quantized matrix product with scales along an axis of the weight."""
    where = "" if axis is None else f"<axis = {axis}>"
    count = scales or shape[1 if axis is None else axis]
    return model(
        f"(float[2,8] x) => (float[{out}] y) {{ {_IN} v = DequantizeLinear{where}(w, ws, wz) \n y = {node} }}",
        w=np.ones(shape, np.int8),
        ws=np.full(count, 0.01, "f"),
        wz=np.zeros(count, np.int8),
    )


def transposed(axis: int, group: int = 1) -> onnx.ModelProto:
    """Return a quantized transposed convolution with scales along an axis of the weight."""
    shape = (4, 6 // group, 3, 3)
    return model(
        f"(float[2,4,8,8] x) => (float[2,6,10,10] y) {{ {_IN} v = DequantizeLinear<axis = {axis}>(w, ws, wz) \n"
        f"y = ConvTranspose<group = {group}>(d, v) }}",
        w=np.ones(shape, np.int8),
        ws=np.full(shape[axis], 0.01, "f"),
        wz=np.zeros(shape[axis], np.int8),
    )


def vector(
    nodes: str, *, x: str = "float", y: str = "float[2,8]", opset: int = 17, **more: Constant
) -> onnx.ModelProto:
    """Return a model of x [2,8] without weights."""
    return model(f"({x}[2,8] x) => ({y} y) {{ {nodes} }}", opset=opset, **more)


def blocked(kind: int, *, size: int = 32, axis: int = 0) -> onnx.ModelProto:
    """Return a matrix product with a float activation and weights that have a scale a block."""
    shape = (64, 32)
    scales = tuple(n // size if i == axis else n for i, n in enumerate(shape))
    return model(
        f"(float[2,64] x) => (float[2,32] y) {{ v = DequantizeLinear<axis = {axis}, block_size = {size}>(w, ws, wz) \n"
        "y = MatMul(x, v) }",
        opset=21,
        w=typed("w", kind, shape),
        ws=np.full(scales, 0.01, "f"),
        wz=typed("wz", kind, scales, 0),
    )


def typed(name: str, kind: int, shape: tuple[int, ...] = (), value: int = 1) -> TensorProto:
    """Return a constant of an ONNX type that NumPy lacks."""
    count = int(np.prod(shape))
    return helper.make_tensor(name, kind, shape, np.full(count, value))


def through(pair: str) -> str:
    """Return the nodes of x, a pair, Relu, y."""
    return f"{pair} \n y = Relu(d)"


def with_scale(value: float) -> onnx.ModelProto:
    """Return the convolution with this scale of the activation."""
    return convolution(s=np.float32(value))


PAIR = "q = QuantizeLinear(x, s, z) \n d = DequantizeLinear(q, s, z)"
