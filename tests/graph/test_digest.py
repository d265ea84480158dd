from __future__ import annotations

from collections.abc import Callable

import onnx
import pytest
from onnx import helper, numpy_helper

from quantlab.errors import InputError
from quantlab.graph.model import load_model
from quantlab.graph.stored_tensors import canonical_bytes, light_copy, rebuilt, stored_bytes
from tests.graph.small_models import small_model, wide_model


def renamed_weight(proto: onnx.ModelProto) -> None:
    proto.graph.initializer[1].name = "bias"
    proto.graph.node[0].input[2] = "bias"


def other_weight(proto: onnx.ModelProto) -> None:
    proto.graph.initializer[0].float_data[0] = 1.0000001


def other_attribute(proto: onnx.ModelProto) -> None:
    proto.graph.node[0].attribute.append(helper.make_attribute("alpha", 0.5))


def other_opset(proto: onnx.ModelProto) -> None:
    proto.opset_import[0].version = 18


@pytest.mark.parametrize("change", [renamed_weight, other_weight, other_attribute, other_opset])
def test_the_digest_changes_with_what_is_computed(change: Callable[[onnx.ModelProto], None]) -> None:
    proto = small_model()
    change(proto)
    assert load_model(proto).digest != load_model(small_model()).digest


def other_documentation(proto: onnx.ModelProto) -> None:
    proto.doc_string = proto.graph.doc_string = proto.graph.node[0].doc_string = "read me"
    proto.producer_name, proto.producer_version, proto.model_version = "exporter", "2", 5
    proto.metadata_props.add(key="author", value="me")
    proto.graph.input[0].doc_string = "an image"
    proto.graph.value_info.add(name="unused")
    proto.ir_version = 9


def raw_weights(proto: onnx.ModelProto) -> None:
    for tensor in proto.graph.initializer:
        raw = numpy_helper.from_array(numpy_helper.to_array(tensor), tensor.name)
        assert raw.raw_data
        tensor.CopyFrom(raw)


def other_order(proto: onnx.ModelProto) -> None:
    tensors = list(proto.graph.initializer)
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(reversed(tensors))


@pytest.mark.parametrize("change", [other_documentation, raw_weights, other_order])
def test_the_digest_is_blind_to_how_it_is_stored(change: Callable[[onnx.ModelProto], None]) -> None:
    proto = small_model()
    change(proto)
    assert load_model(proto).digest == load_model(small_model()).digest


@pytest.mark.parametrize("name", sorted(onnx.TensorProto.DataType.keys()))
def test_typed_and_raw_storage_have_the_same_bytes(name: str) -> None:
    if name in ("UNDEFINED", "STRING", "FLOAT6E2M3", "FLOAT6E3M2"):
        return  # no fixed size; or six bits, which onnx stores in one way only
    kind = onnx.TensorProto.DataType.Value(name)
    values = [0, 1, 1, 0, 1]
    typed = helper.make_tensor("t", kind, [5], values)
    raw = helper.make_tensor("t", kind, [5], numpy_helper.to_array(typed))
    stored = raw if raw.raw_data else numpy_helper.from_array(numpy_helper.to_array(typed), "t")
    assert stored.raw_data
    assert canonical_bytes(typed) == canonical_bytes(stored)
    assert len(canonical_bytes(typed)) == stored_bytes(typed)


def test_strings_differ_by_where_they_end() -> None:
    first = onnx.TensorProto(data_type=onnx.TensorProto.STRING, dims=[2], string_data=[b"ab", b"c"])
    second = onnx.TensorProto(data_type=onnx.TensorProto.STRING, dims=[2], string_data=[b"a", b"bc"])
    assert canonical_bytes(first) != canonical_bytes(second)


def test_an_unknown_element_type_is_refused() -> None:
    with pytest.raises(InputError, match="element type 0"):
        stored_bytes(onnx.TensorProto(name="t", dims=[1]))


def test_a_light_copy_declares_large_weights_and_keeps_small_ones() -> None:
    light = light_copy(wide_model())
    assert [t.name for t in light.graph.initializer] == ["b"]
    assert [i.name for i in light.graph.input] == ["x", "w0", "w1"]
    onnx.checker.check_model(light)


def test_rebuilding_with_the_same_tensors_computes_the_same() -> None:
    again = rebuilt(wide_model(), lambda tensor: tensor)
    assert load_model(again) == load_model(wide_model())
    assert rebuilt(again, lambda tensor: tensor) == again
