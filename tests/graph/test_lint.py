"""The Q/DQ linter."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from quantlab.calibration.scale_table import Scale, ScaleTable
from quantlab.graph.lint import Finding, lint_qdq
from quantlab.graph.model import load_model
from quantlab.graph.placement import Head, Target, place
from quantlab.graph.qdq import WeightForm, insert_qdq
from quantlab.graph.view import Graph
from tests.graph.nets import net, net_of, residual_net

TENSORRT = Target.parse("tensorrt")
SAME = "<pads = [1, 1, 1, 1]>"


def lint(proto: onnx.ModelProto, target: str = "tensorrt") -> tuple[Finding, ...]:
    return lint_qdq(load_model(proto), Target.parse(target))


def rules(proto: onnx.ModelProto, target: str = "tensorrt") -> list[tuple[str, str, str]]:
    return [(f.rule, f.severity, f.tensor) for f in lint(proto, target)]


def quantized(
    proto: onnx.ModelProto, target: str = "tensorrt", head: Head = "int8", weights: WeightForm = "int8"
) -> onnx.ModelProto:
    """Return the model with Q/DQ by quantlab, every scale 0.125."""
    placement = place(Graph(proto), Target.parse(target), head=head)
    table = ScaleTable(tuple(Scale(tensor, (0.125,)) for tensor in placement.tensors))
    return insert_qdq(load_model(proto), table, placement, weights=weights).proto


def convolution() -> onnx.ModelProto:
    text = "g (float[N,3,8,8] x) => (float[N,4,6,6] y) { c = Conv(x, w, b) \n y = Relu(c) }"
    return net(text, w=(4, 3, 3, 3), b=(4,))


def with_constant(proto: onnx.ModelProto, name: str, value: NDArray[np.generic]) -> onnx.ModelProto:
    stored = next(i for i in proto.graph.initializer if i.name == name)
    stored.CopyFrom(onnx.numpy_helper.from_array(np.asarray(value), name))
    return proto


def with_qdq(text: str, **constants: NDArray[np.generic]) -> onnx.ModelProto:
    """Return the model `text`, in which `d = DQ(t)` stands for a pair with scale 0.125."""
    pair = r"\2_q = QuantizeLinear(\2, s, z) \n \1 = DequantizeLinear(\2_q, s, z)"
    numbers = {"s": np.array(0.125, "f"), "z": np.array(0, np.int8)}
    return net_of(re.sub(r"(\w+) = DQ\((\w+)\)", pair, text), **numbers, **constants)


CUBE = np.ones((4, 4, 3, 3), np.int8)
FLOAT = np.ones((4, 4, 3, 3), np.float32)


# quantlab's own models


@pytest.mark.parametrize("target", ["tensorrt@8.6", "tensorrt@10.3", "tensorrt@11.0", "ort"])
@pytest.mark.parametrize("head", ["float", "int8"])
@pytest.mark.parametrize("weights", ["qdq", "int8"])
def test_quantlabs_own_models_have_neither_error_nor_warning(target: str, head: Head, weights: WeightForm) -> None:
    findings = lint(quantized(residual_net(), target, head, weights), target)
    assert [f for f in findings if f.severity != "note"] == []


@pytest.mark.parametrize("target", ["tensorrt@8.6", "tensorrt@10.3"])
def test_transposed_convolutions_are_clean_for_their_own_version_only(target: str) -> None:
    proto = net("g (float[N,4,8,8] x) => (float[N,6,9,9] y) { y = ConvTranspose(x, w) }", w=(4, 6, 2, 2))
    other = {"tensorrt@8.6": "tensorrt@10.3", "tensorrt@10.3": "tensorrt@8.6"}[target]
    assert rules(quantized(proto, target), target) == []
    (finding,) = lint(quantized(proto, target), other)
    assert (finding.rule, finding.severity) == ("weight-axis", "error")
    assert f"on {other}" in finding.message


def test_a_float_model_has_no_finding_but_that_it_is_one() -> None:
    (finding,) = lint(residual_net())
    assert (finding.rule, finding.severity) == ("no-qdq", "error")


# single steps


def test_a_scale_that_is_not_positive_is_an_error() -> None:
    for scale in (0.0, -1.0, np.nan, np.inf):
        proto = with_constant(quantized(convolution()), "x_scale", np.array(scale, "f"))
        assert rules(proto) == [("scale-positive", "error", "x")] * 2


def test_a_dead_channel_is_an_error() -> None:
    proto = with_constant(quantized(convolution()), "w_scale", np.array([1, 1, 0, 1], "f"))
    assert rules(proto) == [("scale-positive", "error", "w_quantized")]


def test_a_computed_scale_is_an_error() -> None:
    proto = with_qdq("g (float[N,4] x, float s2) => (float[N,4] y) { d = DQ(x) \n y = Neg(d) }")
    proto.graph.node[0].input[1] = "s2"
    assert rules(proto) == [("scale-constant", "error", "x")]


def test_a_zero_point_other_than_0_is_an_error_for_tensorrt_and_none_for_ort() -> None:
    proto = with_constant(quantized(convolution()), "x_zero_point", np.array(3, np.int8))
    assert rules(proto) == [("zero-point", "error", "x")] * 2
    assert "error" not in {f.severity for f in lint(proto, "ort")}


def test_a_uint8_zero_point_of_0_is_a_warning_for_tensorrt() -> None:
    proto = with_constant(quantized(convolution()), "x_zero_point", np.array(0, np.uint8))
    assert rules(proto) == [("uint8", "warning", "x")] * 2


def test_an_absent_zero_point_of_a_q_is_uint8() -> None:
    proto = quantized(convolution())
    for node in proto.graph.node[:2]:
        del node.input[2]
    assert rules(proto)[0] == ("uint8", "warning", "x")


def test_a_scale_a_channel_of_an_activation_is_an_error() -> None:
    proto = with_constant(quantized(convolution()), "x_scale", np.ones(3, "f"))
    with_constant(proto, "x_zero_point", np.zeros(3, np.int8))
    assert rules(proto) == [("per-channel-activation", "error", "x")] * 2


def test_scales_along_the_wrong_axis_are_an_error() -> None:
    proto = net("g (float[N,8] x) => (float[N,8] y) { y = Gemm<transB = 1>(x, w) }", w=(8, 8))
    got = quantized(proto)
    next(n for n in got.graph.node if n.name == "w_DequantizeLinear").attribute[0].i = 1
    (finding,) = lint(got)
    assert (finding.rule, finding.severity) == ("weight-axis", "error")
    assert "axis 1, but Gemm 'Gemm0' wants scales along axis 0" in finding.message


def test_too_few_scales_are_an_error() -> None:
    proto = with_constant(quantized(convolution()), "w_scale", np.ones(3, "f"))
    with_constant(proto, "w_zero_point", np.zeros(3, np.int8))
    assert rules(proto) == [("scale-length", "error", "w_quantized")]


def test_an_int32_bias_is_an_error_for_tensorrt_and_none_for_ort() -> None:
    placement = place(Graph(convolution()), Target.parse("ort"), head="int8")
    table = ScaleTable(tuple(Scale(t, (0.125,), (0,), "uint8", "affine") for t in placement.tensors))
    proto = insert_qdq(load_model(convolution()), table, placement).proto
    assert ("int32-bias", "error", "b_quantized") in rules(proto)
    assert rules(proto, "ort") == []


@pytest.mark.parametrize("operator", ["DynamicQuantizeLinear", "MatMulInteger"])
def test_operators_on_integers_are_an_error_for_tensorrt(operator: str) -> None:
    call = {"DynamicQuantizeLinear": "q, s, z = DynamicQuantizeLinear(x)", "MatMulInteger": "q = MatMulInteger(i, i)"}
    kind = {"DynamicQuantizeLinear": "uint8", "MatMulInteger": "int32"}[operator]
    proto = net(f"g (float[4,4] x, int8[4,4] i) => ({kind}[4,4] q) {{ {call[operator]} }}")
    assert rules(proto) == [("integer-operator", "error", "q")]
    assert rules(proto, "ort") == []


def test_an_old_opset_is_an_error_if_it_lacks_what_the_model_uses() -> None:
    proto = with_qdq("g (float[N,4] x) => (float[N,4] y) { d = DQ(x) \n y = Neg(d) }")
    proto.opset_import[0].version = 12
    assert rules(proto) == [("opset", "warning", "")]


def test_a_q_without_dq_and_a_pair_that_nobody_reads_are_found() -> None:
    text = "g (float[N,4] x) => (int8[N,2] y) { q = QuantizeLinear(x, s, z) \n y = Slice(q, a, b, c) }"
    numbers = {"s": np.ones((), "f"), "z": np.zeros((), np.int8)}
    proto = net_of(text, a=np.array([0]), b=np.array([2]), c=np.array([1]), **numbers)
    assert rules(proto) == [("missing-dequantize", "warning", "x")]
    proto.graph.node[1].CopyFrom(onnx.helper.make_node("Relu", ["q"], ["y"], "Relu1"))
    assert rules(proto) == [("missing-dequantize", "error", "x")]
    proto = with_qdq("g (float[N,4] x) => (float[N,4] y) { d = DQ(x) \n y = Neg(x) }")
    assert rules(proto) == [("dead", "warning", "x")]


def test_a_pair_straight_after_another_is_a_warning() -> None:
    proto = with_qdq("g (float[N,4] x) => (float[N,4] y) { d = DQ(x) \n e = DQ(d) \n y = Neg(e) }")
    assert rules(proto) == [("double", "warning", "d")]


def test_integers_from_outside_are_a_note() -> None:
    text = "g (int8[N,4] x) => (float[N,4] y) { y = DequantizeLinear(x, s, z) }"
    proto = net_of(text, s=np.ones((), "f"), z=np.zeros((), np.int8))
    assert rules(proto) == [("integer-input", "note", "x")]


def test_integers_that_another_q_and_a_transposition_made_are_none_from_outside() -> None:
    text = "g (float[2,4] x) => (float[4,2] y) { q = QuantizeLinear(x, s, z) \n t = Transpose(q) \n y = DequantizeLinear(t, s, z) }"
    proto = net_of(text, s=np.ones((), "f"), z=np.zeros((), np.int8))
    assert rules(proto) == [("missing-dequantize", "warning", "x")]


def test_a_computed_scale_is_a_warning_where_the_runtime_takes_it() -> None:
    proto = with_qdq("g (float[N,4] x, float s2) => (float[N,4] y) { d = DQ(x) \n y = Neg(d) }")
    proto.graph.node[0].input[1] = "s2"
    for target in ("tensorrt@11.0", "ort"):
        assert ("scale-constant", "warning", "x") in rules(proto, target)


def test_a_subnormal_scale_is_a_warning() -> None:
    proto = with_constant(quantized(convolution()), "x_scale", np.array(1e-40, "f"))
    assert rules(proto) == [("scale-subnormal", "warning", "x")] * 2


def test_a_dq_with_another_scale_than_its_q_is_a_warning() -> None:
    proto = with_qdq("g (float[N,4] x) => (float[N,4] y) { d = DQ(x) \n y = Neg(d) }")
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array(0.5, "f"), "other"))
    proto.graph.node[1].input[1] = "other"
    assert rules(proto) == [("pair", "warning", "x")]
    assert ("pair", "warning", "x") in rules(proto, "ort")


@pytest.mark.parametrize("axis", [4, -5])
def test_an_axis_that_the_weight_lacks_is_an_error(axis: int) -> None:
    proto = quantized(convolution())
    next(n for n in proto.graph.node if n.name == "w_DequantizeLinear").attribute[0].i = axis
    assert rules(proto) == [("axis", "error", "w_quantized")]


def test_scales_without_an_axis_are_a_warning_where_the_parser_takes_another_default() -> None:
    proto = quantized(net("g (float[N,8] x) => (float[N,8] y) { y = MatMul(x, w) }", w=(8, 8)))
    del next(n for n in proto.graph.node if n.name == "w_DequantizeLinear").attribute[:]
    assert rules(proto) == [("axis-absent", "warning", "w_quantized")]
    assert rules(proto, "tensorrt@11.0") == []


def test_one_zero_point_for_several_scales_is_an_error_for_tensorrt() -> None:
    proto = with_constant(quantized(convolution()), "w_zero_point", np.array(0, np.int8))
    assert rules(proto) == [("zero-point-length", "error", "w_quantized")]


def test_an_absent_zero_point_is_an_error_for_tensorrt_8() -> None:
    proto = with_qdq("g (float[N,4] x) => (float[N,4] y) { d = DQ(x) \n y = Neg(d) }")
    for node in proto.graph.node[:2]:
        del node.input[2]
    assert ("zero-point-absent", "error", "x") in rules(proto, "tensorrt@8.6")
    assert ("zero-point-absent", "error", "x") not in rules(proto, "tensorrt@10.0")


def test_a_weight_stored_as_uint8_is_an_error_for_tensorrt() -> None:
    proto = with_constant(quantized(convolution()), "w_quantized", np.ones((4, 3, 3, 3), np.uint8))
    with_constant(proto, "w_zero_point", np.zeros(4, np.uint8))
    assert rules(proto) == [("uint8", "error", "w_quantized")]


def test_int16_is_an_error_for_tensorrt() -> None:
    proto = with_constant(quantized(convolution()), "x_zero_point", np.array(0, np.int16))
    proto.opset_import[0].version = 21
    assert rules(proto) == [("integer-type", "error", "x")] * 2
    assert "integer-type" not in {rule for rule, _, _ in rules(proto, "ort")}


def test_integers_are_not_quantized_for_tensorrt() -> None:
    proto = with_qdq("g (int32[N,4] x) => (float[N,4] y) { d = DQ(x) \n y = Neg(d) }")
    assert rules(proto) == [("float-input", "error", "x")]
    assert "error" not in {f.severity for f in lint(proto, "ort")}


def test_two_float_types_in_one_operator_are_an_error() -> None:
    proto = with_qdq("g (float[N,4] x) => (float[N,4] y) { d = DQ(x) \n y = Add(d, x) }")
    proto.opset_import[0].version = 19
    with_constant(proto, "s", np.array(0.125, np.float16))
    assert rules(proto) == [("scale-type", "warning", "x"), ("mixed-types", "error", "x")]


# placement


def test_a_pair_between_convolution_and_activation_is_a_warning() -> None:
    text = (
        "g (float[N,4,8,8] x) => (float[N,4,6,6] y) "
        "{ d = DQ(x) \n v = DequantizeLinear(w, s, z) \n c = Conv(d, v) \n e = DQ(c) \n "
        "y = Relu(e) }"
    )
    (finding,) = lint(with_qdq(text, w=CUBE))
    assert (finding.rule, finding.tensor, finding.node) == ("fusion", "c", "Relu6")
    assert finding.fix == "Quantize 'y' instead."
    assert str(finding) == f"warning [fusion] Relu6: {finding.message} {finding.fix}"


def test_a_pair_between_sigmoid_and_product_is_a_warning() -> None:
    text = (
        "g (float[N,4,8,8] x) => (float[N,4,6,6] y) "
        "{ d = DQ(x) \n v = DequantizeLinear(w, s, z) \n c = Conv(d, v) \n h = Sigmoid(c) \n "
        "e = DQ(h) \n y = Mul(c, e) }"
    )
    assert rules(with_qdq(text, w=CUBE)) == [("gate", "warning", "h")]


RESIDUAL = (
    "g (float[N,4,8,8] x) => (float[N,4,8,8] y) { r = Neg(x) \n d = DQ(r) \n v = DequantizeLinear(w, s, z) \n"
    f"c = Conv{SAME}(d, v) \n"
)


def test_a_float_residual_input_is_a_warning() -> None:
    assert rules(with_qdq(RESIDUAL + "y = Add(c, r) }", w=CUBE)) == [("residual", "warning", "r")]


def test_a_quantized_residual_input_is_right() -> None:
    assert rules(with_qdq(RESIDUAL + "y = Add(c, d) }", w=CUBE)) == []


def test_a_pair_on_the_fused_branch_of_an_add_is_a_warning() -> None:
    proto = with_qdq(RESIDUAL + "e = DQ(c) \n y = Add(e, d) }", w=CUBE)
    assert rules(proto) == [("fused-branch", "warning", "c")]


def test_one_quantized_input_of_a_weighted_operator_is_a_warning() -> None:
    text = f"g (float[N,4,8,8] x) => (float[N,4,8,8] y) {{ d = DQ(x) \n y = Conv{SAME}(d, w) }}"
    assert rules(with_qdq(text, w=FLOAT)) == [("partly-quantized", "warning", "w")]


def test_different_scales_at_a_concat_are_a_warning() -> None:
    text = (
        "g (float[N,4] x, float[N,4] y) => (float[N,8] t) "
        "{ d = DQ(x) \n e = DQ(y) \n c = Concat<axis = 1>(d, e) \n t = DQ(c) }"
    )
    proto = with_qdq(text)
    assert rules(proto) == []
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array(0.5, "f"), "other"))
    for node in proto.graph.node[:2]:
        node.input[1] = "other"
    assert rules(proto) == [("concat", "warning", "x")]


def test_a_float_input_of_a_quantized_concat_is_a_warning() -> None:
    text = "g (float[N,4] x, float[N,4] y) => (float[N,8] t) { d = DQ(x) \n c = Concat<axis = 1>(d, y) \n t = DQ(c) }"
    assert rules(with_qdq(text)) == [("concat", "warning", "y")]


def test_average_pooling_with_one_quantized_side_is_found() -> None:
    after = with_qdq("g (float[N,4,8,8] x) => (float[N,4,1,1] t) { p = GlobalAveragePool(x) \n t = DQ(p) }")
    assert rules(after) == [("pooling", "warning", "x")]
    before = with_qdq("g (float[N,4,8,8] x) => (float[N,4,1,1] t) { d = DQ(x) \n t = GlobalAveragePool(d) }")
    assert rules(before) == [("pooling", "note", "t")]


def test_for_ort_a_convolution_without_q_behind_it_is_a_warning() -> None:
    assert rules(quantized(convolution()), "ort") == [
        ("unfused", "warning", "c"),
        ("int8-activation", "note", "x"),
    ]


@pytest.mark.reference
def test_the_adds_that_tensorrt_ran_apart_are_those_the_linter_names(reference: Path) -> None:
    folder = reference / "golden" / "trt-8.6"
    layers = json.loads(gzip.decompress((folder / "qdq_w8_b128.inspector.json.gz").read_bytes()), strict=False)[
        "Layers"
    ]
    apart = {layer["Name"].removeprefix("PWN(").removesuffix(")") for layer in layers if "/Add)" in layer["Name"]}
    findings = lint_qdq(load_model(folder / "efficientnet_lite0.qdq_w8.onnx"), Target.parse("tensorrt@8.6"))
    assert {f.node for f in findings if f.rule == "fused-branch"} == apart
    assert len(apart) == 9
    assert {f.severity for f in findings} == {"warning"}  # TensorRT built it
