"""The read-only index of a graph."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from quantlab.errors import InputError
from quantlab.graph.view import CAPTURED, Graph


def model(text: str, **constants: np.ndarray) -> onnx.ModelProto:
    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> {text}')
    proto.graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in constants.items())
    return proto


def branching() -> onnx.ModelProto:
    proto = model("g (float[N,4] x, bool c) => (float[N,4] y) { r = Relu(x) \n y = Identity(r) }")
    a, b = (helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "ab")
    then = helper.make_graph([helper.make_node("Neg", ["r"], ["a"])], "t", [], [a])
    other = helper.make_graph([helper.make_node("Abs", ["x"], ["b"])], "e", [], [b])
    branch = helper.make_node("If", ["c"], ["y"], "if", then_branch=then, else_branch=other)
    proto.graph.node[1].CopyFrom(branch)
    return proto


def test_a_tensor_knows_its_producer_and_every_consumer() -> None:
    graph = Graph(model("g (float[2] x) => (float[2] y) { r = Relu(x) \n y = Mul(r, r) }"))
    producer = graph.producer("r")
    assert producer is not None
    assert producer.op_type == "Relu"
    assert [(u.node.op_type, u.input_index) for u in graph.consumers("r")] == [("Mul", 0), ("Mul", 1)]
    assert graph.producer("x") is None
    assert graph.consumers("y") == ()
    assert graph.is_output("y")


def test_a_body_that_reads_an_outer_tensor_is_a_consumer_of_it() -> None:
    graph = Graph(branching())
    assert [(u.node.op_type, u.input_index) for u in graph.consumers("r")] == [("If", CAPTURED)]
    assert [u.node.op_type for u in graph.consumers("x")] == ["Relu", "If"]


def test_nodes_are_put_into_topological_order_and_stay_in_file_order_where_that_is_valid() -> None:
    proto = model("g (float[2] x) => (float[2] z) { a = Relu(x) \n b = Neg(x) \n y = Add(a, b) \n z = Abs(y) }")
    assert [n.op_type for n in Graph(proto).nodes] == ["Relu", "Neg", "Add", "Abs"]
    nodes = list(proto.graph.node)
    del proto.graph.node[:]
    proto.graph.node.extend(reversed(nodes))
    assert [n.op_type for n in Graph(proto).nodes] == ["Neg", "Relu", "Add", "Abs"]


def test_a_cycle_is_one_sentence() -> None:
    proto = model("g (float[2] x) => (float[2] y) { a = Add(x, y) \n y = Neg(a) }")
    with pytest.raises(InputError, match="cycle"):
        Graph(proto)


def test_a_tensor_written_twice_is_refused() -> None:
    proto = model("g (float[2] x) => (float[2] y) { y = Relu(x) \n z = Neg(x) }")
    proto.graph.node[1].output[0] = "y"
    with pytest.raises(InputError, match="'y' is written by two nodes"):
        Graph(proto)


def test_constants_come_from_initializers_and_constant_nodes_and_are_no_inputs() -> None:
    proto = model(
        "g (float[2] x, float[2] w) => (float[2] y)"
        "{ c = Constant <value_floats = [1.0, 2.0]> () \n a = Mul(x, w) \n y = Add(a, c) }"
    )
    proto.graph.initializer.append(numpy_helper.from_array(np.array([3, 4], "f"), "w"))
    graph = Graph(proto)
    assert graph.inputs == ("x",)
    weight, constant = graph.constant("w"), graph.constant("c")
    assert weight is not None
    assert constant is not None
    assert weight.tolist() == [3, 4]
    assert constant.tolist() == [1, 2]
    assert graph.constant("x") is None
    assert graph.float_activations() == ("x", "a", "y")


def test_shapes_and_types_are_inferred_with_names_for_open_dimensions() -> None:
    text = (
        "g (float[N,3,8,8] x) => (float[N,5] y){ a = Conv(x, w) \n s = Shape(x) \n f = Flatten(a) \n y = MatMul(f, v) }"
    )
    graph = Graph(model(text, w=np.zeros((5, 3, 3, 3), "f"), v=np.zeros((180, 5), "f")))
    assert graph.shape("a") == ("N", 5, 6, 6)
    assert graph.shape("w") == (5, 3, 3, 3)
    assert graph.dtype("s") == np.int64
    assert graph.float_activations() == ("x", "a", "f", "y")
    assert graph.shape("nobody") is None
    assert graph.dtype("nobody") is None


def test_float16_counts_as_a_float_activation_and_integers_do_not() -> None:
    graph = Graph(model("g (float16[2] x) => (int64[2] y) { a = Relu(x) \n y = Cast <to = 7> (a) }"))
    assert graph.float_activations() == ("x", "a")


def test_indexing_leaves_the_model_untouched() -> None:
    proto = branching()
    before = proto.SerializeToString()
    graph = Graph(proto)
    graph.shape("y")
    assert proto.SerializeToString() == before


def test_an_unknown_operator_leaves_the_type_open_instead_of_failing() -> None:
    proto = model("g (float[2] x) => (y) { a = Relu(x) \n y = Neg(a) }")
    proto.graph.node[0].domain = "made.up"
    proto.opset_import.append(helper.make_opsetid("made.up", 1))
    assert Graph(proto).dtype("a") is None
    assert Graph(proto).shape("a") is None
