"""What runs in which precision, on small networks that are quantized here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from quantlab.audit.audit import Audit
from quantlab.audit.layers import LayerRow
from quantlab.audit.tensors import TensorRow
from quantlab.errors import InputError
from quantlab.graph.model import load_model, write_model
from quantlab.report.build import build
from quantlab.report.page import render
from quantlab.report.precision import FLOAT, INT8, WEIGHT_ONLY, Precision
from quantlab.report.run_folder import read_run
from tests.report.html_tree import parse
from tests.report.runs import comparison, parts
from tests.report.test_run_folder import write_comparison

FLOATS = onnx.TensorProto.FLOAT


def pair(tensor: str, scale: str = "s") -> list[onnx.NodeProto]:
    q = helper.make_node("QuantizeLinear", [tensor, scale, "z"], [f"{tensor}_q"], name=f"{tensor} Q")
    return [q, helper.make_node("DequantizeLinear", [f"{tensor}_q", scale, "z"], [f"{tensor}_dq"], name=f"{tensor} DQ")]


def model(*, dead: int = 0) -> onnx.ModelProto:
    """Conv + Relu in INT8, MatMul with a stored integer weight alone, MatMul in float."""
    weight = np.ones((4, 3, 1, 1), np.int8)
    weight[:dead] = 0
    nodes = [
        *pair("x"),
        helper.make_node("DequantizeLinear", ["w_quantized", "ws", "wz"], ["w_dq"], name="w DQ", axis=0),
        helper.make_node("Conv", ["x_dq", "w_dq"], ["c"], name="conv"),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        *pair("r"),
        helper.make_node("GlobalAveragePool", ["r_dq"], ["g"], name="pool"),
        helper.make_node("Flatten", ["g"], ["f"], name="flat"),
        helper.make_node("DequantizeLinear", ["m_quantized", "s", "z"], ["m_dq"], name="m DQ"),
        helper.make_node("MatMul", ["f", "m_dq"], ["h"], name="stored"),
        helper.make_node("MatMul", ["h", "n"], ["y"], name="float"),
    ]
    constants = {
        "s": np.float32(0.1), "z": np.int8(0), "ws": np.full(4, 0.1, "f"), "wz": np.zeros(4, np.int8),
        "w_quantized": weight, "m_quantized": np.ones((4, 5), np.int8), "n": np.ones((5, 2), "f"),
    }  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", FLOATS, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("y", FLOATS, ["batch", 2])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_an_operator_is_int8_where_all_it_reads_is_and_what_runs_in_its_kernel_is_too() -> None:
    found = Precision.of_model(load_model(model()))
    assert {layer.name: layer.computes for layer in found.layers} == {
        "conv": INT8, "relu": INT8, "pool": FLOAT, "flat": FLOAT, "stored": WEIGHT_ONLY, "float": FLOAT,
    }  # fmt: skip
    assert found.kinds == (INT8, WEIGHT_ONLY, FLOAT)
    assert found.quantized == ("r", "x")


def test_the_share_is_of_the_multiply_accumulates() -> None:
    found = Precision.of_model(load_model(model()))
    assert (found.total, found.unknown) == (8 * 8 * 4 * 3 + 4 * 5 + 5 * 2, 0)
    assert found.coverage == pytest.approx(768 / 798)
    lines = {line.operator: line for line in found.by_operator}
    assert lines["MatMul"].counts == {WEIGHT_ONLY: 1, FLOAT: 1}
    assert lines["MatMul"].share == pytest.approx(30 / 798)
    assert lines["MatMul"].int8_share == 0
    assert sum(line.share for line in found.by_operator) == pytest.approx(1.0)
    assert [layer.name for layer in found.not_int8[:2]] == ["stored", "float"]


def test_every_float_operator_has_a_reason_and_the_builder_s_comes_first() -> None:
    told = {"float": "a last weighted operator stays in float", "g": "read by Flatten in float"}
    reasons = {layer.name: layer.reason for layer in Precision.of_model(load_model(model()), told).layers}
    assert reasons == {
        "conv": "",
        "relu": "",
        "pool": "its result is read by Flatten in float",
        "flat": "reads «g» in float",
        "stored": "its weight is stored as integers; what it reads stays float",
        "float": "a last weighted operator stays in float",
    }


def test_channels_whose_weights_are_all_zero_are_counted() -> None:
    assert Precision.of_model(load_model(model())).dead == {}
    assert Precision.of_model(load_model(model(dead=3))).dead == {"w": 3}


def audit() -> Audit:
    layers = (
        LayerRow("conv + relu", "CaskConvolution", "compute", "INT8", "INT8", "INT8", ("conv",), ("Conv",), 700, 0.5),
        LayerRow("copy", "Reformat", "copy", "INT8", "FP32"),
        LayerRow("gemm", "gemm", "compute", "FP16", "FP16", "FP16", ("float",), ("MatMul",), 300, 0.25),
    )
    why = TensorRow("h", "float", "no-kernel", "FP16", "gemm", "«gemm» runs in float: slower.")
    return Audit("net.onnx", layers, (why,), ())


def test_an_audit_tells_what_was_built_and_its_share_goes_first() -> None:
    found = Precision.of_audit(audit())
    assert [(layer.name, layer.computes, layer.reason) for layer in found.layers] == [
        ("conv + relu", "INT8", ""),
        ("gemm", "FP16", "«gemm» runs in float: slower."),
    ]
    assert found.coverage == pytest.approx(0.7)
    data = build(parts(audit=audit(), precision=Precision.of_model(load_model(model()))))
    assert data.coverage == pytest.approx(0.7)
    page = parse(render(data))
    tiles = {tile.one("dt").text: tile.one("strong").text for tile in page.all("div", class_="tile")}
    assert tiles["INT8 share of the work"] == "70.00 %"
    assert len(page.one("section", id="precision").all("h3")) == 3


def test_the_folder_s_model_and_audit_are_read_in_either_form(tmp_path: Path) -> None:
    write_comparison(tmp_path / "compare.json", comparison())
    write_model(load_model(model()), tmp_path / "model.int8.onnx")
    for text in (json.dumps(audit().to_json()), json.dumps({"summary": "…", "audit": audit().to_json()})):
        (tmp_path / "audit.json").write_text(text, encoding="utf-8")
        data = read_run(tmp_path)
        assert data.precision is not None
        assert data.engine_precision == Precision.of_audit(audit())
    for text in ("{", "[]", '{"audit": {}}'):
        (tmp_path / "audit.json").write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match=r"audit\.json"):
            read_run(tmp_path)


def test_without_notes_the_model_tells_which_tensors_it_quantizes() -> None:
    precision = Precision("model", (), quantized=("a", "c"))
    data = build(parts(floats={}, precision=precision, final=comparison()))
    assert [row.name for row in data.tensors] == ["a", "c"]


def test_the_page_counts_by_operator_and_names_what_is_not_int8() -> None:
    section = parse(render(build(parts(precision=Precision.of_model(load_model(model())))))).one(
        "section", id="precision"
    )
    rows = {row[0]: row[1:] for row in section.all("table")[0].rows()}
    assert rows["Conv"] == ["1", "–", "–", "96.24 %", "96.24 %"]
    assert rows["MatMul"] == ["–", "1", "1", "3.76 %", "0.00 %"]
    assert "96.24 % of 798 multiply-accumulates a sample run on integers" in section.text
    assert [row[0] for row in section.all("table")[1].rows()] == ["stored", "float", "pool", "flat"]
