"""ONNX Runtime as the target, with zero points and INT32 biases, and heads in INT8 for both targets."""

from typing import Any

import numpy as np
import pytest

import quantlab as ql
from quantlab.builder import QuantizedModel, QuantizeOptions, quantize
from quantlab.calibration.scale_table import ScaleTable
from quantlab.graph.biases import biases, with_biases
from quantlab.graph.model import Model
from quantlab.graph.normalise import normalise
from quantlab.graph.view import Graph
from quantlab.numerics.arrays import F32

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install 'quantlab[qat]'")

from torch import Tensor, nn  # noqa: E402 - after torch is known to be there

import quantlab.qat.onnx_export as to_onnx  # noqa: E402
from quantlab.qat.export import evaluate_equality, export  # noqa: E402
from quantlab.qat.prepare import PrepareOptions, prepare  # noqa: E402
from tests.qat.core_networks import Depthwise, Residual, Transposed, made, trained_a_little  # noqa: E402
from tests.qat.test_plans import Plan  # noqa: E402

NETWORKS = [Residual, Depthwise, Transposed]
SCHEMES = [ql.Symmetric(), ql.Affine()]
ORT = QuantizeOptions(target="ort")


def start(network: Any, scheme: Any) -> tuple[nn.Module, Tensor, Model, ScaleTable]:
    module, samples = made(network)
    model = normalise(to_onnx.export(module, samples[:2])).model
    histograms = ql.collect(ql.engines.ort(model, expose="all"), [{"image": samples.numpy()}])
    table = ql.calibrate(histograms, method=ql.MinMax(), scheme=scheme)
    return module, samples, model, ScaleTable(table.rows)  # biases change, and the scales are good for that model too


def with_rounded_biases(model: Model, built: QuantizedModel) -> Model:
    """Return the float model with the biases that the INT32 ones of a Q/DQ model stand for."""
    graph = Graph(built.model.proto)

    def rounded(name: str, value: F32) -> F32:
        integers, steps = graph.constant(f"{name}_quantized"), graph.constant(f"{name}_scale")
        return value if integers is None or steps is None else (integers * steps).astype(np.float32)

    return with_biases(model, {node: rounded(b.constant, b.value) for node, b in biases(model).found.items()})


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
@pytest.mark.parametrize("network", NETWORKS)
def test_int32_biases_are_all_in_which_the_module_differs(network: Any, scheme: Any) -> None:
    module, samples, model, table = start(network, scheme)
    exact = with_rounded_biases(model, quantize(model, table, options=ORT))
    prepared = prepare(module, samples[:2], Plan(exact, table, ORT))
    assert not prepared.unmatched
    found = evaluate_equality(prepared, export(prepared), [samples])
    assert found.largest <= 1e-5 * found.magnitude
    bare = prepare(module, samples[:2], Plan(model, table, ORT))
    found = evaluate_equality(bare, export(bare), [samples])
    assert 1e-5 < found.largest / found.magnitude < 1e-2


def test_zero_points_are_kept_while_scales_are_learned() -> None:
    module, samples, _, table = start(Residual, ql.Affine())
    prepared = prepare(module, samples[:2], table, options=PrepareOptions(target="ort"))
    ranges = {(q.low, q.high) for q in prepared.quantizers.values()}
    assert (0, 255) in ranges
    assert any(-128 < low < 0 for low, _ in ranges)
    trained_a_little(prepared.module, samples)
    exported = export(prepared)
    names = prepared.placement.tensors
    assert all(exported.table[name].zero_point == table[name].zero_point for name in names)
    assert any(exported.table[name].scale != table[name].scale for name in names)
    assert evaluate_equality(prepared, exported, [samples]).agreement == 1.0


@pytest.mark.parametrize("target", ["tensorrt", "ort"])
@pytest.mark.parametrize("network", NETWORKS)
def test_a_head_in_int8_is_quantized_up_to_the_output(network: Any, target: str) -> None:
    module, samples, model, table = start(network, ql.Symmetric())
    options = PrepareOptions(target=target, head="int8")
    prepared = prepare(module, samples[:2], table, options=options)
    assert not prepared.unmatched
    in_float = prepare(module, samples[:2], table, options=PrepareOptions(target=target))
    assert len(prepared.placement.weights) > len(in_float.placement.weights) or target == "ort"
    expected = quantize(model, table, options=QuantizeOptions(target=target, head="int8"))
    assert export(prepared).quantized.model.digest == expected.model.digest
    trained_a_little(prepared.module, samples)
    exported = export(prepared)
    found = evaluate_equality(prepared, exported, [samples])
    assert found.agreement >= 0.99  # a row of equal integers has its largest value at several places
    step = max(float(q.scale.detach()) for q in prepared.quantizers.values() if q.axis is None)
    assert found.largest <= step * 1.01
    assert exported.quantized.model.proto.graph.output[0].name == "output"
