"""Two small models to read, write and damage."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper, parser


def small_model(opset: int = 17) -> onnx.ModelProto:
    return parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : {opset}]>
        net (float[N,3] x) => (float[N,2] y)
        <float[3,2] w = {{1,2,3,4,5,6}}, float[2] b = {{0.5,-0.5}}>
        {{ [gemm] y = Gemm(x, w, b) }}""")


def wide_model() -> onnx.ModelProto:
    """Two matrices of 4 KiB, which a light copy leaves out, and a bias that stays inside."""
    weights = np.random.default_rng(3).normal(size=(2, 32, 32)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["h"], "first"),
        helper.make_node("MatMul", ["h", "w1"], ["k"], "second"),
        helper.make_node("Add", ["k", "b"], ["y"], "add"),
    ]
    tensors = [numpy_helper.from_array(w, f"w{i}") for i, w in enumerate(weights)]
    tensors.append(numpy_helper.from_array(np.ones(32, np.float32), "b"))
    x, y = (helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["N", 32]) for n in "xy")
    graph = helper.make_graph(nodes, "wide", [x], [y], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
