"""Where Q/DQ goes for TensorRT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from quantlab.errors import InputError
from quantlab.graph.model import load_model
from quantlab.graph.normalise import normalise
from quantlab.graph.placement import Target, place
from quantlab.graph.view import Graph
from tests.graph.nets import net, net_of
from tests.graph.placing import CUBE, SAME, TENSORRT, placed, shares, uses

# TensorRT: weighted operators


def test_all_inputs_of_weighted_operators_are_quantized_and_their_outputs_as_such_are_not() -> None:
    text = "g (float[N,3,8,8] x) => (float[N,6,4,4] y) { a = Conv(x, w, b) \n r = Relu(a) \n y = Conv(r, v) }"
    got = placed(net(text, w=(4, 3, 3, 3), b=(4,), v=(6, 4, 3, 3)))
    assert uses(got) == {"x": ["Conv0:0"], "r": ["Conv2:0"]}
    assert {n: [s.axis for s in sites] for n, sites in got.weights.items()} == {"w": [0], "v": [0]}
    assert got.floats == {"a": "inside one kernel: Conv + Relu", "y": "output of the model"}
    assert got.tensors == ("x", "r")


@pytest.mark.parametrize(("leak", "constants"), [("LeakyRelu(a)", {}), ("PRelu(a, slope)", {"slope": (1,)})])
def test_a_convolution_writes_integers_before_a_leaky_relu(leak: str, constants: dict[str, Any]) -> None:
    text = f"g (float[N,3,8,8] x) => (float[N,6,4,4] y) {{ a = Conv(x, w) \n r = {leak} \n y = Conv(r, v) }}"
    got = placed(net(text, w=(4, 3, 3, 3), v=(6, 4, 3, 3), **constants))
    assert uses(got) == {"x": ["Conv0:0"], "a": [f"{leak.partition('(')[0]}1:0"], "r": ["Conv2:0"]}
    assert got.tensors == ("x", "r")
    assert shares(got) == {"a": "r"}


def test_a_matmul_of_two_activations_has_both_quantized() -> None:
    text = "g (float[N,4,8] q, float[N,8,4] k) => (float[N,4,4] y) { y = MatMul(q, k) }"
    assert uses(placed(net(text))) == {"q": ["MatMul0:0"], "k": ["MatMul0:1"]}


def test_a_tensor_with_several_quantized_readers_is_one_site() -> None:
    text = (
        "g (float[N,3,8,8] x) => (float[N,4,6,6] y) "
        "{ a = Conv(x, w) \n b = Conv(x, v) \n s = Sigmoid(x) \n y = Mul(a, b) }"
    )
    assert uses(placed(net(text, w=(4, 3, 3, 3), v=(4, 3, 3, 3)))) == {"x": ["Conv0:0", "Conv1:0"]}


def test_a_convolution_with_a_computed_weight_stays_float_and_says_so() -> None:
    got = placed(net("g (float[N,3,8,8] x, float[4,3,3,3] w) => (float[N,4,6,6] y) { y = Conv(x, w) }"))
    assert got.activations == {}
    assert got.floats["Conv0"] == "its weight is not constant"


def test_only_float32_is_quantized() -> None:
    text = "g (float16[N,8] x) => (float16[N,4] y) { y = MatMul(x, w) }"
    got = placed(net_of(text, w=np.ones((8, 4), np.float16)))
    assert got.activations == {}
    assert got.floats["MatMul0"] == "it computes in float16; only float32 is quantized"


def test_bodies_stay_float_and_a_tensor_they_read_keeps_its_float() -> None:
    proto = net(
        "g (float[N,3,8,8] x, bool c) => (float[N,3,8,8] y) { a = Conv(x, w) \n y = Identity(x) }", w=(4, 3, 3, 3)
    )
    info = onnx.helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, None)
    body = onnx.helper.make_graph([onnx.helper.make_node("Neg", ["x"], ["z"])], "b", [], [info])
    branch = onnx.helper.make_node("If", ["c"], ["y"], "choice", then_branch=body, else_branch=body)
    proto.graph.node[1].CopyFrom(branch)
    got = placed(proto)
    assert got.floats["choice"] == "bodies of If stay in float"
    assert uses(got) == {"x": ["Conv0:0"]}


# TensorRT: operators that move values


def test_zero_padding_is_quantized_on_both_sides_with_one_scale() -> None:
    text = "g (float[N,3,8,8] x) => (float[N,4,8,8] y) { p = Pad(x, pads) \n y = Conv(p, w) }"
    pads = np.array([0, 0, 1, 1, 0, 0, 1, 1])
    got = placed(net_of(text, w=np.ones((4, 3, 3, 3), "f"), pads=pads))
    assert uses(got) == {"x": ["Pad0:0"], "p": ["Conv1:0"]}
    assert shares(got) == {"p": "x"}
    assert got.tensors == ("x",)
    assert got.groups == (("x", "p"),)


def test_padding_with_another_constant_has_a_scale_of_its_own() -> None:
    text = "g (float[N,3,8,8] x) => (float[N,4,8,8] y) { p = Pad(x, pads, one) \n y = Conv(p, w) }"
    pads = np.array([0, 0, 1, 1, 0, 0, 1, 1])
    got = placed(net_of(text, w=np.ones((4, 3, 3, 3), "f"), pads=pads, one=np.ones((), "f")))
    assert got.tensors == ("p",)


def test_moving_operators_pass_the_scale_on_through_a_chain() -> None:
    text = (
        "g (float[N,4,8,8] x) => (float[N,5] y) { m = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(x) \n"
        "t = Transpose<perm = [0, 2, 3, 1]>(m) \n f = Flatten(t) \n y = Gemm(f, w) }"
    )
    got = placed(net(text, w=(64, 5)))
    assert got.tensors == ("x",)
    assert shares(got) == {"m": "x", "t": "x", "f": "x"}
    assert set(got.floats) == {"y"}


@pytest.mark.parametrize(("mode", "tensors"), [("nearest", ("x",)), ("linear", ("r",))])
def test_nearest_resizing_moves_values_and_linear_makes_new_ones(mode: str, tensors: tuple[str, ...]) -> None:
    text = (
        f'g (float[N,3,4,4] x) => (float[N,4,6,6] y) {{ r = Resize<mode = "{mode}">(x, , scales) \n y = Conv(r, w) }}'
    )
    assert placed(net_of(text, w=np.ones((4, 3, 3, 3), "f"), scales=np.array([1, 1, 2, 2], "f"))).tensors == tensors


def test_inputs_and_output_of_a_concat_share_one_scale() -> None:
    text = (
        "g (float[N,4,8,8] x) => (float[N,4,8,8] y) "
        f"{{ a = Relu(x) \n m = MaxPool<kernel_shape = [1, 1]>(x) \n"
        f"c = Concat<axis = 1>(a, m) \n s = Sigmoid(c) \n y = Conv{SAME}(c, w) }}"
    )
    got = placed(net(text, w=(4, 8, 3, 3)))
    assert uses(got) == {"x": ["MaxPool1:0"], "a": ["Concat2:0"], "m": ["Concat2:1"], "c": ["Conv4:0"]}
    assert got.tensors == ("x", "a", "c")
    assert got.groups == (("x", "a", "m", "c"),)


def test_a_concat_that_only_float_operators_read_is_left_alone() -> None:
    text = "g (float[N,4] x) => (float[N,8] y) { a = Relu(x) \n c = Concat<axis = 1>(a, x) \n y = Softmax(c) }"
    assert placed(net(text)).activations == {}


# TensorRT: pooling and the head


def classifier(pool: str = "GlobalAveragePool(r)") -> onnx.ModelProto:
    text = (
        f"g (float[N,3,8,8] x) => (float[N,5] y) {{ c = Conv(x, w) \n r = Relu(c) \n p = {pool} \n"
        "f = Flatten(p) \n y = Gemm(f, v) }"
    )
    return net(text, w=(4, 3, 3, 3), v=(4, 5))


@pytest.mark.parametrize(
    "pool", ["GlobalAveragePool(r)", "ReduceMean<axes = [2, 3]>(r)", "ReduceMean<axes = [-1, -2]>(r)"]
)
def test_a_float_head_keeps_the_last_operator_and_the_pool_before_it_in_float(pool: str) -> None:
    """A pair before the pool alone would stand as a kernel of its own: 2 % of EfficientNet-Lite0's time on an H200."""
    got = placed(classifier(pool), head="float")
    assert got.tensors == ("x",)
    assert list(got.weights) == ["w"]
    assert got.floats["Gemm4"].startswith("a last weighted operator")
    assert got.floats["f"] == "read by Gemm in float"


def test_an_int8_head_quantizes_pooling_on_both_sides() -> None:
    got = placed(classifier(), head="int8")
    assert uses(got) == {"x": ["Conv0:0"], "r": ["GlobalAveragePool2:0"], "p": ["Flatten3:0"], "f": ["Gemm4:0"]}
    assert got.tensors == ("x", "r", "p")
    assert list(got.weights) == ["w", "v"]


def test_a_mean_over_other_axes_is_no_pooling() -> None:
    assert placed(classifier("ReduceMean<axes = [1, 3]>(r)"), head="float").tensors == ("x",)


def test_every_output_has_a_head_of_its_own() -> None:
    text = (
        "g (float[N,3,8,8] x) => (float[N,4,6,6] y, float[N,4,6,6] z) "
        "{ a = Conv(x, w) \n r = Relu(a) \n b = Conv(r, v) \n y = Sigmoid(b) \n z = Conv(r, v) }"
    )
    got = placed(net(text, w=(4, 3, 3, 3), v=(4, 4, 1, 1)), head="float")
    assert set(got.floats) >= {"Conv2", "Conv4"}
    assert uses(got) == {"x": ["Conv0:0"]}


def test_a_residual_add_before_the_output_leads_back_to_one_convolution_only() -> None:
    text = (
        "g (float[N,4,8,8] x) => (float[N,4,8,8] y) "
        f"{{ a = Conv{SAME}(x, w) \n b = Conv{SAME}(a, v) \n y = Add(a, b) }}"
    )
    got = placed(net(text, w=CUBE, v=CUBE), head="float")
    assert "Conv0" not in got.floats
    assert "Conv1" in got.floats


@pytest.mark.parametrize("between", ["", "s = Shape(q)"])
def test_outputs_along_the_way_are_no_heads(between: str) -> None:
    text = (
        "g (float[N,4,8,8] x) => (float[N,4,8,8] p, float[N,4,8,8] q, float[N,4,8,8] y) "
        f"{{ a = Conv{SAME}(x, w) \n p = Relu(a) \n b = Conv{SAME}(p, w) \n q = Relu(b) \n {between} \n"
        f"c = Conv{SAME}(q, w) \n y = Relu(c) }}"
    )
    got = placed(net(text, w=CUBE), head="float")
    assert list(got.activations) == ["x", "p"]
    assert [name for name, reason in got.floats.items() if "last weighted" in reason] == [f"Conv{5 if between else 4}"]


def test_a_shape_that_a_weighted_operator_needs_does_not_lead_on_to_it() -> None:
    text = (
        "g (float[N,4,8,8] x) => (float[N,4,8,8] y, float[N,4,8,8] z) "
        f"{{ y = Conv{SAME}(x, w) \n s = Shape(y) \n e = Reshape(x, s) \n z = Conv{SAME}(e, w) }}"
    )
    assert set(placed(net(text, w=CUBE), head="float").floats) >= {"Conv0", "Conv3"}


# the network that TensorRT was watched on


@pytest.fixture(scope="module")
def efficientnet(reference: Path) -> Graph:
    return Graph(normalise(load_model(reference / "models" / "efficientnet_lite0.onnx")).model.proto)


def legacy_keys(reference: Path) -> list[str]:
    """Return the keys of the cache that TensorRT 8.6 wrote after fusion: the tensors that its kernels exchange."""
    text = (reference / "golden" / "trt-8.6" / "efficientnet_lite0.legacy.cache").read_text()
    return [line.rpartition(": ")[0] for line in text.splitlines() if ": " in line]


@pytest.mark.reference
@pytest.mark.parametrize("target", ["tensorrt@8.6", "tensorrt@10.3", "tensorrt@11.0"])
def test_the_tensors_are_those_that_survive_tensorrts_own_fusion(
    target: str, reference: Path, efficientnet: Graph
) -> None:
    got = place(efficientnet, Target.parse(target))
    survivors = legacy_keys(reference)
    head = ["/_swish_1/Clip_output_0", "/_avg_pooling/GlobalAveragePool_output_0", "logits"]
    assert [t for t in survivors if t not in got.tensors] == head
    assert len(got.tensors) == 49
    assert set(got.tensors) <= set(survivors)
    assert len(got.weights) == 49


@pytest.mark.reference
def test_padding_repeats_the_pair_of_its_source_and_adds_no_tensor(efficientnet: Graph) -> None:
    repeated = shares(place(efficientnet, TENSORRT))
    assert len(repeated) == 17
    for tensor, origin in repeated.items():
        pad = efficientnet.producer(tensor)
        assert pad is not None
        assert pad.op_type == "Pad"
        assert pad.input[0] == origin


@pytest.mark.reference
def test_an_int8_head_adds_the_pooled_tensor_and_the_pools_input(efficientnet: Graph) -> None:
    more = set(place(efficientnet, TENSORRT, head="int8").tensors) - set(place(efficientnet, TENSORRT).tensors)
    assert more == {"/_swish_1/Clip_output_0", "/_avg_pooling/GlobalAveragePool_output_0"}


# doors


def test_a_model_with_qdq_is_refused() -> None:
    text = "g (float[N] x) => (float[N] y) { q = QuantizeLinear(x, s, z) \n y = DequantizeLinear(q, s, z) }"
    proto = net_of(text, s=np.ones((), "f"), z=np.zeros((), np.int8))
    with pytest.raises(InputError, match="already has Q/DQ"):
        placed(proto)


def test_unnamed_nodes_are_refused() -> None:
    proto = classifier()
    proto.graph.node[1].name = ""
    with pytest.raises(InputError, match="normalise the model first"):
        placed(proto)
