"""Small real networks that several parts' tests run."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from quantlab.numerics.arrays import F32


def small_cnn(*, batch: str | int = "batch", seed: int = 0) -> onnx.ModelProto:
    """Conv, ReLU6, Pad, Conv, Relu, GlobalAveragePool, Flatten, Gemm on [batch,3,12,12]."""
    rng = np.random.default_rng(seed)

    def constant(name: str, value: object, dtype: type = np.float32) -> TensorProto:
        return numpy_helper.from_array(np.asarray(value, dtype), name)

    constants = [
        constant("w1", rng.standard_normal((8, 3, 3, 3))),
        constant("b1", rng.standard_normal(8)),
        constant("w2", rng.standard_normal((6, 8, 3, 3)) / 3),
        constant("w3", rng.standard_normal((6, 5))),
        constant("b3", rng.standard_normal(5)),
        constant("zero", 0.0),
        constant("six", 6.0),
        constant("pads", [0, 0, 1, 1, 0, 0, 1, 1], np.int64),
    ]
    nodes = [
        helper.make_node("Conv", ["image", "w1", "b1"], ["conv1"], "n1"),
        helper.make_node("Clip", ["conv1", "zero", "six"], ["relu6"], "n2"),
        helper.make_node("Pad", ["relu6", "pads"], ["padded"], "n3"),
        helper.make_node("Conv", ["padded", "w2"], ["conv2"], "n4"),
        helper.make_node("Relu", ["conv2"], ["relu"], "n5"),
        helper.make_node("GlobalAveragePool", ["relu"], ["pool"], "n6"),
        helper.make_node("Flatten", ["pool"], ["flat"], "n7"),
        helper.make_node("Gemm", ["flat", "w3", "b3"], ["logits"], "n8"),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 3, 12, 12])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, 5])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def image_batch(count: int, seed: int = 1) -> F32:
    """Return float32 [count,3,12,12]."""
    return np.random.default_rng(seed).standard_normal((count, 3, 12, 12)).astype(np.float32)
