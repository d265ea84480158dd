from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import quantlab as ql
from quantlab.builder import QuantizeOptions, quantize
from quantlab.calibration.scale_table import Scale, ScaleTable
from quantlab.errors import InputError, UsageError
from quantlab.graph.biases import biases, with_biases
from quantlab.graph.equalize import equalize
from quantlab.graph.model import Model
from quantlab.graph.normalise import normalise

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install 'quantlab[qat]'")

from quantlab.qat.export import evaluate_equality, export  # noqa: E402
from quantlab.qat.fake_quant import FakeQuantize  # noqa: E402
from quantlab.qat.prepare import PrepareOptions, prepare  # noqa: E402
from tests.qat.core_networks import (  # noqa: E402 - after torch is known to be there
    FIVE,
    Branching,
    Concat,
    Depthwise,
    Encoder,
    Residual,
    Standardised,
    calibrated,
    made,
    trained_a_little,
)


@dataclass
class Plan:
    model: Model
    table: ScaleTable
    options: QuantizeOptions


@pytest.mark.parametrize("network", FIVE.values(), ids=FIVE)
def test_the_quantizers_are_those_of_ptq_and_nothing_is_unmatched(network: Any) -> None:
    module, samples = made(network)
    model, table = calibrated(module, samples)
    prepared = prepare(module, samples[:2], table)
    assert prepared.traced_by == "fx"
    assert not prepared.unmatched
    assert set(prepared.quantizers) == set(prepared.sites)
    assert export(prepared).quantized.model.digest == quantize(model, table).model.digest


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_an_encoder_layer_of_torch_is_opened_by_torch_export() -> None:
    module, samples = made(Encoder)
    model, table = calibrated(module, samples)
    prepared = prepare(module, samples[:2], table)
    assert prepared.traced_by == "export"
    assert not prepared.unmatched
    assert export(prepared).quantized.model.digest == quantize(model, table).model.digest
    assert prepared.module(samples[:7]).shape == (7, 4)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_module_that_no_tracer_follows_is_watched_through_its_calls() -> None:
    module, samples = made(Branching)
    model, table = calibrated(module, samples)
    prepared = prepare(module, samples[:2], table)
    assert prepared.traced_by == "calls"
    assert set(prepared.quantizers) == set(prepared.sites)
    assert export(prepared).quantized.model.digest == quantize(model, table).model.digest
    trained_a_little(prepared.module, samples)
    assert evaluate_equality(prepared, export(prepared), [samples]).agreement == 1.0
    with pytest.raises(InputError, match="its path depends on the input"):
        prepared.module(samples * 1e9)


def test_computed_and_shared_weights_are_quantized_where_they_are_used() -> None:
    module, samples = made(Standardised)
    _, table = calibrated(module, samples)
    prepared = prepare(module, samples[:2], table)
    assert not prepared.unmatched
    assert (
        sum(q.axis == 0 for q in set(prepared.quantizers.values())) == 4
    )  # the shared one has two norms, and the last one is the head
    trained_a_little(prepared.module, samples)
    found = evaluate_equality(prepared, export(prepared), [samples])
    assert found.largest <= 1e-5 * found.magnitude


def test_the_module_given_is_left_as_it_was() -> None:
    module, samples = made(Residual)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    expected = module(samples)
    _, table = calibrated(module, samples)
    trained_a_little(prepare(module, samples[:2], table).module, samples)
    assert module.state_dict().keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert torch.equal(module(samples), expected)


def test_without_rounding_the_module_computes_what_the_users_does() -> None:
    module, samples = made(Depthwise)
    _, table = calibrated(module, samples)
    for norms in ("fold", "train"):
        prepared = prepare(module, samples[:2], table, options=PrepareOptions(batch_norm=norms))
        prepared.module.eval()
        with prepared.floating() as plain:
            assert torch.allclose(plain(samples), module(samples), atol=1e-5)
        assert not torch.allclose(prepared.module(samples), module(samples), atol=1e-5)


def test_tensors_of_a_concat_share_one_quantizer() -> None:
    module, samples = made(Concat)
    _, table = calibrated(module, samples)
    prepared = prepare(module, samples[:2], table)
    groups = prepared.placement.groups
    assert groups
    assert all(len({id(prepared.quantizers[tensor]) for tensor in group}) == 1 for group in groups)
    trained_a_little(prepared.module, samples)
    learned = export(prepared).table
    rows = [{learned[tensor].scale for tensor in group if tensor in learned} for group in groups]
    assert all(len(scales) == 1 for scales in rows)


def test_a_state_dict_makes_the_round_trip() -> None:
    module, samples = made(Residual)
    _, table = calibrated(module, samples)
    one, other = (prepare(module, samples[:2], table) for _ in range(2))
    trained_a_little(one.module, samples)
    other.module.load_state_dict(one.module.state_dict())
    assert torch.equal(other.module.eval()(samples), one.module.eval()(samples))
    assert export(other).quantized.model.digest == export(one).quantized.model.digest


def test_scales_of_the_tables_weight_rows_are_the_start() -> None:
    module, samples = made(Residual)
    model, table = calibrated(module, samples)
    row = next(r for r in quantize(model, table).weights)
    halved = Scale(
        row.tensor, tuple(s / 2 for s in row.scale), row.zero_point, axis=row.axis, role="weight", shape=row.shape
    )
    prepared = prepare(module, samples[:2], table.with_rows([halved]))
    assert prepared.quantizers[row.tensor].scale.tolist() == list(halved.scale)
    assert export(prepared).table[row.tensor].scale == halved.scale


def test_a_plans_equalized_and_corrected_model_is_copied_into_the_module() -> None:
    module, samples = made(Depthwise)
    model, _ = calibrated(module, samples)
    changed = equalize(normalise(model).model).model
    shifted = {name: bias.value + np.float32(0.01) for name, bias in biases(changed).found.items()}
    changed = with_biases(changed, shifted)
    engine = ql.engines.ort(changed, expose="quantizable")
    table = ql.calibrate(ql.collect(engine, [{"image": samples.numpy()}]), method=ql.MinMax())
    for norms, exact in (("fold", True), ("train", False)):
        plan = Plan(changed, table, QuantizeOptions(target="tensorrt@8.6"))
        prepared = prepare(module, samples[:2], plan, options=PrepareOptions(batch_norm=norms))  # type: ignore[arg-type]
        assert not prepared.not_copied
        found = export(prepared).quantized
        assert found.target == "tensorrt@8.6"
        assert (found.model.digest == quantize(changed, table, options=plan.options).model.digest) == exact
        prepared.module.eval()
        with prepared.floating() as plain:
            expected = ql.engines.ort(changed).run({"image": samples.numpy()})["output"]
            assert np.allclose(plain(samples).detach().numpy(), expected, atol=1e-4)


def test_kept_operators_stay_float_and_a_missing_row_is_refused_or_allowed() -> None:
    module, samples = made(Residual)
    model, table = calibrated(module, samples)
    name = next(iter(prepare(module, samples[:2], table).placement.weights.values()))[0].uses[0][0]
    kept = prepare(module, samples[:2], table, options=PrepareOptions(keep_float=(name,)))
    options = QuantizeOptions(keep_float=(name,))
    assert export(kept).quantized.model.digest == quantize(model, table, options=options).model.digest
    poorer = table.without("image")
    with pytest.raises(InputError, match="lacks 1 of the"):
        prepare(module, samples[:2], poorer)
    allowed = prepare(module, samples[:2], poorer, options=PrepareOptions(allow_missing=True))
    assert "image" not in allowed.quantizers


def test_a_table_of_other_names_is_refused_and_of_another_input_name_understood() -> None:
    module, samples = made(Residual)
    _, table = calibrated(module, samples)
    foreign = ScaleTable(tuple(Scale(f"other_{row.tensor}", row.scale) for row in table.rows))
    with pytest.raises(InputError, match=r"that this module's ONNX model does not have"):
        prepare(module, samples[:2], foreign)
    first, *rest = table.rows
    renamed = ScaleTable((Scale("picture", first.scale), *rest))
    assert "picture" in prepare(module, samples[:2], renamed).quantizers


def test_what_is_no_module_or_table_is_refused() -> None:
    module, samples = made(Residual)
    _, table = calibrated(module, samples)
    with pytest.raises(UsageError, match=r"torch\.nn\.Module"):
        prepare("net", samples, table)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="ScaleTable"):
        prepare(module, samples[:2], {"x": 1.0})
    with pytest.raises(UsageError, match="2 to 8 bits"):
        PrepareOptions(weight_bits=9)
    with pytest.raises(UsageError, match="fold or train"):
        PrepareOptions(batch_norm="freeze")  # type: ignore[arg-type]


def test_ste_keeps_the_scales_of_the_table() -> None:
    module, samples = made(Residual)
    _, table = calibrated(module, samples)
    prepared = prepare(module, samples[:2], table, options=PrepareOptions(gradient="ste"))
    trained_a_little(prepared.module, samples)
    learned = export(prepared).table
    assert all(learned[name].scale == table[name].scale for name in prepared.placement.tensors)
    assert all(not q.log_ratio.requires_grad for q in prepared.module.modules() if isinstance(q, FakeQuantize))
