"""Dynamic quantization by ONNX Runtime."""

from __future__ import annotations

import logging

import numpy as np
import onnx
import pytest

from quantlab.engines.dynamic_quantization import quantize_dynamic
from quantlab.engines.onnx_runtime import OrtEngine
from quantlab.engines.opening import plain_network
from quantlab.engines.ort_session import OrtOptions
from quantlab.errors import InputError
from quantlab.graph.metadata import chosen_on, provenance_of
from quantlab.graph.model import Model, load_model
from quantlab.graph.view import Graph
from quantlab.graph.weight_only import store_weights
from tests.graph.nets import net, residual_net
from tests.graph.quantizing import FEED

TEXT = "g (float[N,64] x) => (float[N,6] y) { a = MatMul(x, w) \n b = Relu(a) \n y = Gemm<transB = 1>(b, v, c) }"


def outputs(model: Model, feeds: dict[str, np.ndarray]) -> np.ndarray:
    with OrtEngine(plain_network(model), options=OrtOptions(threads=1)) as engine:
        return next(iter(engine.run(feeds).values())).copy()


def sqnr(exact: np.ndarray, got: np.ndarray) -> float:
    return float(20 * np.log10(np.linalg.norm(exact) / np.linalg.norm(exact - got)))


def test_convolutions_and_matrix_products_work_on_integers_and_stay_close() -> None:
    model = load_model(residual_net())
    got = quantize_dynamic(model)
    assert got.quantized == ("Conv1", "Conv3", "Conv5", "Conv8", "Conv12", "Gemm16")
    assert not got.floats
    kinds = {node.op_type for node in got.model.proto.graph.node}
    assert {"ConvInteger", "MatMulInteger", "DynamicQuantizeLinear"} <= kinds
    assert not kinds & {"Conv", "Gemm", "MatMul"}
    assert sqnr(outputs(model, FEED), outputs(got.model, FEED)) > 25


def test_ranges_follow_each_batch() -> None:
    model = load_model(net(TEXT, w=(64, 32), v=(6, 32), c=(6,)))
    got = quantize_dynamic(model).model
    rows = np.random.default_rng(0).normal(size=(5, 64)).astype(np.float32)
    for factor in (1e-3, 1.0, 1e3):
        feeds = {"x": (rows * factor).astype(np.float32)}
        assert sqnr(outputs(model, feeds), outputs(got, feeds)) > 30


def test_each_column_of_a_matrix_has_its_own_scale() -> None:
    got = quantize_dynamic(load_model(net(TEXT, w=(64, 32), v=(6, 32), c=(6,)))).model
    scales = [tuple(t.dims) for t in got.proto.graph.initializer if t.name.endswith("_scale")]
    assert sorted(scales) == [(6,), (32,)]


def test_all_tensors_keep_their_names() -> None:
    model = load_model(residual_net())
    got = quantize_dynamic(model).model
    assert set(Graph(model.proto).tensors()) <= set(Graph(got.proto).tensors())
    assert [o.name for o in got.proto.graph.output] == ["y"]


def test_products_of_two_computed_tensors_stay_float() -> None:
    text = "g (float[N,4,8] x) => (float[N,4,8] y) { t = Transpose<perm = [0,2,1]>(x) \n a = MatMul(x, t) \n b = MatMul(a, x) \n y = MatMul(b, w) }"
    got = quantize_dynamic(load_model(net(text, w=(8, 8))))
    assert got.quantized == ("MatMul3",)
    assert dict(got.floats) == dict.fromkeys(("MatMul1", "MatMul2"), "both its inputs are computed")


def test_a_gemm_whose_weight_is_computed_stays_float() -> None:
    text = "g (float[N,8] x, float[3,8] u) => (float[N,3] y, float[N,8] z) { y = Gemm<transB = 1>(x, u) \n z = MatMul(x, w) }"
    got = quantize_dynamic(load_model(net(text, w=(8, 8))))
    assert (got.quantized, set(got.floats)) == (("MatMul1",), {"Gemm0"})


def test_the_model_tells_what_it_was_made_of_and_by_what() -> None:
    model = load_model(residual_net())
    got = quantize_dynamic(model).model
    origin = provenance_of(got)
    assert origin is not None
    assert (origin.model, chosen_on(got)) == (model.digest, ())
    assert set(origin.versions) == {"quantlab", "python", "onnxruntime"}
    assert [entry.key for entry in got.proto.metadata_props] == ["quantlab"]


def test_the_same_model_gives_the_same_bytes_and_stays_as_it_is() -> None:
    model = load_model(residual_net())
    before = model.proto.SerializeToString()
    one, other = (quantize_dynamic(model).model.proto.SerializeToString(deterministic=True) for _ in range(2))
    assert one == other
    assert model.proto.SerializeToString() == before


def test_nothing_is_logged_and_others_still_are(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        quantize_dynamic(load_model(residual_net()))
        logging.getLogger().warning("mine")
    assert [record.message for record in caplog.records if record.name == "root"] == ["mine"]


def test_a_model_with_qdq_is_refused() -> None:
    model = store_weights(load_model(residual_net())).model
    with pytest.raises(InputError, match="already has Q/DQ"):
        quantize_dynamic(model)


def test_a_model_in_which_nothing_can_be_quantized_is_refused() -> None:
    with pytest.raises(InputError, match="no weight to quantize in g"):
        quantize_dynamic(load_model(net("g (float[N,3] x) => (float[N,3] y) { y = Relu(x) }")))


def test_a_model_that_the_quantizer_cannot_read_is_refused_with_a_sentence() -> None:
    proto = net(TEXT, w=(64, 32), v=(6, 33), c=(6,))
    with pytest.raises(InputError, match="cannot quantize the model dynamically"):
        quantize_dynamic(load_model(proto))
    assert isinstance(proto, onnx.ModelProto)
