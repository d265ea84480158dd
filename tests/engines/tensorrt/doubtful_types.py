"""Doubtful element types, operators on integers, and pairs torn apart."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from tests.engines.tensorrt.doubtful_case import Case, Fate
from tests.engines.tensorrt.doubtful_models import (
    PAIR,
    blocked,
    convolution,
    through,
    typed,
    vector,
)

_PARSER: Fate = "parser refuses"
_INTEGERS = "TensorRT's rules for Q/DQ say nothing of operators on integers between Q and DQ: no fusion looks for them"

TYPES = [
    Case(
        "INT32 bias behind DQ",
        convolution(
            node="c = DequantizeLinear<axis = 0>(b, ws, bz) \n y = Conv<pads = [1, 1, 1, 1]>(d, v, c)",
            b=np.arange(4, dtype=np.int32),
            bz=np.zeros(4, np.int32),
        ),
        _PARSER,
        "error",
        "int32-bias",
        "Int32",
    ),
    Case(
        "INT8 bias behind DQ",
        convolution(
            node="c = DequantizeLinear(b, s, z) \n y = Conv<pads = [1, 1, 1, 1]>(d, v, c)",
            b=np.arange(4, dtype=np.int8),
        ),
        "builds",
        "silent",
    ),
    Case(
        "INT32 quantized",
        vector(through(PAIR), x="int32"),
        _PARSER,
        "error",
        "float-input",
        "must have type Float, Half, or BFloat16",
    ),
    Case(
        "INT16",
        vector(through(PAIR), opset=21, z=np.int16(0)),
        _PARSER,
        "error",
        "integer-type",
        "Failed to import initializer",
    ),
    Case(
        "UINT16",
        vector(through(PAIR), opset=21, z=np.uint16(0)),
        _PARSER,
        "error",
        "integer-type",
        "Failed to import initializer",
    ),
    Case(
        "FP8 E5M2",
        vector(through(PAIR), opset=19, z=typed("z", TensorProto.FLOAT8E5M2)),
        _PARSER,
        "error",
        "integer-type",
        "Failed to import initializer",
    ),
    Case(
        "FP8 E4M3",
        vector(through(PAIR), opset=19, z=typed("z", TensorProto.FLOAT8E4M3FN, value=0)),
        "builds",
        "silent",
        older=("error", "integer-type"),
    ),
    Case("INT4 weights in blocks", blocked(22), "builds", "silent", older=("error", "integer-type")),
    Case("UINT4 weights in blocks", blocked(21), _PARSER, "error", "integer-type", "Failed to import initializer"),
    Case("INT8 weights in blocks", blocked(TensorProto.INT8), "builds", "warning", "block", older=("error", "block")),
    Case(
        "INT4 activation",
        vector(through(PAIR), opset=21, z=typed("z", 22, value=0)),
        "builds",
        "warning",
        "int4-activation",
        older=("error", "integer-type"),
    ),
    Case(
        "float16 scale, float32 beside it",
        vector(
            "q = QuantizeLinear(x, s, z) \n d = DequantizeLinear(q, h, z) \n y = Add(d, x)",
            opset=19,
            h=np.float16(0.05),
        ),
        _PARSER,
        "error",
        "mixed-types",
        "same input types",
    ),
    Case(
        "float16 scale of a float32 input",
        vector(through("q = QuantizeLinear(x, h, z) \n d = DequantizeLinear(q, s, z)"), opset=19, h=np.float16(0.05)),
        "builds",
        "warning",
        "scale-type",
    ),
    Case(
        "float16 throughout",
        vector(through(PAIR), x="float16", y="float16[2,8]", opset=19, s=np.float16(0.05)),
        "builds",
        "silent",
    ),
    # operators on integers
    Case(
        "QLinearConv",
        convolution(
            "q = QuantizeLinear(x, s, z) \n",
            "",
            "o = QLinearConv<pads = [1, 1, 1, 1]>(q, s, z, w, ws, wz, s, z) \n y = DequantizeLinear(o, s, z)",
        ),
        _PARSER,
        "error",
        "integer-operator",
    ),
    Case(
        "QLinearMatMul",
        vector(
            "q = QuantizeLinear(x, s, z) \n o = QLinearMatMul(q, s, z, i, s, z, s, z) \n y = DequantizeLinear(o, s, z)",
            i=np.ones((8, 8), np.int8),
        ),
        _PARSER,
        "error",
        "integer-operator",
    ),
    Case(
        "ConvInteger",
        convolution(
            "q = QuantizeLinear(x, s, z) \n",
            "o = ConvInteger<pads = [1, 1, 1, 1]>(q, w) \n",
            "c = Cast<to = 1>(o) \n y = Mul(c, s)",
        ),
        _PARSER,
        "error",
        "integer-operator",
    ),
    Case(
        "MatMulInteger",
        vector(
            "q = QuantizeLinear(x, s, z) \n o = MatMulInteger(q, i) \n c = Cast<to = 1>(o) \n y = Mul(c, s)",
            i=np.ones((8, 8), np.int8),
        ),
        _PARSER,
        "error",
        "integer-operator",
    ),
    Case(
        "DynamicQuantizeLinear",
        vector("q, s, z = DynamicQuantizeLinear(x) \n y = DequantizeLinear(q, s, z)"),
        _PARSER,
        "error",
        "integer-operator",
    ),
    # pairs torn apart
    Case("Q writes an output", vector("y = QuantizeLinear(x, s, z)", y="int8[2,8]"), "builds", "silent"),
    Case(
        "DQ reads an INT8 input",
        vector("d = DequantizeLinear(x, s, z) \n y = Relu(d)", x="int8"),
        "builds",
        "note",
        "integer-input",
    ),
    Case("Q that nobody reads", vector("q = QuantizeLinear(x, s, z) \n y = Relu(x)"), "builds", "warning", "dead"),
    Case(
        "two pairs in a row",
        vector(
            through(f"{PAIR.replace('d =', 'e =')} \n r = QuantizeLinear(e, s, z) \n d = DequantizeLinear(r, s, z)")
        ),
        "builds",
        "warning",
        "double",
    ),
    Case(
        "Transpose between Q and DQ",
        vector("q = QuantizeLinear(x, s, z) \n t = Transpose(q) \n y = DequantizeLinear(t, s, z)", y="float[8,2]"),
        "builds",
        "warning",
        "missing-dequantize",
    ),
    Case(
        "Clip between Q and DQ",
        vector(
            through("q = QuantizeLinear(x, s, z) \n c = Clip(q, a, b) \n d = DequantizeLinear(c, s, z)"),
            a=np.int8(-127),
            b=np.int8(127),
        ),
        "builds",
        "error",
        "missing-dequantize",
        why=_INTEGERS,
    ),
    Case(
        "Add between Q and DQ",
        vector("q = QuantizeLinear(x, s, z) \n a = Add(q, q) \n y = DequantizeLinear(a, s, z)"),
        "builds",
        "error",
        "missing-dequantize",
        why=_INTEGERS,
    ),
    Case(
        "weight in float",
        convolution(weight="", node="y = Conv<pads = [1, 1, 1, 1]>(d, f)"),
        "builds",
        "warning",
        "partly-quantized",
    ),
    Case(
        "activation in float",
        convolution("", node="y = Conv<pads = [1, 1, 1, 1]>(x, v)"),
        "builds",
        "warning",
        "partly-quantized",
    ),
    Case(
        "pair between Conv and Relu",
        convolution(
            node="c = Conv<pads = [1, 1, 1, 1]>(d, v) \n e = QuantizeLinear(c, s, z) \n g = DequantizeLinear(e, s, z) \n y = Relu(g)"
        ),
        "builds",
        "warning",
        "fusion",
    ),
    # old operators
    Case(
        "opset 12, one scale",
        convolution(weight="v = DequantizeLinear(w, s, z) \n", opset=12),
        "builds",
        "warning",
        "opset",
    ),
    Case(
        "opset 12, a scale a channel",
        convolution(weight="v = DequantizeLinear(w, ws, wz) \n", opset=12),
        "builds",
        "error",
        "opset",
        why="scales a channel came with opset 13, where the default is axis 1; below, TensorRT takes axis 0",
    ),
]
