from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlab.audit.inspector import UNKNOWN, parse_inspector, precision_of
from quantlab.errors import InputError, UsageError
from tests.audit.reports import EXPLICIT, FP16, IMPLICIT, layer, recorded, report


@pytest.mark.parametrize(("name", "layers"), [(IMPLICIT, 53), (EXPLICIT, 64)])
def test_a_recorded_engine_has_its_layers(name: str, layers: int) -> None:
    inspection = parse_inspector(recorded(name))
    assert len(inspection.layers) == layers
    assert inspection.bindings == ("input", "logits")
    assert inspection.profiles == 1
    assert all(UNKNOWN not in (one.precision, one.output_precision) for one in inspection.layers)


def test_raw_control_characters_are_read() -> None:
    text = recorded(IMPLICIT)
    with pytest.raises(json.JSONDecodeError):
        json.loads(text)
    stem = parse_inspector(text).layers[1]
    assert stem.onnx_nodes == ("/_conv_stem/static_padding/Pad", "/_conv_stem/Conv", "/_swish/Clip")
    assert (stem.kind, stem.weights, stem.precision, stem.output_precision) == (
        "CaskConvolution",
        "INT8",
        "INT8",
        "INT8",
    )
    assert stem.tactic.startswith("sm80_xmma_fprop_first_layer_i8i8")
    assert stem.inputs[0].shape == (128, 3, 224, 224)


@pytest.mark.parametrize(
    ("words", "precision"),
    [
        ("Thirty-two wide channel vectorized row major Int8 format", "INT8"),
        ("Channel major INT8 format where column stride % 32 == 0", "INT8"),
        ("Row major linear FP16 format", "FP16"),
        ("Row major linear FP32", "FP32"),
        ("Row major linear BFloat16 format", "BF16"),
        ("Row major linear UInt8 format", "UINT8"),
        ("Row major linear Int64 format", "INT64"),
        ("Half", "FP16"),
        ("Float", "FP32"),
        ("FP8", "FP8"),
        ("N/A due to dynamic shapes", UNKNOWN),
        ("", UNKNOWN),
    ],
)
def test_the_words_for_a_type(words: str, precision: str) -> None:
    assert precision_of(words) == precision


def test_one_word_types_are_read_as_10_x_is_said_to_write_them() -> None:
    text = '{"Layers": [{"Name": "a", "LayerType": "kgen", "Inputs": [{"Name": "x", "Format/Datatype": "Half"}]}]}'
    assert parse_inspector(text).layers[0].precision == "FP16"


def test_split_fields_are_read_as_11_x_is_said_to_write_them() -> None:
    tensor = {"Name": "x", "DataType": "Int8", "Format": "Row major linear INT8 format (kLINEAR)", "Dimensions": [1, 3]}
    fields = {
        "Layers": [{"Name": "a", "LayerType": "gemm", "Inputs": [tensor], "Outputs": [tensor | {"DataType": "Half"}]}],
        "I/O Tensors": [{"Name": "x", "IOMode": "Input", "DataType": "Float"}, {"Name": "y", "IOMode": "Output"}],
    }
    inspection = parse_inspector(json.dumps(fields))
    assert inspection.bindings == ("x", "y")
    assert (inspection.layers[0].precision, inspection.layers[0].output_precision) == ("INT8", "FP16")


def test_layers_of_other_profiles_are_counted_and_left_out() -> None:
    layers = [layer(name, "CaskConvolution", "x FP32", "y FP32") for name in ("a", "a [profile 1]", "a [profile 2]")]
    text = report(*layers, bindings=("x", "x [profile 1]", "y"))
    inspection = parse_inspector(text)
    assert [one.name for one in inspection.layers] == ["a"]
    assert (inspection.profiles, inspection.profile, inspection.bindings) == (3, 0, ("x", "y"))
    with pytest.raises(UsageError, match=r"no optimization profile 3: it has 0, 1, 2"):
        parse_inspector(text, profile=3)


def test_each_profile_of_an_engine_has_layers_of_its_own_under_the_users_names() -> None:
    found = [parse_inspector(recorded(FP16), profile=number) for number in range(3)]
    assert [len(one.layers) for one in found] == [63, 55, 55]
    assert [one.layers[-1].outputs[0].shape[0] for one in found] == [1, 32, 128]
    assert all("[profile" not in t.name for one in found for layer in one.layers for t in layer.outputs)
    assert [{*one.bindings} for one in found] == [{"input", "logits"}] * 3


def test_fp16_is_read_from_a_recorded_engine() -> None:
    first, _, last = (parse_inspector(recorded(FP16), profile=number).layers for number in range(3))
    assert {layer.weights for layer in last} == {"FP16", None}
    assert {layer.precision for layer in first} == {"FP32", "FP16"}
    assert [(one.precision, one.output_precision) for one in (last[0], last[1], last[-1])] == [
        ("FP32", "FP16"),
        ("FP16", "FP16"),
        ("FP16", "FP32"),
    ]


def test_only_the_kernels_name_tells_tf32() -> None:
    kernels = ("sm90_xmma_gemm_f32f32_tf32f32_f32_tn_n", "sm80_xmma_gemm_f32f32_f32f32_f32_nn_n")
    layers = (layer(name, "CaskGemmConvolution", "x FP32", "y FP32", TacticName=name) for name in kernels)
    assert [one.precision for one in parse_inspector(report(*layers)).layers] == ["TF32", "FP32"]


def test_two_layers_of_one_name_are_both_there() -> None:
    one = layer("a", "Reformat", "x FP32", "y INT8")
    assert len(parse_inspector(report(one, one)).layers) == 2


def test_names_only_says_how_to_build() -> None:
    with pytest.raises(InputError, match=r"names only.*detailed profiling verbosity"):
        parse_inspector('{"Layers": ["conv1 + relu1", "fc"], "Bindings": ["x", "y"]}')
    with pytest.raises(InputError, match=r"lists no layers.*detailed profiling verbosity"):
        parse_inspector('{"Layers": []}')


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "must be JSON"),
        ("not JSON", "must be JSON"),
        ("[" * 100_000, "must be JSON"),
        ('{"Layers": ' + "[" * 100_000, "must be JSON"),
        ("9" * 10_000, "must be"),
        ("[1]", "must be a JSON object"),
        ("{}", "no list of «Layers»"),
        ('{"Layers": {"a": 1}}', "no list of «Layers»"),
        ('{"Layers": [3]}', "Layer 0 .* is a int"),
        ('{"Layers": [null]}', "Layer 0 .* is null"),
        ('{"Layers": [{"LayerType": "x"}]}', "Layer 0 .* no «Name»"),
        ('{"Layers": [{"Name": 5}]}', "Layer 0 .* no «Name»"),
        ('{"Layers": [{"Name": "a", "Inputs": {"b": 1}}]}', "«Inputs» of layer «a»"),
        ('{"Layers": [{"Name": "a", "Outputs": ["b"]}]}', "«Outputs» of layer «a»"),
    ],
)
def test_what_is_no_report_is_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        parse_inspector(text)


def test_odd_fields_are_taken_for_unknown() -> None:
    tensors = [{"Name": None, "Dimensions": "3", "Format/Datatype": 7}, {"Dimensions": [True, 2, "x"]}]
    odd = {
        "Name": "a",
        "LayerType": 1,
        "Inputs": tensors,
        "Weights": "w",
        "Metadata": 3,
        "Origin": [],
        "TacticName": {},
    }
    read = parse_inspector(json.dumps({"Layers": [odd], "Bindings": [4, None, "x"]}))
    assert read.bindings == ("x",)
    assert (read.layers[0].kind, read.layers[0].precision, read.layers[0].weights) == (UNKNOWN, UNKNOWN, None)
    assert [t.shape for t in read.layers[0].inputs] == [(), (2,)]


def test_a_cut_report_is_refused() -> None:
    text = recorded(IMPLICIT)
    for length in range(0, len(text) - 2, len(text) // 20):
        with pytest.raises(InputError):
            parse_inspector(text[:length])


_KEYS = st.sampled_from(["Layers", "Name", "Inputs", "Outputs", "LayerType", "Weights", "Metadata", "Bindings"])
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(_VALUES)
def test_any_json_is_read_or_refused_in_a_sentence(value: object) -> None:
    with suppress(InputError):
        parse_inspector(json.dumps({"Layers": value}))
