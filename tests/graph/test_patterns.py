"""Which operators are one kernel, and what that means for Q/DQ."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from quantlab.graph.patterns import fusion
from quantlab.graph.placement import place
from quantlab.graph.view import Graph
from tests.graph.nets import net, net_of
from tests.graph.placing import CUBE, SAME, TENSORRT, placed, residual, shares, uses

ACTIVATIONS = {
    "Relu": "y0 = Relu(a)",
    "Clip": "y0 = Clip(a, zero, six)",
    "LeakyRelu": "y0 = LeakyRelu(a)",
    "PRelu": "y0 = PRelu(a, three)",
    "HardSwish": "y0 = HardSwish(a)",
    "SiLU": "s = Sigmoid(a) \n y0 = Mul(a, s)",
    "SiLU, gate first": "s = Sigmoid(a) \n y0 = Mul(s, a)",
    "hard-swish": "s = HardSigmoid(a) \n y0 = Mul(a, s)",
    "hard-swish in four": "t = Add(a, three) \n k = Clip(t, zero, six) \n s = Div(k, six) \n y0 = Mul(a, s)",
    "hard-swish, division last": "t = Add(a, three) \n k = Clip(t, zero, six) \n m = Mul(a, k) \n y0 = Div(m, six)",
    "Mish": "t = Softplus(a) \n s = Tanh(t) \n y0 = Mul(a, s)",
    "GELU": "d = Div(a, two) \n e = Erf(d) \n s = Add(e, one) \n m = Mul(a, s) \n y0 = Mul(m, half)",
}


@pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=ACTIVATIONS.keys())
@pytest.mark.parametrize("norm", ["", "BatchNormalization(c, scale, shift, mean, var)"])
def test_nothing_inside_convolution_norm_activation_is_quantized(activation: str, norm: str) -> None:
    start = f"c = Conv(x, w) \n a = {norm}" if norm else "a = Conv(x, w)"
    text = f"g (float[N,8,8,8] x) => (float[N,4,4,4] y) {{ {start} \n {activation} \n y = Conv(y0, v) }}"
    numbers = {"zero": 0, "half": 0.5, "one": 1, "two": 1.414, "three": 3, "six": 6}
    arrays = {k: np.array(v, "f") for k, v in numbers.items()}
    arrays |= {k: np.ones(4, "f") for k in ("scale", "shift", "mean", "var")}
    proto = net_of(text, w=np.ones((4, 8, 3, 3), "f"), v=np.ones((4, 4, 3, 3), "f"), **arrays)
    got = placed(proto)
    assert got.tensors == ("x", "y0")
    inside = {t for t, reason in got.floats.items() if reason.startswith("inside one kernel")}
    leaks = "LeakyRelu" in activation or "PRelu" in activation  # before which the convolution writes INT8
    assert shares(got) == ({"a": "y0"} if leaks else {})
    assert inside == set(Graph(proto).float_activations()) - {"x", "y0", "y", *shares(got)}


@pytest.mark.parametrize(
    ("step", "constant", "folds"),
    [
        ("Div(a, k)", (), True),
        ("Div(k, a)", (), False),
        ("Sub(k, a)", (), True),
        ("Mul(a, k)", (1,), True),
        ("Mul(a, k)", (4, 1, 1), True),
        ("Add(k, a)", (1, 4, 1, 1), True),
        ("Add(a, k)", (8,), False),  # along the width
        ("Add(a, k)", (1, 4, 8, 8), False),
        ("Mul(a, k)", (1, 1, 8, 1), False),
        ("Add(a, k)", (1, 1, 1, 1, 1), False),  # makes another rank
    ],
)
def test_only_constants_a_number_or_a_channel_are_part_of_the_kernel(
    step: str, constant: tuple[int, ...], folds: bool
) -> None:
    text = f"g (float[N,4,8,8] x) => (float y) {{ a = Conv{SAME}(x, w) \n s = {step} \n y = Relu(s) }}"
    proto = net(text, w=CUBE, k=constant)
    graph = Graph(proto)
    assert [n.op_type for n in fusion(graph, graph.nodes[0]).nodes[1:2]] == ([step[:3]] if folds else [])


@pytest.mark.parametrize(("constant", "folds"), [((4,), True), ((1, 4), True), ((3, 1), False), ((3, 4), False)])
def test_the_channels_of_a_matrix_product_are_its_last_axis(constant: tuple[int, ...], folds: bool) -> None:
    text = "g (float[N,3,8] x) => (float[N,3,4] y) { a = MatMul(x, w) \n s = Add(a, k) \n y = Relu(s) }"
    graph = Graph(net(text, w=(8, 4), k=constant))
    assert len(fusion(graph, graph.nodes[0]).nodes) == (3 if folds else 1)


def test_a_convolution_behind_a_constant_over_it_is_not_fused_with_the_add() -> None:
    text = residual("d = Relu(x)", f"e = Conv{SAME}(d, w) \n c = Div(k, e)")
    assert uses(placed(net(text, w=CUBE, z=CUBE, k=())))["d"] == ["Conv1:0"]


def test_a_sigmoid_that_others_read_too_is_no_part_of_the_kernel() -> None:
    text = (
        "g (float[N,3,8,8] x) => (float[N,4,6,6] y, float[N,4,6,6] s) "
        "{ a = Conv(x, w) \n s = Sigmoid(a) \n y = Mul(a, s) }"
    )
    assert placed(net(text, w=(4, 3, 3, 3))).floats["a"] == "read by Sigmoid and Mul in float"


@pytest.mark.parametrize("operator", ["Add", "Sum"])
def test_only_the_residual_input_of_an_add_is_quantized(operator: str) -> None:
    text = residual("d = Relu(x)", f"c = Conv{SAME}(d, w)", f"{operator}(c, d)")
    got = placed(net(text, w=CUBE, z=CUBE))
    assert uses(got) == {"d": ["Conv1:0", f"{operator}2:1"], "r": ["Conv4:0"]}
    assert got.floats["c"] == f"inside one kernel: Conv + {operator} + Relu"


def test_of_two_convolutions_the_later_is_fused_with_the_add() -> None:
    text = residual(f"c = Conv{SAME}(x, w)", f"d = Conv{SAME}(x, v)")
    got = placed(net(text, w=CUBE, v=CUBE, z=CUBE))
    assert uses(got)["c"] == ["Add2:0"]
    assert "d" not in got.activations


def test_a_convolution_that_others_read_too_is_not_fused_with_the_add() -> None:
    text = residual(f"c = Conv{SAME}(x, w)", f"d = Conv{SAME}(c, v)")
    assert uses(placed(net(text, w=CUBE, v=CUBE, z=CUBE)))["c"] == ["Conv1:0", "Add2:0"]


def test_a_broadcasting_add_is_no_residual_add() -> None:
    text = residual("d = GlobalMaxPool(x)", f"c = Conv{SAME}(x, w)")
    assert uses(placed(net(text, w=CUBE, z=CUBE))) == {"x": ["Conv1:0"], "r": ["Conv4:0"]}


def test_an_add_between_tensors_that_are_quantized_anyway_sees_integers() -> None:
    text = (
        f"g (float[N,4,8,8] x) => (float[N,4,8,8] y) {{ a = Relu(x) \n b = Neg(x) \n c = Conv{SAME}(a, w) \n"
        f"d = Conv{SAME}(b, w) \n s = Add(a, b) \n y = Conv{SAME}(s, w) }}"
    )
    assert uses(placed(net(text, w=CUBE)))["a"] == ["Conv2:0", "Add4:0"]


def test_softmax_and_normalization_stay_float_and_say_why() -> None:
    text = "g (float[N,8] x) => (float[N,8] y) { l = LayerNormalization(x, s) \n a = MatMul(l, w) \n y = Softmax(a) }"
    got = placed(net(text, s=(8,), w=(8, 8)))
    assert uses(got) == {"l": ["MatMul1:0"]}
    assert got.floats["a"] == "read by Softmax in float"
    assert got.floats["x"] == "read by LayerNormalization in float"


def test_a_tensor_left_out_takes_along_its_readers_and_what_only_they_needed() -> None:
    text = residual("d = Relu(x)", f"c = Conv{SAME}(d, w)")
    got = place(Graph(net(text, w=CUBE, z=CUBE)), TENSORRT, head="int8", without={"d"})
    assert uses(got) == {"r": ["Conv4:0"]}
    assert got.floats["Conv1"] == "its input 'd' has no scale"
    assert list(got.weights) == ["z"]


# operators that only look like those of the tables


@pytest.mark.parametrize("operator", ["Conv", "Gemm", "MatMul", "ConvTranspose"])
def test_weighted_operators_of_other_domains_stay_float(operator: str) -> None:
    proto = net(f"g (float[N,4] x) => (float[N,4] y) {{ r = {operator}(x, w) \n y = MatMul(r, w) }}", w=(4, 4))
    proto.graph.node[0].domain = "com.x"
    proto.opset_import.append(onnx.helper.make_opsetid("com.x", 1))
    proto.graph.value_info.append(onnx.helper.make_tensor_value_info("r", onnx.TensorProto.FLOAT, ["N", 4]))
    got = placed(proto)
    assert uses(got) == {"r": ["MatMul1:0"]}
    assert got.floats["x"] == f"read by com.x::{operator} in float"


@pytest.mark.parametrize("operator", ["Gather", "MaxPool", "GlobalAveragePool", "Concat", "Add"])
def test_operators_of_other_domains_neither_move_nor_average_nor_join(operator: str) -> None:
    text = (
        f"g (float[N,4] x, float[N,4] z) => (float[N,4] y, float[N,4] u, float[N,4] v) {{ u = MatMul(x, w) \n"
        f"v = MatMul(z, w) \n r = {operator}(x, z) \n y = MatMul(r, w) }}"
    )
    proto = net(text, w=(4, 4))
    proto.graph.node[2].domain = "com.x"
    proto.opset_import.append(onnx.helper.make_opsetid("com.x", 1))
    proto.graph.value_info.append(onnx.helper.make_tensor_value_info("r", onnx.TensorProto.FLOAT, ["N", 4]))
    got = placed(proto)
    assert uses(got) == {"x": ["MatMul0:0"], "z": ["MatMul1:0"], "r": ["MatMul3:0"]}
    assert (shares(got), got.groups) == ({}, ())


@pytest.mark.parametrize(("shape", "axis"), [((8, 4), 1), ((1, 8, 4), 2), ((3, 8, 4), None), ((1, 3, 8, 4), None)])
def test_a_stack_of_matrices_has_one_scale(shape: tuple[int, ...], axis: int | None) -> None:
    got = placed(net("g (float[3,N,8] x) => (float[a,b,c] y) { y = MatMul(x, w) }", w=shape))
    assert [site.axis for site in got.weights["w"]] == [axis]


def test_resizing_a_crop_fills_up_with_a_constant_and_moves_nothing() -> None:
    text = (
        'g (float[N,3,4,4] x) => (float[N,4,6,6] y) { r = Resize<mode = "nearest", '
        'coordinate_transformation_mode = "tf_crop_and_resize">(x, roi, scales) \n y = Conv(r, w) }'
    )
    scales, roi = np.array([1, 1, 2, 2], "f"), np.array([0, 0, 0, 0, 1, 1, 2, 2], "f")
    assert placed(net_of(text, w=np.ones((4, 3, 3, 3), "f"), scales=scales, roi=roi)).tensors == ("r",)
