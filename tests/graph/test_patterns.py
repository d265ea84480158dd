"""Which operators are one kernel, and what that means for Q/DQ."""

from __future__ import annotations

import numpy as np
import pytest

from quantlab.graph.placement import place
from quantlab.graph.view import Graph
from tests.graph.nets import net, net_of
from tests.graph.placing import CUBE, SAME, TENSORRT, placed, residual, uses

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
    text = f"g (float[N,3,8,8] x) => (float[N,4,4,4] y) {{ {start} \n {activation} \n y = Conv(y0, v) }}"
    numbers = {"zero": 0, "half": 0.5, "one": 1, "two": 1.414, "three": 3, "six": 6}
    arrays = {k: np.array(v, "f") for k, v in numbers.items()}
    arrays |= {k: np.ones(4, "f") for k in ("scale", "shift", "mean", "var")}
    proto = net_of(text, w=np.ones((4, 3, 3, 3), "f"), v=np.ones((4, 4, 3, 3), "f"), **arrays)
    got = placed(proto)
    assert got.tensors == ("x", "y0")
    inside = {t for t, reason in got.floats.items() if reason.startswith("inside one kernel")}
    assert inside == set(Graph(proto).float_activations()) - {"x", "y0", "y"}


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
