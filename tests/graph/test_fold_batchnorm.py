from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, numpy_helper

from quantlab.graph.model import load_model
from quantlab.graph.normalise import normalise
from quantlab.graph.view import Graph
from tests.graph.equal_models import (
    check_equal,
    conv_norm,
    f32,
    image,
    model,
    norm,
    operators,
    weights,
)


def test_a_norm_after_a_convolution_is_folded_and_its_output_keeps_its_name() -> None:
    result = check_equal(conv_norm(), image(2, 3, 6, 6))
    graph = result.model.proto.graph
    assert [(n.op_type, *n.output) for n in graph.node] == [("Conv", "n"), ("Relu", "y")]
    assert [t.name for t in graph.initializer] == ["k", "b"]
    assert (result.names, result.gone) == ({}, ("c",))
    assert "1 BatchNormalization nodes were folded" in result.notes[-1]
    assert result.notes[-1].endswith("no more: c.")


def test_folding_rounds_once_from_float64() -> None:
    proto = conv_norm()
    given = {t.name: numpy_helper.to_array(t).astype(np.float64) for t in proto.graph.initializer}
    factor = given["gamma"] / np.sqrt(given["var"] + np.float64(np.float32(1e-5)))
    graph = Graph(normalise(load_model(proto)).model.proto)
    np.testing.assert_allclose(np.asarray(graph.constant("k")), given["k"] * factor[:, None, None, None], rtol=6.1e-8)
    expected = given["b"] * factor + given["beta"] - given["mean"] * factor
    np.testing.assert_allclose(np.asarray(graph.constant("b")), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("tail", "outputs"),
    [
        ("e = Exp(c) \n y = Add(n, e)", "float[N,4,h,w] y"),  # a second reader
        ("y = Relu(n)", "float[N,4,h,w] y, float[N,4,h,w] c"),  # an output
    ],
)
def test_a_norm_stays_where_the_tensor_before_it_is_needed(tail: str, outputs: str) -> None:
    result = check_equal(conv_norm(tail, outputs), image(2, 3, 6, 6))
    assert "BatchNormalization" in operators(result)
    assert result.gone == ()


def test_a_norm_that_is_an_output_is_folded() -> None:
    result = check_equal(conv_norm("y = Relu(n)", "float[N,4,h,w] y, float[N,4,h,w] n"), image(2, 3, 6, 6))
    assert operators(result) == ["Conv", "Relu"]


def test_an_identity_between_does_not_hinder_folding() -> None:
    proto = model("""net (float[N,3,6,6] x) => (float[N,4,h,w] y) {
        c = Conv(x, k) \n i = Identity(c) \n y = BatchNormalization<epsilon = 0.01>(i, gamma, beta, mean, var) }""",
        k=weights(4, 3, 3, 3), **norm(4))  # fmt: skip
    result = check_equal(proto, image(2, 3, 6, 6))
    assert operators(result) == ["Conv"]
    assert [t.name for t in result.model.proto.graph.initializer] == ["k", "y_bias"]
    assert (result.gone, result.aliases) == (("c", "i"), {})


def test_a_norm_before_a_convolution_stays() -> None:
    proto = model("""net (float[N,3,6,6] x) => (float[N,4,h,w] y) {
        n = BatchNormalization(x, gamma, beta, mean, var) \n y = Conv(n, k) }""",
        k=weights(4, 3, 3, 3), **norm(3))  # fmt: skip
    assert operators(check_equal(proto, image(2, 3, 6, 6))) == ["BatchNormalization", "Conv"]


def test_two_norms_in_a_row_are_both_folded() -> None:
    proto = model("""net (float[N,3,6,6] x) => (float[N,4,h,w] y) { c = Conv(x, k)
        n = BatchNormalization(c, gamma, beta, mean, var)
        y = BatchNormalization(n, qgamma, qbeta, qmean, qvar) }""",
        k=weights(4, 3, 3, 3), **norm(4), **norm(4, "q"))  # fmt: skip
    result = check_equal(proto, image(2, 3, 6, 6))
    assert operators(result) == ["Conv"]
    assert result.gone == ("c", "n")


def test_depthwise_and_transposed_convolutions_are_folded() -> None:
    proto = model("""net (float[N,4,6,6] x) => (float[N,6,h,w] y) {
        c = Conv<group = 4>(x, k) \n n = BatchNormalization(c, gamma, beta, mean, var)
        t = ConvTranspose<group = 2>(n, v, b) \n y = BatchNormalization(t, qgamma, qbeta, qmean, qvar) }""",
        k=weights(4, 1, 3, 3), v=weights(4, 3, 2, 2), b=weights(6), **norm(4), **norm(6, "q"))  # fmt: skip
    assert operators(check_equal(proto, image(2, 4, 6, 6))) == ["Conv", "ConvTranspose"]


@pytest.mark.parametrize("attributes", ["", "<transB = 1>", "<alpha = 0.5, beta = 2.0>", "<beta = 0.0>"])
@pytest.mark.parametrize("bias", [(5,), (1, 5), (), (1,), None])
def test_a_norm_after_gemm_is_folded(attributes: str, bias: tuple[int, ...] | None) -> None:
    b = {} if bias is None else {"b": weights(*bias)}
    proto = model(f"""net (float[N,3] x) => (float[N,5] y) {{
        g = Gemm{attributes}(x, w{", b" if b else ""}) \n y = BatchNormalization(g, gamma, beta, mean, var) }}""",
        w=weights(*((5, 3) if "transB" in attributes else (3, 5))), **b, **norm(5))  # fmt: skip
    assert operators(check_equal(proto, image(4, 3))) == ["Gemm"]


def test_shared_weights_are_folded_apart_and_the_user_s_stay_for_others() -> None:
    proto = model("""net (float[N,4,6,6] x) => (float[N,4,h,w] y) {
        a = Conv(x, k, b) \n m = BatchNormalization(a, gamma, beta, mean, var)
        c = Conv(m, k, b) \n n = BatchNormalization(c, qgamma, qbeta, qmean, qvar)
        y = Conv(n, k, b) }""",
        k=weights(4, 4, 1, 1), b=weights(4), **norm(4), **norm(4, "q"))  # fmt: skip
    result = check_equal(proto, image(2, 4, 6, 6))
    assert operators(result) == ["Conv"] * 3
    stored = {t.name for t in result.model.proto.graph.initializer}
    assert stored == {"m_weight", "m_bias", "n_weight", "n_bias", "k", "b"}


def test_a_folded_copy_does_not_stand_for_the_weight_it_came_from() -> None:  # its scales are others
    proto = model("""net (float[N,4,6,6] x) => (float[N,4,h,w] y, float[N,4,h,w] n) {
        a = Conv(x, k, b) \n n = BatchNormalization(a, gamma, beta, mean, var) \n y = Conv(x, k, b) }""",
        k=weights(4, 4, 1, 1), b=weights(4), **norm(4))  # fmt: skip
    result = check_equal(proto, image(2, 4, 6, 6))
    assert Graph(result.model.proto).is_constant("n_weight")
    assert (result.names, result.aliases) == ({}, {})


def test_a_name_that_is_taken_is_not_used_for_a_folded_bias() -> None:
    proto = model("""net (float[N,3,6,6] x) => (float[N,4,h,w] y, float[N,3,6,6] n_bias) { n_bias = Exp(x)
        c = Conv(x, k) \n n = BatchNormalization(c, gamma, beta, mean, var) \n y = Relu(n) }""",
        k=weights(4, 3, 3, 3), **norm(4))  # fmt: skip
    result = check_equal(proto, image(2, 3, 6, 6))
    assert {t.name for t in result.model.proto.graph.initializer} == {"k", "n_bias_1"}


def test_a_norm_with_a_negative_variance_stays() -> None:
    proto = conv_norm()
    variance = next(t for t in proto.graph.initializer if t.name == "var")
    variance.CopyFrom(numpy_helper.from_array(f32([1, -1, 1, 1]), "var"))
    result = normalise(load_model(proto))
    assert "BatchNormalization" in operators(result)
    assert "was not folded: its factors are not finite" in result.notes[-1]


def test_float16_weights_are_folded_in_float16() -> None:
    constants = {k: v.astype(np.float16) for k, v in {"k": weights(4, 3, 1, 1), **norm(4)}.items()}
    proto = model(
        """net (float16[N,3,6,6] x) => (float16[N,4,h,w] y) {
        c = Conv(x, k) \n y = BatchNormalization(c, gamma, beta, mean, var) }""",
        **constants,
    )
    result = normalise(load_model(proto))
    assert {t.data_type for t in result.model.proto.graph.initializer} == {TensorProto.FLOAT16}
