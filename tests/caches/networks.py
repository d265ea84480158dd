"""Small networks with every operator that ties scales together, and caches for them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import numpy_helper

from quantlab.calibration.trt_cache import CacheLine, CacheText, CalibrationCache
from quantlab.graph.model import Model, load_model

HEADER = "TRT-8601-EntropyCalibration2"
_JOINED = """
<ir_version: 8, opset_import: ["" : 17]>
joined (float[batch,3,8,8] image) => (float[batch,5] logits) {
  stem = Conv <pads = [1,1,1,1]> (image, w0, b0)
  act = Clip (stem, zero, six)
  pool = MaxPool <kernel_shape = [2,2], strides = [2,2]> (act)
  left = Conv (pool, w1)
  leftr = Relu (left)
  right = Conv (pool, w2)
  rightr = Relu (right)
  both = Concat <axis = 1> (leftr, rightr)
  mixed = Conv (both, w3)
  again = Conv (both, w4)
  sum = Add (mixed, again)
  sumr = Relu (sum)
  mean = GlobalAveragePool (sumr)
  flat = Flatten (mean)
  logits = Gemm <transB = 1> (flat, w5, b5)
}
"""
_SHAPES = {
    "w0": (6, 3, 3, 3), "b0": (6,), "w1": (4, 6, 1, 1), "w2": (4, 6, 1, 1), "w3": (8, 8, 1, 1), "w4": (8, 8, 1, 1),
    "w5": (5, 8), "b5": (5,),
}  # fmt: skip
_TWINS = """
<ir_version: 8, opset_import: ["" : 17]>
twins (float[batch,3,8,8] image) => (float[batch,4,8,8] out) {
  one = Conv (image, w)
  two = Conv (image, w)
  first = Relu (one)
  second = Relu (two)
  out = Add (first, second)
}
"""

SCALES = {
    "image": 0.02, "stem": 0.08, "act": 6 * 2048.5 / 2048 / 127, "pool": 6 * 2048.5 / 2048 / 127, "left": 0.055, "leftr": 0.051, "right": 0.052, "rightr": 0.051,
    "both": 0.051, "mixed": 0.06, "again": 0.07, "sum": 0.09, "sumr": 0.085, "mean": 0.03, "flat": 0.03, "logits": 0.1,
}  # fmt: skip
"""What a calibrator might have found: one scale on both sides of MaxPool, Concat and Flatten."""


def joined(seed: int = 0) -> onnx.ModelProto:
    """Return a network with ReLU6, MaxPool, Concat, Add, pooling and a classifier."""
    return _with(_JOINED, _SHAPES, {"zero": 0.0, "six": 6.0}, seed)


def twins() -> onnx.ModelProto:
    """Return a network with two branches that nothing tells apart."""
    return _with(_TWINS, {"w": (4, 3, 1, 1)}, {}, 0)


def model(seed: int = 0) -> Model:
    """Return `joined` as a model."""
    return load_model(joined(seed))


def text(scales: Mapping[str, float], header: str = HEADER) -> CacheText:
    """Return a cache's text with these scales, rounded to float32."""
    lines = (CacheLine(i + 2, name, float(np.float32(scale))) for i, (name, scale) in enumerate(scales.items()))
    return CacheText(header, tuple(lines))


def cache(scales: Mapping[str, float] = SCALES, header: str = HEADER) -> CalibrationCache:
    """Return a cache with these scales, rounded to float32."""
    return CalibrationCache(header, {name: float(np.float32(scale)) for name, scale in scales.items()})


def _with(
    source: str, shapes: Mapping[str, tuple[int, ...]], numbers: Mapping[str, float], seed: int
) -> onnx.ModelProto:
    proto = onnx.parser.parse_model(source)
    draw = np.random.default_rng(seed)
    values = {name: draw.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    values |= {name: np.float32(value) for name, value in numbers.items()}
    proto.graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in values.items())
    return proto
