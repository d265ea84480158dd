"""TensorRT-RTX, strongly typed as TensorRT 11 is, takes quantlab's own Q/DQ: parsed and built, without a GPU."""

from __future__ import annotations

import functools

import numpy as np
import onnx
import pytest

import quantlab as ql
from quantlab.calibration.scale_table import ScaleTable
from quantlab.engines import ort
from quantlab.engines.tensorrt.build import build
from quantlab.errors import InputError
from quantlab.graph.model import load_model
from quantlab.graph.placement import Head
from quantlab.graph.qdq import WeightForm
from quantlab.graph.target import Target
from quantlab.graph.weight_only import store_weights
from tests.engines.tensorrt.doubtful_models import convolution
from tests.engines.tensorrt.float_nets import NETS
from tests.engines.tensorrt.oracle import Oracle


@functools.cache
def calibrated(name: str) -> tuple[onnx.ModelProto, ScaleTable]:
    proto, feeds = NETS[name]()
    with ort(proto, expose="all") as engine:
        return proto, ql.calibrate(ql.collect(engine, [feeds]))


@pytest.mark.parametrize("name", NETS)
def test_the_float_net_builds(name: str, rtx: Oracle) -> None:
    verdict = rtx.ask(calibrated(name)[0])
    assert verdict.errors == ()
    assert verdict.plan > 0


@pytest.mark.parametrize("head", ["float", "int8"])
@pytest.mark.parametrize("weights", ["qdq", "int8"])
@pytest.mark.parametrize("target", ["tensorrt@10.3", "tensorrt@11.0"])
@pytest.mark.parametrize("name", NETS)
def test_the_quantized_net_builds_and_the_linter_has_notes_at_most(
    name: str, target: str, weights: WeightForm, head: Head, rtx: Oracle
) -> None:
    proto, table = calibrated(name)
    options = ql.QuantizeOptions(target=target, weights=weights, head=head)
    model = ql.quantize(proto, table, options=options).model
    verdict = rtx.ask(model.proto)
    assert (verdict.errors, verdict.warnings) == ((), ())
    assert verdict.plan > 0
    kinds = [node.op_type for node in model.proto.graph.node]
    assert verdict.quantizers == (kinds.count("QuantizeLinear"), kinds.count("DequantizeLinear"))
    assert verdict.quantizers[1] > 0
    assert {f.severity for f in ql.lint_qdq(load_model(model), Target.parse(target))} <= {"note"}


@pytest.mark.parametrize("name", NETS)
def test_weights_alone_in_int8_build(name: str, rtx: Oracle) -> None:
    model = store_weights(load_model(NETS[name]()[0]), target="tensorrt@11.0").model
    verdict = rtx.ask(model.proto)
    assert verdict.errors == ()
    assert verdict.plan > 0
    assert verdict.quantizers[1] > 0


@pytest.mark.parametrize("name", NETS)
def test_quantlabs_own_build_makes_the_plan(name: str, rtx: Oracle) -> None:
    proto, table = calibrated(name)
    model = ql.quantize(proto, table, options=ql.QuantizeOptions(target="tensorrt@11.0")).model
    plan = build(model, library="tensorrt_rtx")
    assert len(plan.data) == plan.card.size > 0
    assert (plan.card.library, plan.card.scales) == ("tensorrt_rtx", "Q/DQ")
    assert plan.card.model == model.digest


def test_quantlabs_own_build_refuses_with_the_node_and_the_parsers_sentence(rtx: Oracle) -> None:
    with pytest.raises(InputError, match=r"QuantizeLinear0.*Non-zero zero point is not supported"):
        build(convolution(z=np.int8(3)), library="tensorrt_rtx")
