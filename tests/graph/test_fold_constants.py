from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from quantlab.graph import fold_constants
from quantlab.graph.model import load_model
from quantlab.graph.normalise import normalise
from quantlab.graph.view import Graph
from tests.graph.equal_models import check_equal, f32, i64, image, model, operators, weights


def test_constant_nodes_become_initializers_of_the_same_name() -> None:
    proto = model("""net (float[N,2] x) => (float[N,2] y, float[2] k) {
        low = Constant<value_float = -1.0>()
        high = Constant<value = float {1.0}>()
        b = Constant<value_floats = [1.0, 2.0]>()
        axes = Constant<value_ints = [0]>()
        k = Constant<value_floats = [3.0, 4.0]>()
        c = Clip(x, low, high)
        u = Unsqueeze(c, axes)
        s = Squeeze(u, axes)
        y = Add(s, b) }""")
    result = check_equal(proto, image(3, 2))
    stored = {t.name: numpy_helper.to_array(t) for t in result.model.proto.graph.initializer}
    assert sorted(stored) == ["axes", "b", "high", "low"]
    np.testing.assert_array_equal(stored["b"], f32([1, 2]))
    assert sorted(operators(result)) == ["Add", "Clip", "Constant", "Squeeze", "Unsqueeze"]  # k is an output


def test_a_constant_chain_is_evaluated() -> None:
    proto = model(
        """net (float[N,3,4] x) => (float[N,3,6] y) {
        zeros = ConstantOfShape<value = int64[1] {0}>(four)
        swapped = Transpose<perm = [0]>(zeros)
        wide = Cast<to = 7>(swapped)
        pads = Concat<axis = 0>(wide, ends)
        y = Pad(x, pads) }""",
        four=i64([4]),
        ends=i64([0, 2]),
    )
    result = check_equal(proto, image(2, 3, 4))
    assert operators(result) == ["Pad"]
    np.testing.assert_array_equal(Graph(result.model.proto).constant("pads"), [0, 0, 0, 0, 0, 2])
    assert result.notes[-1] == "4 nodes do not depend on the input and were replaced by their values."


def test_shapes_are_evaluated_where_every_size_is_fixed() -> None:
    text = """net (float[{}] x) => (float[P] y) {{
        s = Shape(x) \n n = Size(x) \n m = Unsqueeze(n, zero) \n h = Gather(s, zero)
        t = Concat<axis = 0>(m) \n y = Reshape(x, t) }}"""
    fixed = check_equal(model(text.format("2,3"), zero=i64([0])), image(2, 3))
    assert operators(fixed) == ["Reshape"]
    dynamic = check_equal(model(text.format("N,3"), zero=i64([0])), image(2, 3))
    assert "Size" in operators(dynamic)


def test_the_part_of_a_shape_that_is_fixed_is_evaluated() -> None:
    text = """net (float[N,3,4] x) => (float[P,4] y) {
        tail = Shape<start = 2>(x) \n s = Concat<axis = 0>(open, tail) \n y = Reshape(x, s) }"""
    assert operators(check_equal(model(text, open=i64([-1])), image(2, 3, 4))) == ["Reshape"]


def test_a_claimed_static_shape_of_a_dynamic_tensor_is_not_believed() -> None:
    proto = model("""net (float[N,3] x) => (float[N,3] y, float[1,3] r) {
        r = Relu(x) \n n = Neg(r) \n s = Shape(r) \n t = Shape(n) \n u = Add(s, t)
        v = Sub(u, s) \n y = Reshape(n, v) }""")
    proto.graph.value_info.append(helper.make_tensor_value_info("n", TensorProto.FLOAT, [1, 3]))
    assert operators(check_equal(proto, image(1, 3))).count("Shape") == 2


def test_quantization_and_random_numbers_are_not_evaluated() -> None:
    proto = model(
        """net (float[N,2] x) => (float[N,2] y) {
        q = QuantizeLinear(w, s, z) \n d = DequantizeLinear(q, s, z)
        r = RandomNormal<shape = [2]>() \n a = Mul(x, d) \n y = Add(a, r) }""",
        w=f32([1, 2]),
        s=np.float32(0.1),
        z=np.int8(0),
    )
    after = operators(normalise(load_model(proto)))
    assert after == ["QuantizeLinear", "DequantizeLinear", "RandomNormal", "Mul", "Add"]


def test_a_result_that_would_be_huge_is_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    proto = model(
        "net (float[N] x) => (float[N] y) { z = ConstantOfShape(dims) \n s = ReduceSum(z) \n y = Add(x, s) }",
        dims=i64([2**20, 2**20]),
    )
    result = normalise(load_model(proto))
    assert operators(result) == ["ConstantOfShape", "ReduceSum", "Add"]
    monkeypatch.setattr(fold_constants, "LARGEST_RESULT", 100)
    growing = model(
        "net (float[N] x) => (float[N] y) { t = Tile(w, n) \n s = ReduceSum(t) \n y = Add(x, s) }",
        w=weights(10),
        n=i64([3]),
    )
    assert "Tile" in operators(normalise(load_model(growing)))


def test_a_division_by_zero_among_constants_stays_silent_and_right() -> None:
    proto = model("net (float[N] x) => (float[N] y) { d = Div(a, b) \n y = Max(x, d) }", a=f32([-1]), b=f32([0]))
    assert operators(check_equal(proto, {"x": f32([1, 2])})) == ["Max"]


def test_equal_constants_from_nodes_become_one_and_initializers_keep_their_names() -> None:
    proto = model(
        """net (float[N] x) => (float[N] y) {
        l1 = Constant<value_float = 0.0>() \n l2 = Constant<value_float = 0.0>()
        a = Clip(x, l1) \n b = Clip(a, l2) \n c = Add(b, w1) \n y = Add(c, w2) }""",
        w1=f32([1]),
        w2=f32([1]),
    )
    result = check_equal(proto, {"x": f32([1, -2])})
    assert [t.name for t in result.model.proto.graph.initializer] == ["w1", "w2", "l1"]
    assert result.aliases == {"l2": "l1"}


def test_nodes_and_initializers_that_nothing_needs_are_removed() -> None:
    proto = model(
        "net (float[N] x, float[N] unused) => (float[N] y) { d = Exp(x) \n e = Add(d, w) \n y = Neg(x) }",
        w=f32([1]),
        lost=f32([1]),
    )
    result = check_equal(proto, {"x": f32([1]), "unused": f32([1])})
    assert operators(result) == ["Neg"]
    assert not result.model.proto.graph.initializer
    assert [i.name for i in result.model.proto.graph.input] == ["x", "unused"]
    assert "2 nodes were removed that no output depends on." in result.notes


@pytest.mark.parametrize("ir_version", [3, 8])
def test_initializers_that_are_inputs_too_become_constants(ir_version: int) -> None:
    proto = model("net (float[N,2] x, float[2] w) => (float[N,2] y) { y = Add(x, w) }", w=f32([1, 2]))
    proto.ir_version = ir_version
    result = check_equal(proto, image(3, 2))
    assert [i.name for i in result.model.proto.graph.input] == ["x"]
    assert result.model.proto.ir_version >= 4
    assert bool(result.notes and "1 inputs have a default value" in result.notes[-1]) == (ir_version == 8)
