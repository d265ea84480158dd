"""A Q/DQ model comes apart into a plain model and a cache, and goes together again."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from quantlab.builder import QuantizeOptions, quantize
from quantlab.caches.equality import cost, equality
from quantlab.caches.filling import filled, restored
from quantlab.caches.identity import scale_identity
from quantlab.caches.plain import plain_of
from quantlab.calibration.trt_cache import cache_of, render_cache, table_of
from quantlab.data import random_data
from quantlab.engines import ort
from quantlab.errors import InputError
from quantlab.graph.model import Model, load_model
from quantlab.graph.normalise import normalise
from quantlab.graph.view import Graph
from tests.caches.networks import SCALES, cache, model

_FOREIGN = """
<ir_version: 8, opset_import: ["" : 17]>
foreign (float[batch,3,4,4] image) => (float[batch,2,4,4] out)
<float sx = {0.1}, uint8 zx = {128}, float[2] sw = {0.5, 0.25}, int8[2] zw = {0, 0}, float so = {0.2}, int8 zo = {0}> {
  xq = QuantizeLinear (image, sx, zx)
  x = DequantizeLinear (xq, sx, zx)
  w = DequantizeLinear <axis = 0> (wq, sw, zw)
  y = Conv (x, w)
  yq = QuantizeLinear (y, so, zo)
  out = DequantizeLinear (yq, so, zo)
}
"""


def foreign(change: Callable[[onnx.ModelProto], None] | None = None) -> Model:
    """Return a model as ONNX Runtime writes it: UINT8 about 128, INT8 weights with a scale a channel, a quantized output."""
    proto = onnx.parser.parse_model(_FOREIGN)
    weights = np.arange(-3, 3, dtype=np.int8).reshape(2, 3, 1, 1)
    proto.graph.initializer.append(numpy_helper.from_array(weights, "wq"))
    if change is not None:
        change(proto)
    return load_model(proto)


def replace(proto: onnx.ModelProto, name: str, value: object) -> None:
    """Give an initializer another value."""
    stored = next(tensor for tensor in proto.graph.initializer if tensor.name == name)
    stored.CopyFrom(numpy_helper.from_array(np.asarray(value), name))


def built(weights: str = "int8", head: str = "float", scales: dict[str, float] | None = None) -> Model:
    """Return the small network with Q/DQ at a cache's scales."""
    options = QuantizeOptions(
        "tensorrt@11.0", "qdq" if weights == "qdq" else "int8", "int8" if head == "int8" else "float"
    )
    return quantize(model(), table_of(cache(scales or SCALES)), options=options).model


@pytest.mark.parametrize("weights", ["int8", "qdq"])
@pytest.mark.parametrize("head", ["float", "int8"])
def test_what_quantlab_put_in_comes_out_to_the_bit(weights: str, head: str) -> None:
    quantized = built(weights, head)
    parts = plain_of(quantized, original=model())
    assert parts.model.digest == normalise(model()).model.digest
    assert parts.notes == ()
    assert {row.tensor: row.scale[0] for row in parts.table.rows} == {t: cache().scales[t] for t in parts.exact}
    assert scale_identity(cache().scales, quantized).other == {}


@given(st.dictionaries(st.sampled_from(sorted(SCALES)), st.floats(1e-6, 1e6)))
@settings(max_examples=15)
def test_any_scales_survive_the_way_to_qdq_and_back(changes: dict[str, float]) -> None:
    scales = {**SCALES, **changes}
    quantized = built(scales=scales)
    back = restored(plain_of(quantized).table, quantized)
    joined = scale_identity(cache(scales).scales, quantized).other
    if joined:  # what Concat and MaxPool pass on has one scale in Q/DQ, and may have several in a cache
        assert back is None
        assert set(joined) <= {"leftr", "rightr", "both", "pool"}
    else:
        assert back is not None
        assert render_cache(cache_of(back)) == render_cache(cache(scales))


def test_dequantized_weights_make_the_same_integers_again() -> None:
    quantized = built()
    parts = plain_of(quantized)
    table = filled(parts.table, Graph(parts.model.proto))
    again = quantize(parts.model, table, options=QuantizeOptions("tensorrt@11.0", allow_missing=True)).model
    samples = random_data(ort(model()).inputs, 4, 0, batch=2)
    found = equality(quantized, again, [dict(batch) for batch in samples])
    assert found.samples == 4
    assert found.agreement == 1.0
    assert found.sqnr_db > 60
    assert cost(model(), quantized, [dict(batch) for batch in samples]).sqnr_db < 40


def test_tensors_of_the_same_values_are_filled_in() -> None:
    parts = plain_of(built())
    rows = {row.tensor: row for row in parts.table.rows if row.tensor != "pool"}
    table = filled(parts.table.without("pool"), Graph(parts.model.proto)) if "pool" in parts.table else parts.table
    assert table["pool"].scale == rows["act"].scale


def test_strangers_models_come_apart() -> None:
    parts = plain_of(foreign())
    assert {row.tensor: row.scale for row in parts.table.rows} == {
        "image": (float(np.float32(0.1)),),
        "out": (float(np.float32(0.2)),),
    }
    assert [node.op_type for node in parts.model.proto.graph.node] == ["Conv"]
    (weight,) = parts.model.proto.graph.initializer
    expected = np.arange(-3, 3).reshape(2, 3, 1, 1) * np.array([0.5, 0.25]).reshape(2, 1, 1, 1)
    np.testing.assert_array_equal(numpy_helper.to_array(weight), expected.astype(np.float32))
    assert parts.model.opset == 17
    assert [output.name for output in parts.model.proto.graph.output] == ["out"]
    onnx.checker.check_model(parts.model.proto, full_check=True)


def test_an_affine_activation_is_refused_or_widened_and_said() -> None:
    strange = foreign(lambda proto: replace(proto, "zx", np.array([0], np.uint8)))
    with pytest.raises(InputError, match=r"«image» is uint8 with zero point 0.*--widen"):
        plain_of(strange)
    parts = plain_of(strange, widen=True)
    assert parts.table["image"].scale[0] == pytest.approx(255 * 0.1 / 127)
    assert "image" not in parts.exact
    assert any("affine" in note for note in parts.notes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda proto: replace(proto, "sw", np.array([0.5, 0.25, 0.1], np.float32)), "3 scales for axis 0"),
        (lambda proto: replace(proto, "sx", np.array([0.1, 0.2, 0.3], np.float32)), "3 scales; a cache holds one"),
        (lambda proto: replace(proto, "sx", np.array([0.0], np.float32)), "finite and > 0"),
        (
            lambda proto: proto.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("yq", 3, None)),
            "as integers",
        ),
    ],
)
def test_what_cannot_be_taken_out_is_one_sentence(change: Callable[[onnx.ModelProto], None], message: str) -> None:
    with pytest.raises(InputError, match=message):
        plain_of(foreign(change))


def test_a_float_model_and_one_on_integers_are_refused() -> None:
    with pytest.raises(InputError, match="has no Q/DQ"):
        plain_of(model())

    def on_integers(proto: onnx.ModelProto) -> None:
        proto.graph.node.append(onnx.helper.make_node("ConvInteger", ["xq", "wq"], ["z"], "ci"))

    with pytest.raises(InputError, match="computes on integers"):
        plain_of(foreign(on_integers))


def test_the_weights_of_another_model_are_refused() -> None:
    with pytest.raises(InputError, match="does not round to the integers"):
        plain_of(built(), original=model(seed=1))


def test_two_scales_of_one_tensor_become_the_larger_and_are_said() -> None:
    def second(proto: onnx.ModelProto) -> None:
        graph = proto.graph
        graph.initializer.append(numpy_helper.from_array(np.array([0.4], np.float32), "sx2"))
        graph.node.extend(
            [
                onnx.helper.make_node("QuantizeLinear", ["image", "sx2", "zx"], ["xq2"], "q2"),
                onnx.helper.make_node("DequantizeLinear", ["xq2", "sx2", "zx"], ["x2"], "d2"),
                onnx.helper.make_node("Relu", ["x2"], ["other"], "r2"),
            ]
        )
        graph.output.append(onnx.helper.make_tensor_value_info("other", 1, None))

    parts = plain_of(foreign(second))
    assert parts.table["image"].scale[0] == pytest.approx(0.4)
    assert "image" not in parts.exact


def test_an_output_that_equals_an_input_keeps_its_name() -> None:
    def straight(proto: onnx.ModelProto) -> None:
        proto.graph.output.append(onnx.helper.make_tensor_value_info("x", 1, ["batch", 3, 4, 4]))

    parts = plain_of(foreign(straight))
    assert [output.name for output in parts.model.proto.graph.output] == ["out", "x"]
    onnx.checker.check_model(parts.model.proto)
