"""What Q/DQ models compute, and which kernels ONNX Runtime runs them with."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from quantlab.calibration.ranges import Range
from quantlab.calibration.scale_table import Scale, ScaleTable
from quantlab.calibration.schemes import Affine, Scheme, Symmetric
from quantlab.graph.model import load_model
from quantlab.graph.normalise import normalise
from quantlab.graph.placement import Head, Target, place
from quantlab.graph.qdq import WeightForm, insert_qdq
from quantlab.graph.view import Graph
from tests.graph.nets import residual_net
from tests.graph.quantizing import (
    FEED,
    ORT,
    TENSORRT,
    operators,
    quantized,
    ranges,
    rows,
    run,
    table,
    two_convolutions,
)

RUNTIME = tuple(int(part) for part in onnxruntime.__version__.split(".")[:2])
"""ONNX Runtime 1.23 has no kernel for the Q/DQ of opset 23."""


@pytest.mark.parametrize("target", ["tensorrt@8.6", "tensorrt@10.3", "tensorrt@11.0", "ort"])
@pytest.mark.parametrize("head", ["float", "int8"])
@pytest.mark.parametrize("weights", ["qdq", "int8"])
def test_the_quantized_network_stays_close_to_the_float_one(target: str, head: Head, weights: WeightForm) -> None:
    proto = residual_net()
    got = quantized(proto, table(ranges(proto, FEED)), Target.parse(target), head, weights=weights).proto
    exact, near = run(proto, FEED)[0], run(got, FEED)[0]
    assert 20 * np.log10(np.linalg.norm(exact) / np.linalg.norm(exact - near)) > 25
    assert [o.name for o in got.graph.output] == ["y"]


@pytest.mark.parametrize("opset", [13, 19, 21, *([23] if RUNTIME >= (1, 24) else [])])
def test_every_opset_that_has_scales_a_channel_works(opset: int) -> None:
    proto = two_convolutions()
    proto.opset_import[0].version = opset
    proto.ir_version = 7 if opset == 13 else 10
    got = quantized(proto, rows(x=0.03, r=0.1)).proto
    feeds = {"x": FEED["x"][:, :, :8, :8]}
    assert run(got, feeds)[0].shape == (4, 6, 4, 4)


@pytest.mark.parametrize("scheme", [Symmetric(), Symmetric("uint8"), Affine("uint8"), Affine("int8")])
@pytest.mark.parametrize("head", ["float", "int8"])
def test_ort_runs_every_convolution_as_an_integer_one(tmp_path: Path, scheme: Scheme, head: Head) -> None:
    proto = residual_net()
    got = quantized(proto, table(ranges(proto, FEED), scheme), ORT, head, weights="int8").proto
    plain = run(got, FEED)[0]
    fused = run(got, FEED, optimized=tmp_path / "optimized.onnx")[0]
    found = Counter(operators(onnx.load(tmp_path / "optimized.onnx")))
    assert found["QLinearConv"] == 5
    assert found["QLinearAdd"] == 1
    assert found["QLinearConcat"] == 1
    assert found["QGemm"] == (head == "int8")
    assert not {"Conv", "FusedConv"} & found.keys()
    assert "Pad" not in found
    if isinstance(scheme, Affine):
        assert not {"Relu", "Clip"} & found.keys()
    assert np.abs(fused - plain).max() < 0.05 * np.abs(plain).max()


def test_symmetric_scales_give_ort_the_same_activations_as_tensorrt() -> None:
    proto = two_convolutions()
    seen = []
    for target in (TENSORRT, ORT):
        got = quantized(proto, rows(x=0.03, r=0.02, y=0.1), target).proto
        got.graph.output.append(onnx.helper.make_empty_tensor_value_info("r_dequantized"))
        seen.append(run(got, {"x": FEED["x"][:, :, :8, :8]})[1])
    steps = np.abs(seen[0] - seen[1]) / 0.02
    assert seen[0].max() == pytest.approx(127 * 0.02)
    assert np.mean(steps > 0.5) < 0.02  # an INT32 bias moves a value over the edge of a step now and then
    assert steps.max() < 1.5


@pytest.mark.reference
def test_ort_runs_all_49_convolutions_of_efficientnet_lite0_as_integer_ones(reference: Path, tmp_path: Path) -> None:
    model = normalise(load_model(reference / "models" / "efficientnet_lite0.onnx")).model
    placement = place(Graph(model.proto), ORT)
    row = Scale.of("any", Affine().params(Range(0.0, 6.0)), scheme="affine")
    scales = ScaleTable(tuple(replace(row, tensor=tensor) for tensor in placement.tensors))
    got = insert_qdq(model, scales, placement, weights="int8").proto
    run(got, {"input": np.zeros((1, 3, 224, 224), "f")}, optimized=tmp_path / "optimized.onnx")
    found = Counter(operators(onnx.load(tmp_path / "optimized.onnx")))
    assert (found["QLinearConv"], found["QLinearAdd"]) == (49, 9)
    assert not {"Conv", "FusedConv", "Pad", "Clip"} & found.keys()
