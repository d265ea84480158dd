import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from quantlab.errors import InputError
from quantlab.graph.model import Model, load_model

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install 'quantlab[qat]'")

from quantlab.qat.matching import align  # noqa: E402 - after torch is known to be there


def model(prefix: str, *, kind: str = "Relu", bias: bool = True, tied: bool = False) -> Model:
    """Two Gemm with an activation between, every name with a prefix."""
    square = np.eye(3, dtype=np.float32)
    constants = {"w": square, "b": np.zeros(3, np.float32)} | ({} if tied else {"v": square})
    nodes = [
        helper.make_node(
            "Gemm", [f"{prefix}x", f"{prefix}w", *([f"{prefix}b"] if bias else [])], [f"{prefix}h"], f"{prefix}1"
        ),
        helper.make_node(kind, [f"{prefix}h"], [f"{prefix}a"], f"{prefix}2"),
        helper.make_node("Gemm", [f"{prefix}a", f"{prefix}{'w' if tied else 'v'}"], [f"{prefix}y"], f"{prefix}3"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(f"{prefix}x", TensorProto.FLOAT, [None, 3])],
        [helper.make_tensor_value_info(f"{prefix}y", TensorProto.FLOAT, [None, 3])],
        [numpy_helper.from_array(value, f"{prefix}{name}") for name, value in constants.items()],
    )
    made: onnx.ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return load_model(made)


def test_names_of_the_same_network_are_told_apart_and_together() -> None:
    found = align(model("a"), model("b"))
    assert found.nodes == {f"a{i}": f"b{i}" for i in (1, 2, 3)}
    assert found.tensors == {f"a{name}": f"b{name}" for name in "xhay"}


def test_one_initializer_may_stand_for_several() -> None:
    found = align(model("a", tied=True), model("b"))
    assert found.operands == {("a1", 1): "bw", ("a1", 2): "bb", ("a3", 1): "bv"}


def test_a_bias_that_one_of_them_leaves_out_is_told() -> None:
    assert align(model("a", bias=False), model("b")).added == {("a1", 2): "bb"}
    assert align(model("a"), model("b", bias=False)).missing == {("a1", 2): "ab"}


def test_another_network_is_refused() -> None:
    with pytest.raises(InputError, match="it comes from a Relu in the one, from a Tanh in the other"):
        align(model("a"), model("b", kind="Tanh"))
