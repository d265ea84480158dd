"""Where Q/DQ goes for ONNX Runtime."""

from __future__ import annotations

import numpy as np

from tests.graph.nets import net, net_of
from tests.graph.placing import CUBE, ORT, SAME, placed, residual, uses


def test_for_ort_every_convolution_is_quantized_straight_after() -> None:
    text = residual("d = Relu(x)", f"c = Conv{SAME}(d, w)")
    got = placed(net(text, w=CUBE, z=CUBE), ORT)
    assert uses(got) == {
        "d": ["Conv1:0", "Add2:1"],
        "c": ["Add2:0"],
        "s": ["Relu3:0"],
        "r": ["Conv4:0"],
        "y": [],
    }
    assert got.activations["y"].output
    assert got.activations["s"].shares == "r"
    assert got.activations["s"].unless_within == (0.0, float("inf"))
    assert got.tensors == ("d", "c", "r", "y")


def test_for_ort_a_gated_activation_sees_the_quantized_convolution() -> None:
    text = (
        "g (float[N,3,8,8] x) => (float[N,4,6,6] y) "
        "{ a = Conv(x, w) \n s = Sigmoid(a) \n m = Mul(a, s) \n y = Conv(m, v) }"
    )
    got = placed(net(text, w=(4, 3, 3, 3), v=(4, 4, 1, 1)), ORT, head="float")
    assert uses(got) == {"x": ["Conv0:0"], "a": ["Sigmoid1:0", "Mul2:0"]}


def test_for_ort_transposed_convolution_stays_float() -> None:
    got = placed(net("g (float[N,4,8,8] x) => (float[N,6,9,9] y) { y = ConvTranspose(x, w) }", w=(4, 6, 2, 2)), ORT)
    assert got.floats["ConvTranspose0"] == "ONNX Runtime has no integer ConvTranspose"


def test_for_ort_a_concat_needs_no_common_scale() -> None:
    text = (
        "g (float[N,4,8,8] x) => (float[N,4,8,8] y) "
        f"{{ a = Relu(x) \n c = Concat<axis = 1>(a, x) \n y = Conv{SAME}(c, w) }}"
    )
    got = placed(net(text, w=(4, 8, 3, 3)), ORT)
    assert got.tensors == ("x", "a", "c", "y")
    assert got.groups == ()


def test_for_ort_padding_that_a_convolution_absorbs_is_quantized_before_only() -> None:
    text = "g (float[N,3,8,8] x) => (float[N,4,8,8] y) { p = Pad(x, pads) \n y = Conv(p, w) }"
    around, channels = np.array([0, 0, 1, 1, 0, 0, 1, 1]), np.array([0, 1, 1, 1, 0, 0, 1, 1])
    got = placed(net_of(text, w=np.ones((4, 3, 3, 3), "f"), pads=around), ORT, head="int8")
    assert uses(got) == {"x": ["Pad0:0"], "y": []}
    assert "p" not in got.floats
    got = placed(net_of(text, w=np.ones((4, 4, 3, 3), "f"), pads=channels), ORT, head="int8")
    assert uses(got) == {"x": ["Pad0:0"], "p": ["Conv1:0"], "y": []}
