"""Biases are found where they act, and set without any other change."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from quantlab.errors import InputError
from quantlab.graph.biases import biases, with_biases, with_weights
from quantlab.graph.model import Model, load_model
from quantlab.graph.normalise import normalise
from tests.graph.nets import net, net_of, residual_net
from tests.graph.quantizing import constant, run

RANDOM = np.random.default_rng(4)
IMAGE = {"x": RANDOM.normal(size=(2, 4, 6, 6)).astype("f")}
ROWS = {"x": RANDOM.normal(size=(3, 4)).astype("f")}


def of(proto: onnx.ModelProto) -> Model:
    return normalise(load_model(proto)).model


def conv(inputs: str, **shapes: tuple[int, ...]) -> Model:
    return of(net(f"g (float[N,4,6,6] x) => (float[N,c,h,w] y) {{ y = {inputs} }}", **shapes))


def rows(text: str, **arrays: NDArray[Any]) -> Model:
    return of(net_of(f"g (float[N,4] x) => (float[N,c] y) {{ {text} }}", **arrays))


def matrix(*shape: int) -> NDArray[Any]:
    return RANDOM.normal(size=shape).astype("f")


def check_moves_by(model: Model, node: str, feeds: dict[str, NDArray[Any]], axis: int) -> Model:
    """Set the bias to other values and check that the output moves by exactly the difference."""
    bias = biases(model).found[node]
    new = (bias.value + np.arange(1, len(bias.value) + 1)).astype("f")
    changed = with_biases(model, {node: new})
    onnx.checker.check_model(changed.proto, full_check=True)
    np.testing.assert_array_equal(biases(changed).found[node].value, new)
    before, after = run(model.proto, feeds)[0], run(changed.proto, feeds)[0]
    shift = (new - bias.value).reshape([-1 if i == axis % before.ndim else 1 for i in range(before.ndim)])
    np.testing.assert_allclose(after, before + shift, rtol=1e-5, atol=1e-5)
    assert bias.axis % before.ndim == axis % before.ndim
    return changed


@pytest.mark.parametrize(
    ("inputs", "shapes"),
    [
        ("Conv(x, w, b)", {"w": (5, 4, 3, 3), "b": (5,)}),
        ("Conv(x, w)", {"w": (5, 4, 3, 3)}),
        ("Conv<group = 4>(x, w, b)", {"w": (8, 1, 3, 3), "b": (8,)}),
        ("ConvTranspose(x, w, b)", {"w": (4, 5, 3, 3), "b": (5,)}),
        ("ConvTranspose<group = 2>(x, w)", {"w": (4, 3, 3, 3)}),
    ],
)
def test_a_convolution_has_its_bias_at_input_two(inputs: str, shapes: dict[str, tuple[int, ...]]) -> None:
    model = conv(inputs, **shapes)
    changed = check_moves_by(model, model.proto.graph.node[0].name, IMAGE, 1)
    assert changed.proto.graph.node[0].input[2] == ("b" if "b" in shapes else "y_bias")


@pytest.mark.parametrize("shape", [(5,), (1, 5), (1,), ()])
@pytest.mark.parametrize("form", ["", "<beta = 0.5>", "<alpha = 2.0, beta = 3.0>"])
def test_the_bias_of_a_gemm_is_what_acts(form: str, shape: tuple[int, ...]) -> None:
    model = rows(f"y = Gemm{form}(x, w, b)", w=matrix(4, 5), b=matrix(*shape))
    beta = {"": 1.0, "<beta = 0.5>": 0.5}.get(form, 3.0)
    expected = np.broadcast_to(constant(model.proto, "b") * np.float32(beta), (1, 5)).reshape(5)
    np.testing.assert_allclose(biases(model).found["Gemm0"].value, expected, rtol=1e-6)
    check_moves_by(model, "Gemm0", ROWS, 1)


def test_a_gemm_without_bias_gets_one() -> None:
    check_moves_by(rows("y = Gemm<transB = 1, beta = 0.5>(x, w)", w=matrix(5, 4)), "Gemm0", ROWS, 1)


@pytest.mark.parametrize("text", ["y = Add(m, b)", "y = Add(b, m)"])
@pytest.mark.parametrize("shape", [(5,), (1, 5), (1, 1), ()])
def test_the_bias_of_a_matmul_is_the_constant_of_the_add_behind_it(text: str, shape: tuple[int, ...]) -> None:
    model = rows(f"m = MatMul(x, w) \n {text}", w=matrix(4, 5), b=matrix(*shape))
    assert biases(model).found["MatMul0"].output == "y"
    check_moves_by(model, "MatMul0", ROWS, 1)


def test_a_matmul_on_three_axes_has_its_channels_along_the_last() -> None:
    text = "g (float[N,T,4] x) => (float[N,T,5] y) { m = MatMul(x, w) \n y = Add(m, b) }"
    model = of(net(text, w=(4, 5), b=(5,)))
    check_moves_by(model, "MatMul0", {"x": RANDOM.normal(size=(2, 3, 4)).astype("f")}, -1)


@pytest.mark.parametrize(
    ("text", "arrays", "why"),
    [
        ("y = MatMul(x, w)", {"w": matrix(4, 5)}, "is not read by one Add"),
        ("m = MatMul(x, w) \n a = Add(m, b) \n y = Mul(a, m)", {"w": matrix(4, 5), "b": matrix(5)}, "one Add"),
        ("m = MatMul(x, w) \n y = Add(m, m)", {"w": matrix(4, 5)}, "one Add"),
        ("m = MatMul(x, w) \n r = Relu(x) \n y = Add(m, r)", {"w": matrix(4, 4)}, "whose other input is not constant"),
        ("m = MatMul(x, w) \n y = Add(m, b)", {"w": matrix(4, 5), "b": matrix(3, 5)}, "not one a channel"),
        ("m = MatMul(x, w) \n y = Add(m, b)", {"w": matrix(4, 1), "b": matrix(5)}, "not one a channel"),
        ("m = MatMul(x, w) \n y = Add(m, b)", {"w": matrix(2, 4, 5), "b": matrix(5)}, "those of one matrix"),
        ("r = Relu(x) \n t = Transpose(r) \n y = MatMul(x, t)", {}, "has a weight that is not constant"),
        ("y = Gemm(x, w, b)", {"w": matrix(4, 5), "b": matrix(3, 1)}, "not one a channel"),
        ("y = Gemm(x, w, b)", {"w": matrix(4, 5), "b": np.full(5, np.nan, "f")}, "holds NaN"),
    ],
)
def test_what_can_have_no_bias_says_why(text: str, arrays: dict[str, NDArray[Any]], why: str) -> None:
    model = rows(text, **arrays)
    found = biases(model)
    (name,) = found.without
    assert why in found.without[name]
    assert name not in found.found
    with pytest.raises(InputError, match="given no bias"):
        with_biases(model, {name: np.zeros(5, "f")})


def test_a_shared_bias_gets_a_copy_for_the_node_alone() -> None:
    text = "g (float[N,4,6,6] x) => (float[N,4,6,6] y) { a = Conv(x, w, b) \n r = Relu(a) \n y = Conv(r, v, b) }"
    model = of(net(text, w=(4, 4, 1, 1), v=(4, 4, 1, 1), b=(4,)))
    changed = check_moves_by(model, "Conv2", IMAGE, 1)
    np.testing.assert_array_equal(constant(changed.proto, "b"), constant(model.proto, "b"))
    assert [n.input[2] for n in changed.proto.graph.node if n.op_type == "Conv"] == ["b", "y_bias"]
    both = with_biases(model, {n: np.zeros(4, "f") for n in ("Conv0", "Conv2")})
    names = [n.input[2] for n in both.proto.graph.node if n.op_type == "Conv"]
    assert len(set(names)) == 2
    assert not any(constant(both.proto, name).any() for name in names)


def test_a_name_that_is_taken_gets_a_number() -> None:
    text = "g (float[N,4,6,6] x) => (float[N,4,6,6] y) { y_bias = Relu(x) \n y = Conv(y_bias, w) }"
    changed = with_biases(of(net(text, w=(4, 4, 1, 1))), {"Conv1": np.ones(4, "f")})
    assert changed.proto.graph.node[1].input[2] == "y_bias_1"


def test_every_weighted_node_of_a_network_is_found_in_order() -> None:
    model = of(residual_net())
    found = biases(model)
    weighted = [n.name for n in model.proto.graph.node if n.op_type in ("Conv", "Gemm")]
    assert (list(found.found), found.without) == (weighted, {})
    same = with_biases(model, {name: bias.value for name, bias in found.found.items()})
    assert same == model


def test_weights_are_replaced_for_all_that_read_them() -> None:
    model = rows("m = MatMul(x, w) \n r = Relu(m) \n y = MatMul(r, w)", w=matrix(4, 4))
    changed = with_weights(model, {"w": np.eye(4, dtype="f").T})
    np.testing.assert_array_equal(run(changed.proto, ROWS)[0], np.maximum(ROWS["x"], 0))
    assert constant(model.proto, "w")[0, 1] != 0
    assert changed.digest != model.digest
    assert with_weights(changed, {"w": constant(model.proto, "w")}) == model


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (np.zeros(4, "f"), r"shape \[5\]"),
        (np.zeros(5), "float64"),
        (np.array([1, 2, 3, 4, np.inf], "f"), "infinity"),
        ([0.0] * 5, "list"),
    ],
)
def test_values_that_do_not_fit_are_refused(value: Any, why: str) -> None:
    model = rows("y = Gemm(x, w, b)", w=matrix(4, 5), b=matrix(5))
    with pytest.raises(InputError, match=why):
        with_biases(model, {"Gemm0": value})
    with pytest.raises(InputError, match=why):
        with_weights(model, {"b": value})


def test_names_that_are_not_there_are_refused() -> None:
    model = rows("m = Gemm(x, w, b) \n y = Reshape(m, s)", w=matrix(4, 5), b=matrix(5), s=np.array([-1, 5]))
    with pytest.raises(InputError, match="no weighted operator «Gemm9»"):
        with_biases(model, {"Gemm9": np.zeros(5, "f")})
    with pytest.raises(InputError, match="no initializer «v»"):
        with_weights(model, {"v": np.zeros(5, "f")})
    with pytest.raises(InputError, match="is INT64"):
        with_weights(model, {"s": np.zeros(2, "f")})
