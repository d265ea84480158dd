"""Models to normalise, and the check that a normalised model computes the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import numpy_helper, parser

from quantlab.graph.model import load_model
from quantlab.graph.normalise import Normalised, normalise

Arrays = Mapping[str, NDArray[Any]]
RNG = np.random.default_rng(11)


def model(text: str, **constants: NDArray[Any]) -> onnx.ModelProto:
    return at_opset(17, text, **constants)


def at_opset(opset: int, text: str, /, **constants: Any) -> onnx.ModelProto:
    imports = f'["" : {opset}, "acme" : 1, "local" : 1]'
    proto = parser.parse_model(f"<ir_version: 8, opset_import: {imports}> {text}")
    proto.graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in constants.items())
    return proto


def f32(values: list[float]) -> NDArray[np.float32]:
    return np.array(values, dtype=np.float32)


def i64(values: list[int]) -> NDArray[np.int64]:
    return np.array(values, dtype=np.int64)


def weights(*shape: int, scale: float = 0.3) -> NDArray[np.float32]:
    return (scale * RNG.normal(size=shape)).astype(np.float32)


def norm(channels: int, prefix: str = "") -> dict[str, NDArray[np.float32]]:
    return {
        f"{prefix}gamma": (1 + 0.2 * RNG.normal(size=channels)).astype(np.float32),
        f"{prefix}beta": weights(channels),
        f"{prefix}mean": weights(channels),
        f"{prefix}var": (0.5 + RNG.random(channels)).astype(np.float32),
    }


def run(proto: onnx.ModelProto, inputs: Arrays) -> list[NDArray[Any]]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    outputs: list[NDArray[Any]] = session.run(None, dict(inputs))
    # ONNX Runtime up to 1.23 returns untouched memory for an output that is an input.
    names = [output.name for output in proto.graph.output]
    return [inputs.get(name, value) for name, value in zip(names, outputs, strict=True)]


def check_equal(proto: onnx.ModelProto, inputs: Arrays) -> Normalised:
    """Normalise, and check that the result is valid and computes the same under the same output names."""
    result = normalise(load_model(proto))
    after = result.model.proto
    onnx.checker.check_model(after, full_check=True)
    assert [o.name for o in after.graph.output] == [o.name for o in proto.graph.output]
    for old, new in zip(run(proto, inputs), run(after, inputs), strict=True):
        np.testing.assert_allclose(new, old, rtol=1e-5, atol=1e-5 * float(np.abs(old).max(initial=0)))
    return result


def operators(result: Normalised) -> list[str]:
    return [node.op_type for node in result.model.proto.graph.node]


def image(*shape: int) -> dict[str, NDArray[np.float32]]:
    return {"x": RNG.normal(size=shape).astype(np.float32)}


def conv_norm(tail: str = "y = Relu(n)", outputs: str = "float[N,4,h,w] y") -> onnx.ModelProto:
    return model(f"""net (float[N,3,6,6] x) => ({outputs}) {{
        c = Conv(x, k, b) \n n = BatchNormalization(c, gamma, beta, mean, var) \n {tail} }}""",
        k=weights(4, 3, 3, 3), b=weights(4), **norm(4))  # fmt: skip
