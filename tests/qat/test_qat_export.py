from typing import Any, Literal

import numpy as np
import pytest

import quantlab as ql
from quantlab.builder import quantize
from quantlab.errors import UsageError
from quantlab.graph.target import Target
from quantlab.graph.view import Graph

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install 'quantlab[qat]'")

from torch import Tensor, nn  # noqa: E402 - after torch is known to be there

from quantlab.qat.export import evaluate_equality, export  # noqa: E402
from quantlab.qat.normed import NormedLayer  # noqa: E402
from quantlab.qat.onnx_export import ExportOptions  # noqa: E402
from quantlab.qat.prepare import PrepareOptions, prepare  # noqa: E402
from tests.qat.core_networks import FIVE, Depthwise, Residual, Transposed, calibrated, made, trained_a_little  # noqa: E402

CLOSE = 1e-3
"""Of the largest magnitude: a sum in another order may put a value on the other side of a rounding edge."""


@pytest.mark.parametrize("network", FIVE.values(), ids=FIVE)
def test_what_is_exported_equals_the_trained_module_and_passes_the_linter(network: Any) -> None:
    module, samples = made(network)
    _, table = calibrated(module, samples)
    prepared = prepare(module, samples[:2], table)
    trained_a_little(prepared.module, samples)
    exported = export(prepared)
    found = evaluate_equality(prepared, exported, [samples[:20], samples[20:]])
    assert found.samples == 32
    assert found.agreement == 1.0
    assert found.largest <= CLOSE * found.magnitude
    assert not ql.lint_qdq(exported.quantized.model, Target.parse("tensorrt"))


@pytest.mark.parametrize(
    ("network", "first", "second"),
    [
        *((network, "dynamo", "dynamo") for network in FIVE.values()),
        *((FIVE[name], "torchscript", "dynamo") for name in ("concat", "attention")),
        (FIVE["attention"], "dynamo", "torchscript"),
    ],
)
def test_both_exporters_write_the_same_network_under_the_same_names(
    network: Any, first: Literal["torchscript", "dynamo"], second: Literal["torchscript", "dynamo"]
) -> None:
    pytest.importorskip("onnxscript", reason="needs onnxscript: pip install onnxscript")
    module, samples = made(network)
    _, table = calibrated(module, samples, ExportOptions(exporter=first))
    prepared = prepare(module, samples[:2], table, options=PrepareOptions(exporter=first))
    assert not prepared.unmatched
    trained_a_little(prepared.module, samples)
    exported = export(prepared, exporter=second)
    found = evaluate_equality(prepared, exported, [samples])
    assert found.agreement == 1.0
    assert found.largest <= CLOSE * found.magnitude
    assert not ql.lint_qdq(exported.quantized.model, Target.parse("tensorrt"))
    assert set(exported.quantized.quantized) >= set(prepared.placement.tensors)


def test_the_file_holds_int8_weights_and_the_names_of_before(tmp_path: Any) -> None:
    module, samples = made(Residual)
    model, table = calibrated(module, samples)
    prepared = prepare(module, samples[:2], table)
    trained_a_little(prepared.module, samples)
    exported = export(prepared, tmp_path / "qat.onnx")
    ptq, written = (
        Graph(quantize(model, table).model.proto),
        Graph(ql.engines.ort(tmp_path / "qat.onnx")._network.proto),
    )
    assert set(written.tensors()) == set(ptq.tensors())
    assert set(written.initializers) == set(ptq.initializers)
    assert [node.name for node in written.nodes] == [node.name for node in ptq.nodes]
    again = export(prepared, weights="qdq")
    one, other = (ql.engines.ort(e.quantized.model, optimize=False) for e in (exported, again))
    batch = {"image": samples.numpy()}
    assert np.array_equal(one.run(batch)["output"], other.run(batch)["output"])


def test_weights_of_four_bits_are_sixteen_integers_a_channel() -> None:
    module, samples = made(Residual)
    _, table = calibrated(module, samples)
    prepared = prepare(module, samples[:2], table, options=PrepareOptions(weight_bits=4))
    trained_a_little(prepared.module, samples)
    exported = export(prepared)
    graph = Graph(exported.quantized.model.proto)
    stored = [graph.constant(f"{row.tensor}_quantized") for row in exported.quantized.weights]
    assert stored
    assert all(array is not None and array.min() >= -8 and array.max() <= 7 for array in stored)
    assert max(len(np.unique(array)) for array in stored if array is not None) > 10
    assert evaluate_equality(prepared, exported, [samples]).agreement == 1.0


@pytest.mark.parametrize("network", [Residual, Depthwise, Transposed])
def test_trained_norms_follow_the_batches_until_they_are_frozen_and_are_exported_folded(network: Any) -> None:
    module, samples = made(network)
    _, table = calibrated(module, samples)
    prepared = prepare(module, samples[:2], table, options=PrepareOptions(batch_norm="train"))
    layers = [part for part in prepared.module.modules() if isinstance(part, NormedLayer)]
    assert layers
    before = [layer.statistics.mean.clone() for layer in layers]
    trained_a_little(prepared.module, samples)
    followed = [layer.statistics.mean.clone() for layer in layers]
    assert not any(torch.equal(one, other) for one, other in zip(before, followed, strict=True))
    prepared.freeze_batch_norm()
    gamma = layers[0].statistics.weight
    assert gamma is not None
    start = gamma.detach().clone()
    trained_a_little(prepared.module, samples)
    assert all(torch.equal(one, layer.statistics.mean) for one, layer in zip(followed, layers, strict=True))
    assert not torch.equal(start, gamma.detach())
    exported = export(prepared)
    assert not [node for node in exported.float_model.proto.graph.node if node.op_type == "BatchNormalization"]
    found = evaluate_equality(prepared, exported, [samples])
    assert found.agreement == 1.0
    assert found.largest <= 1e-2 * found.magnitude


def test_a_norm_in_training_normalises_what_the_quantized_weight_gives() -> None:
    module, samples = made(Residual)
    _, table = calibrated(module, samples)
    prepared = prepare(module, samples[:2], table, options=PrepareOptions(batch_norm="train"))
    layer = next(part for part in prepared.module.modules() if isinstance(part, NormedLayer))
    layer.train()
    found = layer(samples)
    found_mean, found_deviation = found.mean((0, 2, 3)), found.std((0, 2, 3), unbiased=False)
    gamma, beta = layer.statistics.weight, layer.statistics.bias
    assert gamma is not None
    assert beta is not None
    assert torch.allclose(found_mean, beta, atol=1e-5)
    assert torch.allclose(found_deviation, gamma.abs(), atol=1e-3)


def test_parameters_that_were_equal_at_first_are_told_apart() -> None:
    module, samples = made(FIVE["attention"])
    with torch.no_grad():
        module.up.bias.zero_()  # type: ignore[union-attr,operator]
        module.out.bias.zero_()  # type: ignore[union-attr,operator]
        module.down.bias.zero_()  # type: ignore[union-attr,operator]
    _, table = calibrated(module, samples)
    prepared = prepare(module, samples[:2], table)
    trained_a_little(prepared.module, samples)
    found = evaluate_equality(prepared, export(prepared), [samples])
    assert found.largest <= CLOSE * found.magnitude


def test_the_learned_scales_are_in_the_table() -> None:
    module, samples = made(Residual)
    _, table = calibrated(module, samples)
    prepared = prepare(module, samples[:2], table)
    trained_a_little(prepared.module, samples)
    learned = export(prepared).table
    for name, quantizer in prepared.quantizers.items():
        if name in learned:
            assert np.array_equal(np.array(learned[name].scale, np.float32), quantizer.scale.detach().numpy())
    assert any(learned[name].scale != table[name].scale for name in prepared.placement.tensors)
    assert learned["image"].observed == table["image"].observed


def test_wrong_use_is_refused() -> None:
    module, samples = made(Residual)
    _, table = calibrated(module, samples)
    with pytest.raises(UsageError, match="what prepare returned"):
        export(module)  # type: ignore[arg-type]
    prepared = prepare(module, samples[:2], table)
    with pytest.raises(UsageError, match="at least one batch"):
        evaluate_equality(prepared, export(prepared), [])


def test_equality_takes_tensors_by_name_in_any_order() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(6, 4), nn.Linear(6, 4)

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return torch.relu(self.one(a)) + 3 * self.two(b)

    torch.manual_seed(0)
    example = {"a": torch.randn(8, 6), "b": torch.randn(8, 6)}
    module = Two().eval()
    model = ql.export(module, example)
    with ql.engines.ort(model, expose="all") as engine:
        table = ql.calibrate(ql.collect(engine, [{name: t.numpy() for name, t in example.items()}]), ql.MinMax())
    options = PrepareOptions(target="tensorrt@8.6", head="int8")
    prepared = prepare(module, example, table, options=options)
    turned = {"b": example["b"], "a": example["a"]}
    assert evaluate_equality(prepared, export(prepared), [turned]).largest < 1e-4
