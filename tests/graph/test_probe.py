from __future__ import annotations

import numpy as np
import onnx
import pytest

from quantlab.errors import InputError
from quantlab.graph.probe import exposable, expose
from quantlab.graph.view import Graph
from tests.graph.equal_models import image, model, run, weights


def small() -> onnx.ModelProto:
    return model(
        """net (float[N,3,4,4] x) => (float[N,2,h,w] y, float[N,3,4,4] z) {
        a = Conv(x, k) \n r = Relu(a) \n s = Shape(r) \n z = Exp(x)
        h = Cast<to = 10>(r) \n g = Cast<to = 1>(h) \n y = Add(g, r) }""",
        k=weights(2, 3, 3, 3),
    )


def test_all_float_activations_come_in_graph_order_with_inputs_and_outputs() -> None:
    assert exposable(Graph(small())) == ("x", "a", "r", "z", "h", "g", "y")


def test_quantizable_tensors_come_in_graph_order() -> None:
    assert exposable(Graph(small()), "quantizable", {"r", "x"}) == ("x", "r")
    assert exposable(Graph(small()), "quantizable") == ()


def test_patterns_choose_by_name() -> None:
    graph = Graph(small())
    assert exposable(graph, ("[ry]", "x")) == ("x", "r", "y")
    assert exposable(graph, "?") == exposable(graph)


def test_a_name_with_brackets_matches_itself() -> None:
    proto = model("net (float[N] x) => (float[N] y) { a = Relu(x) \n y = Neg(a) }")
    proto.graph.node[0].output[0] = proto.graph.node[1].input[0] = "layers[0]/relu"
    assert exposable(Graph(proto), ("layers[0]/relu",)) == ("layers[0]/relu",)


def test_a_pattern_that_matches_nothing_is_refused_with_near_names() -> None:
    proto = model("net (float[N] x) => (float[N] y) { stage_relu = Relu(x) \n y = Neg(stage_relu) }")
    with pytest.raises(InputError, match=r"matches 'stage_rleu': near matches are 'stage_relu'"):
        exposable(Graph(proto), ("stage_rleu", "x"))
    with pytest.raises(InputError, match=r"matches '/encoder/\*': it has 3, the first are 'x', 'stage_relu', 'y'"):
        exposable(Graph(proto), ("/encoder/*",))


@pytest.mark.parametrize(("name", "words"), [("s", "not a float activation"), ("k", "is a constant")])
def test_what_is_no_float_activation_is_refused_with_the_reason(name: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        exposable(Graph(small()), (name,))
    with pytest.raises(InputError, match=words):
        exposable(Graph(small()), "quantizable", (name,))


def test_exposed_tensors_follow_the_model_s_outputs_in_order_and_none_twice() -> None:
    probed = expose(small(), ("r", "x", "y", "a", "r"))
    assert [o.name for o in probed.graph.output] == ["y", "z", "r", "x", "a"]
    onnx.checker.check_model(probed, full_check=True)


def test_without_the_model_s_outputs_exactly_the_names_are_left() -> None:
    probed = expose(small(), ("r", "y"), keep_outputs=False)
    assert [o.name for o in probed.graph.output] == ["r", "y"]


def test_exposed_tensors_have_type_and_shape() -> None:
    outputs = {o.name: o for o in expose(small(), ("h", "a", "s")).graph.output}
    assert outputs["h"].type.tensor_type.elem_type == onnx.TensorProto.FLOAT16
    assert outputs["s"].type.tensor_type.elem_type == onnx.TensorProto.INT64
    dims = outputs["a"].type.tensor_type.shape.dim
    assert [d.dim_param or d.dim_value for d in dims] == ["N", 2, 2, 2]


def test_exposing_changes_no_value_and_not_the_model() -> None:
    proto, inputs = small(), image(2, 3, 4, 4)
    before = proto.SerializeToString()
    probed = run(expose(proto, ("a", "x", "r")), inputs)
    assert proto.SerializeToString() == before
    for old, new in zip(run(proto, inputs), probed[:2], strict=True):
        np.testing.assert_array_equal(old, new)
    np.testing.assert_array_equal(np.maximum(probed[2], 0), probed[4])
    np.testing.assert_array_equal(probed[3], inputs["x"])


def test_exposing_an_unknown_tensor_is_refused() -> None:
    with pytest.raises(InputError, match="No float activation of the model matches 'lost'"):
        expose(small(), ("lost",))
