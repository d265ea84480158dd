"""The road of a custom layer, as far as it needs no GPU: one node, its ONNX Runtime operator, histograms, scales, Q/DQ."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import quantlab as ql
from quantlab import engines
from quantlab.builder import QuantizedModel, QuantizeOptions, quantize
from quantlab.calibration.histogram_set import HistogramSet
from quantlab.calibration.scale_table import ScaleTable
from quantlab.calibration.trt_cache import cache_of, header, parse_cache, render_cache
from quantlab.data import Preprocess, arrays
from quantlab.data.arrays import Arrays
from quantlab.graph.lint import lint_qdq
from quantlab.graph.target import Target
from quantlab.graph.view import Graph
from quantlab.numerics.arrays import F32
from quantlab.numerics.histogram import Histogram

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "notebooks" / "custom_layer"
CUSTOM, BUILT_IN, OPERATORS = FOLDER / "hswish_net.onnx", FOLDER / "hswish_builtin.onnx", FOLDER / "hswish_ort.py"
PREPROCESS = Preprocess(color="GRAY", scale=1 / 255, mean=0.2860, std=0.3530)


@pytest.fixture(scope="module")
def calibration() -> Arrays:
    return arrays(ROOT / "calib_data" / "calibration.npz", preprocess=PREPROCESS, batch=32)


@pytest.fixture(scope="module")
def images(calibration: Arrays) -> F32:
    return np.asarray(dict(next(iter(calibration)).bind(["image"]))["image"])


@pytest.fixture(scope="module")
def histograms(calibration: Arrays) -> HistogramSet:
    with engines.ort(CUSTOM, expose="all", custom_ops=(OPERATORS,)) as engine:
        return ql.collect(engine, calibration)


@pytest.fixture(scope="module")
def table(histograms: HistogramSet) -> ScaleTable:
    return ql.calibrate(histograms)


@pytest.fixture(scope="module")
def quantized(table: ScaleTable) -> QuantizedModel:
    return quantize(CUSTOM, table, options=QuantizeOptions(target="tensorrt@8.6"))


def custom_nodes() -> list[onnx.NodeProto]:
    return [node for node in onnx.load(CUSTOM).graph.node if node.domain == "quantlab"]


def test_the_two_nets_compute_the_same_with_the_same_weights_and_names(images: F32) -> None:
    one, two = onnx.load(CUSTOM), onnx.load(BUILT_IN)
    assert [w.SerializeToString() for w in one.graph.initializer] == [
        w.SerializeToString() for w in two.graph.initializer
    ]
    assert {n.op_type for n in two.graph.node} == {"Conv", "HardSigmoid", "Mul", "GlobalAveragePool", "Flatten", "Gemm"}
    assert len(custom_nodes()) == 5
    with (
        engines.ort(CUSTOM, expose="all", custom_ops=(OPERATORS,)) as custom,
        engines.ort(BUILT_IN, expose="all") as built_in,
    ):
        got, exact = custom.run({"image": images}), built_in.run({"image": images})
        assert set(got) < set(exact)
        for name, values in got.items():
            np.testing.assert_allclose(values, exact[name], rtol=1e-4, atol=1e-4, err_msg=name)


def test_the_operator_rounds_after_each_step(images: F32) -> None:
    with engines.ort(CUSTOM, expose=("/stem/*",), custom_ops=(OPERATORS,)) as engine:
        found = engine.run({"image": images})
        x, y = found["/stem/conv/Conv_output_0"], found["/stem/act/HSwish_output_0"]
        assert np.array_equal(y, x * np.clip(x + np.float32(3), np.float32(0), np.float32(6)) / np.float32(6))


def test_every_tensor_before_and_behind_a_custom_node_is_counted(histograms: HistogramSet) -> None:
    assert set(histograms) == set(Graph(onnx.load(CUSTOM)).tensors())
    for node in custom_nodes():
        before, behind = histograms[node.input[0]], histograms[node.output[0]]
        assert isinstance(before, Histogram)
        assert isinstance(behind, Histogram)
        assert behind.total == before.total > 0


def test_the_cache_holds_both_scales_that_the_plugin_needs(table: ScaleTable) -> None:
    cache = cache_of(table, header("8.6.0", "EntropyCalibration2"))
    assert parse_cache(render_cache(cache)) == cache
    for node in custom_nodes():
        assert {node.input[0], node.output[0]} <= set(cache.scales)


def test_a_custom_node_stays_float_and_says_so_and_the_operators_behind_it_become_int8(
    quantized: QuantizedModel,
) -> None:
    assert not [f for f in lint_qdq(quantized.model, Target.parse("tensorrt@8.6")) if f.severity != "note"]
    nodes = custom_nodes()
    for node in nodes:
        assert quantized.floats[node.input[0]] == "read by quantlab::HSwish in float"
    assert {"image", *(node.output[0] for node in nodes[:-1])} == set(quantized.quantized)
    kept = [n for n in quantized.model.proto.graph.node if n.domain == "quantlab"]
    assert [n.SerializeToString() for n in kept] == [n.SerializeToString() for n in nodes]


def test_the_int8_net_with_custom_nodes_runs_and_agrees(quantized: QuantizedModel, images: F32) -> None:
    with (
        engines.ort(CUSTOM, custom_ops=(OPERATORS,)) as fp32,
        engines.ort(quantized.model, optimize=False, custom_ops=(OPERATORS,)) as int8,
    ):
        exact, got = fp32.run({"image": images})["logits"], int8.run({"image": images})["logits"]
        noise = np.sum((exact - got) ** 2, dtype=np.float64)
        assert 10 * np.log10(np.sum(exact**2, dtype=np.float64) / noise) > 20


def test_without_declared_types_what_follows_a_custom_node_stays_float(table: ScaleTable) -> None:
    bare = onnx.load(CUSTOM)
    del bare.graph.value_info[:]
    found = quantize(bare, ScaleTable(table.rows), options=QuantizeOptions(target="tensorrt@8.6"))
    assert found.quantized == ("image",)
    assert "not standard ONNX" in found.floats["/pointwise1/conv/Conv"]


def test_the_plugin_that_no_tensorrt_has_run_says_so_in_its_first_line() -> None:
    first = (FOLDER / "hswish_plugin_v3.cpp").read_text(encoding="utf-8").splitlines()[0]
    assert "COMPILED AGAINST ITS HEADERS ONLY" in first
