"""A network with a residual Add, as float and with Q/DQ."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper, parser

_FLOAT = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N,8,4,4] image) => (float[N,8,4,4] y) {
  [c1] a = Conv <pads = [1,1,1,1]> (image, w1)
  [r1] b = Relu (a)
  [c2] c = Conv <pads = [1,1,1,1]> (b, w2)
  [add] d = Add (c, b)
  [soft] e = Softmax <axis = 1> (d)
  [c3] y = Conv (e, w3)
}
"""


def residual_net() -> onnx.ModelProto:
    proto = parser.parse_model(_FLOAT)
    draw = np.random.default_rng(0)
    for name, size in (("w1", 3), ("w2", 3), ("w3", 1)):
        weight = draw.normal(size=(8, 8, size, size)).astype(np.float32)
        proto.graph.initializer.append(numpy_helper.from_array(weight, name))
    return proto


def with_qdq(*tensors: str) -> onnx.ModelProto:
    """Return the network with Q and DQ behind these tensors; readers read what DQ writes."""
    proto = residual_net()
    constants = [numpy_helper.from_array(np.float32(0.1), "s"), numpy_helper.from_array(np.int8(0), "z")]
    proto.graph.initializer.extend(constants)
    for node in proto.graph.node:
        node.input[:] = [f"{name}_dequantized" if name in tensors else name for name in node.input]
    for name in tensors:
        pair = (
            ("QuantizeLinear", name, f"{name}_quantized"),
            ("DequantizeLinear", f"{name}_quantized", f"{name}_dequantized"),
        )
        for kind, source, out in pair:
            proto.graph.node.append(helper.make_node(kind, [source, "s", "z"], [out], f"{name}_{kind}"))
    return proto
