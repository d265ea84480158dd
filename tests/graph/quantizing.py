"""What the tests of Q/DQ models share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import numpy_helper

from quantlab.calibration.ranges import Range
from quantlab.calibration.scale_table import Scale, ScaleTable
from quantlab.calibration.schemes import Scheme, Symmetric
from quantlab.graph.model import load_model
from quantlab.graph.placement import Head, Target, place
from quantlab.graph.qdq import Quantized, insert_qdq
from quantlab.graph.view import Graph
from tests.graph.nets import net

TENSORRT = Target.parse("tensorrt@10.3")
ORT = Target.parse("ort")
SAME = "<pads = [1, 1, 1, 1]>"
INT8 = Symmetric()


def run(proto: onnx.ModelProto, feeds: dict[str, NDArray[Any]], *, optimized: Path | None = None) -> list[NDArray[Any]]:
    """Return the outputs; without optimization unless the optimized graph is to be written."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    if optimized is None:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    else:
        options.optimized_model_filepath = str(optimized)
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def ranges(proto: onnx.ModelProto, feeds: dict[str, NDArray[Any]]) -> dict[str, Range]:
    """Return smallest and largest value of every float activation."""
    exposed = onnx.ModelProto()
    exposed.CopyFrom(proto)
    names = Graph(proto).float_activations()
    del exposed.graph.output[:]
    exposed.graph.output.extend(onnx.helper.make_empty_tensor_value_info(n) for n in names if n not in feeds)
    values = dict(zip([o.name for o in exposed.graph.output], run(exposed, feeds), strict=True)) | feeds
    return {name: Range(float(values[name].min()), float(values[name].max())) for name in names}


def table(seen: dict[str, Range], scheme: Scheme = INT8) -> ScaleTable:
    return ScaleTable(tuple(Scale.of(n, scheme.params(r), scheme=scheme.name) for n, r in seen.items()))


def rows(**scales: float) -> ScaleTable:
    return ScaleTable(tuple(Scale(name, (float(np.float32(s)),)) for name, s in scales.items()))


def quantized(
    proto: onnx.ModelProto,
    scales: ScaleTable,
    target: Target = TENSORRT,
    head: Head = "int8",
    **options: Any,
) -> Quantized:
    got = insert_qdq(load_model(proto), scales, place(Graph(proto), target, head=head), **options)
    onnx.checker.check_model(got.proto, full_check=True)
    return got


def operators(proto: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in proto.graph.node]


def constant(proto: onnx.ModelProto, name: str) -> NDArray[Any]:
    return next(numpy_helper.to_array(i) for i in proto.graph.initializer if i.name == name)


def two_convolutions() -> onnx.ModelProto:
    text = "g (float[N,3,8,8] x) => (float[N,6,4,4] y) { a = Conv(x, w, b) \n r = Relu(a) \n y = Conv(r, v) }"
    return net(text, w=(4, 3, 3, 3), b=(4,), v=(6, 4, 3, 3))


FEED = {"x": np.random.default_rng(2).normal(size=(4, 3, 16, 16)).astype("f")}
