"""A small chain of convolutions whose weak place is known, for the tests of sensitivity and mixed precision."""

from __future__ import annotations

from dataclasses import replace

import onnx

from quantlab.builder import QuantizeOptions
from quantlab.calibration.scale_table import ScaleTable
from quantlab.graph.model import load_model
from quantlab.numerics.arrays import Tensors
from quantlab.tuning.candidate import Candidate
from quantlab.tuning.scoring import Scorer
from tests.graph.nets import net
from tests.tuning.nets import Rows, smooth, table_of

CHAIN = (
    "g (float[N,3,8,8] x) => (float[N,5] y) { a = Conv(x, w1) \n ra = Relu(a) \n b = Conv(ra, w2) \n rb = Relu(b) \n"
    "c = Conv(rb, w3) \n rc = Relu(c) \n d = Conv(rc, w4) \n rd = Relu(d) \n g1 = GlobalAveragePool(rd) \n"
    "f = Flatten(g1) \n y = Gemm<transB = 1>(f, w5) }"
)
SHAPES = {"w1": (8, 3, 1, 1), "w2": (4, 8, 1, 1), "w3": (12, 4, 1, 1), "w4": (6, 12, 1, 1), "w5": (5, 6)}
COARSE = "Conv4"
"""The convolution whose input `coarse` spoils."""


def chain() -> onnx.ModelProto:
    return net(CHAIN, **SHAPES)


def inputs(count: int = 24, size: int = 8) -> Tensors:
    return {"x": smooth(count, size=size)}


def subject(proto: onnx.ModelProto, data: Tensors, table: ScaleTable | None = None) -> tuple[Scorer, Candidate]:
    model = load_model(proto)
    candidate = Candidate(model, table or table_of(proto, data), QuantizeOptions(target="tensorrt@8.6"))
    return Scorer.begin(model, Rows(data), threads=1), candidate


def coarse(factor: int = 8) -> tuple[Scorer, Candidate]:
    """Return the chain with one scale, of `COARSE`'s input, so many times too large; a power of two."""
    data = inputs()
    table = table_of(chain(), data)
    spoilt = replace(table["rb"], scale=(table["rb"].scale[0] * factor,))
    return subject(chain(), data, table.with_rows([spoilt]))
