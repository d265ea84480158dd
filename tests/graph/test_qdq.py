"""The structure of Q/DQ models, and which scales they hold."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from quantlab.calibration.ranges import Range
from quantlab.calibration.scale_table import Scale, ScaleTable
from quantlab.calibration.schemes import UNUSED_SCALE, Affine, Symmetric
from quantlab.calibration.weight_methods import MaxAbs
from quantlab.errors import InputError
from quantlab.graph.model import load_model
from quantlab.graph.normalise import normalise
from quantlab.graph.placement import Target, place
from quantlab.graph.qdq import WeightForm, insert_qdq
from quantlab.graph.qdq_view import read_scales
from quantlab.graph.view import Graph
from quantlab.numerics.affine import QuantParams, fake_quantize
from tests.graph.nets import net, residual_net
from tests.graph.quantizing import (
    FEED,
    SAME,
    TENSORRT,
    constant,
    operators,
    quantized,
    ranges,
    rows,
    run,
    table,
    two_convolutions,
)

# structure


def test_a_tensor_stays_and_gets_a_quantized_and_a_dequantized_twin() -> None:
    got = quantized(two_convolutions(), rows(x=0.1, r=0.2)).proto
    nodes = {node.name: node for node in got.graph.node}
    assert list(nodes["x_QuantizeLinear"].input) == ["x", "x_scale", "x_zero_point"]
    assert list(nodes["x_QuantizeLinear"].output) == ["x_quantized"]
    assert list(nodes["x_DequantizeLinear"].input) == ["x_quantized", "x_scale", "x_zero_point"]
    assert list(nodes["Conv0"].input) == ["x_dequantized", "w_dequantized", "b"]
    assert list(nodes["Relu1"].input) == ["a"]
    assert list(nodes["Conv2"].input) == ["r_dequantized", "v_dequantized"]
    assert constant(got, "x_scale") == np.float32(0.1)
    assert constant(got, "r_zero_point").dtype == np.int8


def test_the_model_itself_is_not_changed() -> None:
    proto = two_convolutions()
    before = proto.SerializeToString()
    quantized(proto, rows(x=0.1, r=0.2))
    assert proto.SerializeToString() == before


def test_the_same_arguments_give_the_same_bytes() -> None:
    first, second = (quantized(residual_net(), table(ranges(residual_net(), FEED))).proto for _ in range(2))
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True)


@pytest.mark.parametrize("weights", ["qdq", "int8"])
def test_both_forms_of_weights_give_the_same_outputs(weights: WeightForm) -> None:
    proto = two_convolutions()
    feeds = {"x": FEED["x"][:, :, :8, :8]}
    got = quantized(proto, rows(x=0.03, r=0.1), weights=weights).proto
    w, v = (constant(proto, n) for n in "wv")
    exact = onnx.ModelProto()
    exact.CopyFrom(proto)
    for i, array in (("w", w), ("v", v)):
        scale = np.abs(array).max((1, 2, 3)) / np.float32(127)
        value = fake_quantize(array, QuantParams(scale, np.zeros(len(scale), np.int64), "int8", 0))
        next(t for t in exact.graph.initializer if t.name == i).CopyFrom(numpy_helper.from_array(value, i))
    exact.graph.output.append(onnx.helper.make_empty_tensor_value_info("r"))
    per = {n: QuantParams(np.array(s, "f"), np.array(0), "int8") for n, s in {"x": 0.03, "r": 0.1}.items()}
    _, r = run(exact, {"x": fake_quantize(feeds["x"], per["x"])})
    del exact.graph.node[:2], exact.graph.input[:], exact.graph.output[1:]
    exact.graph.input.append(onnx.helper.make_tensor_value_info("r", 1, ["N", 4, 6, 6]))
    (expected,) = run(exact, {"r": fake_quantize(r, per["r"])})
    np.testing.assert_allclose(run(got, feeds)[0], expected, rtol=1e-5, atol=1e-5)


def test_int8_weights_replace_the_float_ones_unless_somebody_else_reads_them() -> None:
    text = "g (float[N,8] x) => (float[N,8] y, float[8,8] z) { y = MatMul(x, w) \n z = Neg(v) \n u = MatMul(x, v) }"
    got = quantized(net(text, w=(8, 8), v=(8, 8)), rows(x=0.1), weights="int8").proto
    stored = {i.name: i.data_type for i in got.graph.initializer}
    assert "w" not in stored
    assert "v" in stored
    assert stored["w_quantized"] == onnx.TensorProto.INT8
    assert operators(got).count("QuantizeLinear") == 1


def test_a_name_that_is_taken_is_not_taken_again() -> None:
    text = (
        "g (float[N,8] x, float[N,8] x_scale) => (float[N,8] y, float[N,8] x_quantized) "
        "{ y = MatMul(x, w) \n x_quantized = Neg(x_scale) }"
    )
    got = quantized(net(text, w=(8, 8)), rows(x=0.1)).proto
    assert constant(got, "x_scale_1") == np.float32(0.1)
    assert [o.name for o in got.graph.output] == ["y", "x_quantized"]


def test_names_with_slashes_colons_and_spaces_survive() -> None:
    proto = two_convolutions()
    for node in proto.graph.node:
        node.input[:] = [f"/block 1/{t}:0" if t in {"a", "r"} else t for t in node.input]
        node.output[:] = [f"/block 1/{t}:0" if t in {"a", "r"} else t for t in node.output]
    got = quantized(proto, rows(**{"x": 0.1, "/block 1/r:0": 0.2})).proto
    assert "/block 1/r:0_quantized" in {t for node in got.graph.node for t in node.output}


def test_a_shared_weight_with_two_axes_gets_a_pair_for_each() -> None:
    text = "g (float[N,8] x) => (float[N,8] y) { a = MatMul(x, w) \n y = Gemm<transB = 1>(a, w) }"
    got = quantized(net(text, w=(8, 8)), rows(x=0.1, a=0.1)).proto
    axes = [n.attribute[0].i for n in got.graph.node if n.op_type == "DequantizeLinear" and n.attribute]
    assert axes == [1, 0]


def test_metadata_is_kept_as_json() -> None:
    got = quantized(two_convolutions(), rows(x=0.1, r=0.2), metadata={"table": "sha256:0", "a": "b"}).proto
    (entry,) = got.metadata_props
    assert entry.key == "quantlab"
    assert json.loads(entry.value) == {"a": "b", "table": "sha256:0"}


# scales


def test_repeated_sites_use_the_scale_of_their_source() -> None:
    proto = residual_net()
    got = quantized(proto, table(ranges(proto, FEED))).proto
    assert constant(got, "p_scale") == constant(got, "x_scale")


def concatenated() -> onnx.ModelProto:
    text = (
        "g (float[N,4,8,8] x) => (float[N,4,8,8] y) "
        f"{{ a = Relu(x) \n c = Concat<axis = 1>(a, x) \n y = Conv{SAME}(c, w) }}"
    )
    return net(text, w=(4, 8, 3, 3))


def test_a_group_with_different_scales_gets_the_widest() -> None:
    got = quantized(concatenated(), rows(x=0.1, a=0.3, c=0.2)).proto
    assert [float(constant(got, f"{t}_scale")) for t in "xac"] == [np.float32(0.3)] * 3


@pytest.mark.parametrize("range_of_a", [Range(0, 0), None])
def test_a_tensor_that_was_always_zero_does_not_widen_its_group(range_of_a: Range | None) -> None:
    dead = Scale("a", (UNUSED_SCALE,), observed=range_of_a)
    got = quantized(concatenated(), rows(x=0.001, c=0.002).with_rows([dead])).proto
    assert [float(constant(got, f"{t}_scale")) for t in "xac"] == [np.float32(0.002)] * 3


def test_a_tensor_that_reached_one_is_not_taken_for_one_that_was_always_zero() -> None:
    alive = Scale("a", (UNUSED_SCALE,), observed=Range(0, 1))
    got = quantized(concatenated(), rows(x=0.001, c=0.002).with_rows([alive])).proto
    assert [float(constant(got, f"{t}_scale")) for t in "xac"] == [UNUSED_SCALE] * 3


def test_a_group_that_was_always_zero_keeps_the_placeholder() -> None:
    dead = (Scale(t, (UNUSED_SCALE,), observed=Range(0, 0)) for t in "xac")
    got = quantized(concatenated(), ScaleTable(tuple(dead))).proto
    assert [float(constant(got, f"{t}_scale")) for t in "xac"] == [UNUSED_SCALE] * 3


def test_a_row_of_a_shared_weight_is_not_used_for_its_folded_copy() -> None:
    text = (
        "g (float[N,4,8,8] x) => (float[N,4,8,8] y, float[N,4,8,8] p) "
        "{ a = Conv(x, w) \n p = BatchNormalization(a, gamma, beta, mean, var) \n y = Conv(x, w) }"
    )
    shapes = dict.fromkeys(("gamma", "beta", "mean"), (4,))
    proto = net(text, w=(4, 4, 1, 1), **shapes)
    proto.graph.initializer.append(numpy_helper.from_array(np.ones(4, "f"), "var"))
    row = Scale("w", (0.5,) * 4, (0,) * 4, axis=0, role="weight")
    got = quantized(normalise(load_model(proto)).model.proto, rows(x=0.1).with_rows([row]))
    assert {r.tensor: r.scale == row.scale for r in got.weight_rows} == {"p_weight": False, "w": True}


def test_an_output_beside_a_quantized_tensor_keeps_its_name_and_its_float() -> None:
    text = (
        "g (float[N,3,8,8] x) => (float[N,6,4,4] y, float[N,4,6,6] feature) "
        "{ a = Conv(x, w) \n r = Relu(a) \n feature = Identity(r) \n y = Conv(r, v) }"
    )
    proto = normalise(load_model(net(text, w=(4, 3, 3, 3), v=(6, 4, 3, 3)))).model.proto
    got = quantized(proto, rows(x=0.1, r=0.2))
    assert got.used[:2] == ("x", "r")
    assert [list(n.input) for n in got.proto.graph.node if n.output[0] == "feature"] == [["r"]]


def test_missing_rows_are_listed() -> None:
    with pytest.raises(InputError, match=r"lacks 1 of the 2 tensors that tensorrt@10\.3 quantizes: 'r'"):
        quantized(two_convolutions(), rows(x=0.1))


def test_missing_rows_that_are_allowed_leave_tensor_and_readers_float() -> None:
    got = quantized(two_convolutions(), rows(x=0.1), allow_missing=True)
    assert got.floats["r"] == "no row in the scale table"
    assert got.floats["Conv2"] == "its input 'r' has no scale"
    assert operators(got.proto) == ["QuantizeLinear", "DequantizeLinear"] * 2 + ["Conv", "Relu", "Conv"]
    assert got.used == ("x",)


def test_without_any_row_the_model_stays_float() -> None:
    got = quantized(residual_net(), rows(nobody=1.0), allow_missing=True)
    assert operators(got.proto) == operators(residual_net())


def test_an_affine_row_is_refused_for_tensorrt_and_one_about_128_is_not() -> None:
    shifted = ScaleTable((Scale("x", (0.5,), (128,), "uint8"), Scale("r", (0.5,), (0,), "uint8", "affine")))
    with pytest.raises(InputError, match=r"'r' has zero point 0 \(uint8\), but TensorRT takes symmetric"):
        quantized(two_convolutions(), shifted)


def test_a_row_with_a_scale_a_channel_is_refused_for_an_activation() -> None:
    scales = ScaleTable((Scale("x", (0.5, 0.5, 0.5), (0, 0, 0), axis=1), Scale("r", (0.5,))))
    with pytest.raises(InputError, match="'x' has 3 scales along axis 1"):
        quantized(two_convolutions(), scales)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan")])
def test_no_table_can_hold_a_scale_that_is_not_positive(scale: float) -> None:
    with pytest.raises(InputError, match="«x» has the scale"):
        rows(x=scale)


def test_a_weights_row_is_used_if_its_axis_fits_and_computed_otherwise() -> None:
    proto = two_convolutions()
    own = Scale("w", (0.5,) * 4, (0,) * 4, axis=0, role="weight")
    other = Scale("v", (0.5,) * 4, (0,) * 4, axis=1, role="weight")
    got = quantized(proto, rows(x=0.1, r=0.2).with_rows([own, other]))
    assert constant(got.proto, "w_scale").tolist() == [0.5] * 4
    assert got.weight_rows[0] is own
    assert got.weight_rows[1].axis == 0
    assert got.weight_rows[1].scale == tuple(MaxAbs()(constant(proto, "v"), 0).tolist())
    assert got.used == ("x", "r", "w")


def test_a_dead_channel_has_a_positive_scale() -> None:
    proto = two_convolutions()
    weight = constant(proto, "w").copy()
    weight[2] = 0
    proto.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "w"))
    assert np.all(constant(quantized(proto, rows(x=0.1, r=0.2)).proto, "w_scale") > 0)


@pytest.mark.parametrize("weights", ["qdq", "int8"])
@pytest.mark.parametrize("target", ["tensorrt@8.6", "ort"])
def test_a_model_is_read_back_to_the_rows_it_was_made_from(target: str, weights: WeightForm) -> None:
    proto = residual_net()
    scheme = Affine() if target == "ort" else Symmetric()
    scales = table(ranges(proto, FEED), scheme)
    placement = place(Graph(proto), Target.parse(target), head="int8")
    got = insert_qdq(load_model(proto), scales, placement, weights=weights)
    read = {row.tensor: row for row in read_scales(got.proto)}
    for tensor in placement.tensors:
        assert tensor in read
        assert read[tensor].scale == (scales if target == "ort" else read)[tensor].scale
        assert read[tensor].role == "activation"
    for row in got.weight_rows:
        assert (read[row.tensor].scale, read[row.tensor].axis, read[row.tensor].role) == (row.scale, row.axis, "weight")


def test_a_computed_scale_cannot_be_read_back() -> None:
    text = "g (float[N] x, float s) => (float[N] y) { q = QuantizeLinear(x, s) \n y = DequantizeLinear(q, s) }"
    with pytest.raises(InputError, match=r"'x' .* is computed"):
        read_scales(net(text))


# doors


def test_the_placement_of_another_model_is_refused() -> None:
    placement = place(Graph(two_convolutions()), TENSORRT, head="int8")
    with pytest.raises(InputError, match="of another model: input 0 of node 'Conv0' is not 'x' here"):
        insert_qdq(load_model(residual_net()), rows(x=0.1, r=0.2), placement)


def test_an_old_opset_is_refused() -> None:
    proto = two_convolutions()
    placement = place(Graph(proto), TENSORRT, head="int8")
    proto.opset_import[0].version = 12
    with pytest.raises(InputError, match="opset 12"):
        insert_qdq(load_model(proto), rows(x=0.1, r=0.2), placement)
