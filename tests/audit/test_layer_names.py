from __future__ import annotations

import pytest

from quantlab.audit.layer_names import finder, nodes_in_metadata


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        ("", ()),
        ("[ONNX Layer: a]", ("a",)),
        ("[ONNX Layer: a]\x1e[ONNX Layer: b]\x1f[ONNX Layer: a]", ("a", "b")),
        ("[ONNX Layer: a][ONNX Layer: b]", ("a", "b")),
        ("[ONNX Layer: x[0] + y]", ("x[0] + y",)),
        ("of another exporter", ()),
    ],
)
def test_nodes_in_metadata(text: str, nodes: tuple[str, ...]) -> None:
    assert nodes_in_metadata(text) == nodes


@pytest.mark.parametrize(
    ("name", "nodes"),
    [
        ("conv1 + PWN(relu1)", ("conv1", "relu1")),
        ("PWN(PWN(sigmoid), mul)", ("sigmoid", "mul")),
        ("conv1 || conv2", ("conv1", "conv2")),
        ("w_quantized + conv1 + (Unnamed Layer* 670) [ElementWise]", ("w_quantized", "conv1")),
        ("Reformatting CopyNode for Input Tensor 0 to conv1 + PWN(relu1)", ()),
        ("", ()),
    ],
)
def test_without_a_model_a_name_is_taken_apart(name: str, nodes: tuple[str, ...]) -> None:
    assert finder(())(name) == nodes


@pytest.mark.parametrize(
    ("name", "nodes"),
    [
        ("w_quantized + a + b + PWN(relu)", ("a + b", "relu")),
        ("a + PWN(PWN(relu), x)", ("a", "relu")),
        ("{ForeignNode[a...relu]}", ("a", "relu")),
        ("transpose_before_relu + relu", ("relu",)),
        ("relu_1", ()),
        ("Reformatting CopyNode for Output Tensor 0 to relu", ()),
    ],
)
def test_with_a_model_the_longest_known_names_are_found(name: str, nodes: tuple[str, ...]) -> None:
    assert finder(("a", "a + b", "relu", ""))(name) == nodes
