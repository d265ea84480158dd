from pathlib import Path
from typing import Any

import numpy as np
import pytest

import quantlab as ql
from quantlab.builder import QuantizeOptions, quantize
from quantlab.calibration.scale_table import Scale, ScaleTable
from quantlab.errors import UsageError
from quantlab.graph.model import Model
from quantlab.numerics.arrays import F32

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install 'quantlab[qat]'")

from quantlab.qat.onnx_export import ExportOptions  # noqa: E402 - after torch is known to be there
from quantlab.qat.prepare import prepare  # noqa: E402
from quantlab.qat.prepare_options import PrepareOptions  # noqa: E402
from quantlab.qat.state_dicts import (  # noqa: E402
    Flavour,
    quantizer_state,
    read_quantizers,
    write_quantizers,
)
from tests.qat.quantizer_goldens import (  # noqa: E402
    MODELOPT,
    MODELOPT_SAVED,
    PYTORCH_QUANTIZATION,
    same_rows,
    state_of,
)
from tests.qat.quantizer_networks import chain, images, tokens  # noqa: E402

FLAVOURS: tuple[Flavour, ...] = ("pytorch-quantization", "modelopt")


def computed(model: Model, batch: Any) -> F32:
    return np.asarray(next(iter(ql.engines.ort(model).run({"image": batch.numpy()}).values())))


def scales(table: ScaleTable) -> dict[str, list[float]]:
    return {row.tensor: list(row.scale) for row in table.rows}


def test_each_quantizer_of_a_golden_checkpoint_finds_its_tensor() -> None:
    found = read_quantizers(PYTORCH_QUANTIZATION, chain(), images())
    amax = {name: value for name, value in state_of().items() if name.endswith("_amax")}
    rows = found.table
    inputs = {
        "stem.0": "image",
        "depthwise": "/pool/MaxPool_output_0",
        "up": "/relu/Relu_output_0",
        "average": "/relu_1/Relu_output_0",
        "fc": "/Flatten_output_0",
    }
    for module, tensor in inputs.items():
        assert np.float32(rows[tensor].scale[0]) == amax[f"{module}._input_quantizer._amax"].numpy() / np.float32(127)
    for module, axis in {"depthwise": 0, "up": 1, "fc": 0}.items():
        expected = amax[f"{module}._weight_quantizer._amax"].numpy().ravel() / np.float32(127)
        row = rows[f"{module}.weight"]
        assert (row.role, row.axis) == ("weight", axis)
        np.testing.assert_array_equal(np.array(row.scale, np.float32), expected)
    assert not found.unmatched
    assert not found.notes


def test_tensors_that_hold_the_same_values_get_the_same_row() -> None:
    rows = read_quantizers(PYTORCH_QUANTIZATION, chain(), images()).table
    assert rows["/stem/stem.2/Relu_output_0"].scale == rows["/pool/MaxPool_output_0"].scale
    assert rows["/average/GlobalAveragePool_output_0"].scale == rows["/Flatten_output_0"].scale


def test_a_folded_batch_norm_multiplies_the_scales_of_the_weight_before_it() -> None:
    network = chain()
    found = read_quantizers(PYTORCH_QUANTIZATION, network, images())
    norm: Any = network.stem[1]
    factor = (norm.weight / torch.sqrt(norm.running_var + norm.eps)).abs().detach().numpy()
    amax = state_of()["stem.0._weight_quantizer._amax"].numpy().ravel()
    [row] = [row for row in found.table.rows if row.role == "weight" and row.shape == (8, 3, 3, 3)]
    np.testing.assert_allclose(row.scale, amax / 127 * factor, rtol=1e-6)


@pytest.mark.parametrize(("path", "target"), [(PYTORCH_QUANTIZATION, "tensorrt"), (MODELOPT, "tensorrt@8.6")])
def test_the_quantized_model_computes_what_the_library_did(path: Path, target: str) -> None:
    """ModelOpt scales a ConvTranspose along its input channels, as TensorRT up to 10.1 does."""
    found = read_quantizers(path, chain(), images())
    quantized = quantize(found.model, found.table, options=QuantizeOptions(target=target, head="int8"))
    batch = images(seed=2)
    theirs = torch.load(path, weights_only=True)["output"].numpy()
    ours, floats = computed(quantized.model, batch), computed(found.model, batch)
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert np.abs(floats - theirs).max() > 1e-3  # so that the line above says something


@pytest.mark.parametrize(("path", "target"), [(PYTORCH_QUANTIZATION, "tensorrt"), (MODELOPT, "tensorrt@8.6")])
def test_training_can_go_on_with_quantlab_where_the_library_stopped(path: Path, target: str) -> None:
    found = read_quantizers(path, chain(), images())
    options = PrepareOptions(target=target, head="int8")
    prepared = prepare(found.module, images(), found.table, options=options)
    with torch.no_grad():
        ours = prepared.module.eval()(images(seed=2))
    assert not prepared.unmatched
    torch.testing.assert_close(ours, torch.load(path, weights_only=True)["output"], atol=1e-6, rtol=0)


def test_scales_along_the_input_channels_are_remarked_on() -> None:
    found = read_quantizers(MODELOPT, chain(), images())
    assert found.table["up.weight"].axis == 0
    [note] = found.notes
    assert "«up.weight_quantizer»" in note
    assert "TensorRT before 10.2" in note


def test_what_mto_save_writes_is_read_like_the_state_dict_in_it() -> None:
    plain, saved = (read_quantizers(path, chain(), images()) for path in (MODELOPT, MODELOPT_SAVED))
    assert same_rows(plain.table, saved.table)


def test_weights_in_the_checkpoint_replace_those_of_the_network() -> None:
    network = chain(seed=5)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = read_quantizers(PYTORCH_QUANTIZATION, network, images())
    with torch.no_grad():
        torch.testing.assert_close(found.module(images()), chain()(images()))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in network.modules())


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("source", [PYTORCH_QUANTIZATION, MODELOPT])
def test_a_table_comes_back_from_a_state_dict_to_the_last_bit(source: Path, flavour: Flavour, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = read_quantizers(source, chain(), images()).table
    drawn = ScaleTable(
        tuple(
            Scale(
                row.tensor,
                tuple(np.exp(rng.uniform(-9, 2, len(row.scale))).astype(np.float32).astype(float).tolist()),
                row.zero_point,
                axis=row.axis,
                role=row.role,
            )
            for row in table.rows
            if row.tensor not in {"/pool/MaxPool_output_0", "/Flatten_output_0"}
        )
    )
    unmatched = write_quantizers(tmp_path / "q.pt", chain(), images(), drawn, flavour=flavour)
    found = read_quantizers(tmp_path / "q.pt", chain(), images())
    assert not unmatched
    assert scales(drawn).items() <= scales(found.table).items()
    # the float32 that 127 · scale rounds to is not enough for that
    every = np.exp(rng.uniform(-9, 2, 10_000)).astype(np.float32)
    assert (every * np.float32(127) / np.float32(127) != every).any()


def test_the_state_dict_written_from_a_checkpoint_is_that_checkpoint() -> None:
    network = chain()
    for path, flavour in zip((PYTORCH_QUANTIZATION, MODELOPT), FLAVOURS, strict=True):
        table = read_quantizers(path, network, images()).table
        state = quantizer_state(network, images(), table, flavour=flavour).state
        original = state_of(path)
        pooled = {"pool.input_quantizer._amax"}  # of a MaxPool, which ModelOpt quantizes and no runtime has to
        assert state.keys() == original.keys() - pooled
        for name, value in state.items():
            assert torch.equal(value, original[name]) or name == "stem.0.weight_quantizer._amax", name
            torch.testing.assert_close(value, original[name], rtol=1e-6, atol=0)


def test_an_amax_that_was_changed_counts_more_than_the_scale_kept_beside_it(tmp_path: Path) -> None:
    network = chain()
    table = read_quantizers(PYTORCH_QUANTIZATION, network, images()).table
    state = quantizer_state(network, images(), table, flavour="modelopt").state
    state["up.input_quantizer._amax"].mul_(2)
    torch.save(state, tmp_path / "q.pt")
    found = read_quantizers(tmp_path / "q.pt", network, images()).table
    assert found["/relu/Relu_output_0"].scale[0] == pytest.approx(2 * table["/relu/Relu_output_0"].scale[0], rel=1e-6)
    assert found["image"].scale == table["image"].scale


def test_weights_without_a_row_are_written_with_their_largest_magnitudes() -> None:
    network = chain()
    table = read_quantizers(PYTORCH_QUANTIZATION, network, images()).table
    activations = ScaleTable(tuple(row for row in table.rows if row.role != "weight"))
    state = quantizer_state(network, images(), activations, flavour="pytorch-quantization").state
    amax = state["depthwise._weight_quantizer._amax"]
    torch.testing.assert_close(amax, network.depthwise.weight.detach().abs().amax((1, 2, 3), keepdim=True))


def test_what_a_table_lacks_stays_float_and_what_no_module_reads_is_listed() -> None:
    rows = (Scale("image", (0.5,)), Scale("/depthwise/Conv_output_0", (0.5,)))
    found = quantizer_state(chain(), images(), ScaleTable(rows), flavour="modelopt")
    assert [name for name in found.state if name.endswith("_amax")] == [
        "stem.0.input_quantizer._amax",
        "stem.0.weight_quantizer._amax",
    ]
    assert "has no row in the table" in found.unmatched["up"]
    assert "no module" in found.unmatched["/depthwise/Conv_output_0"]


def test_an_affine_range_is_refused_by_name() -> None:
    rows = (Scale("image", (0.5,), (3,), scheme="affine"),)
    found = quantizer_state(chain(), images(), ScaleTable(rows), flavour="modelopt")
    assert "not symmetric" in found.unmatched["stem.0"]


def test_a_module_that_is_called_twice_has_a_row_for_each_tensor_it_reads() -> None:
    network = tokens()
    amax = {"shared": 1.0, "own": 2.0, "left": 3.0, "right": 4.0}
    state = {f"{name}.input_quantizer._amax": torch.tensor(value) for name, value in amax.items()}
    state["shared.weight_quantizer._amax"] = torch.arange(1.0, 7.0)[:, None]
    found = read_quantizers(state, network, torch.randn(2, 7, 6))
    values = [round(127 * row.scale[0], 4) for row in found.table.rows if row.role != "weight"]
    assert values == [1.0, 1.0, 2.0, 4.0]  # the wider of two on one tensor
    assert "«right.input_quantizer» has another range" in found.notes[0]
    [weight] = [row for row in found.table.rows if row.role == "weight"]
    assert weight.axis == 1  # a Linear on [n,7,6] is a MatMul with the weight turned round
    np.testing.assert_allclose(np.array(weight.scale) * 127, np.arange(1, 7), rtol=1e-6)


def test_both_exporters_give_the_same_scales() -> None:
    pytest.importorskip("onnxscript", reason="needs onnxscript: pip install onnxscript")
    zeros = ("stem.0.bias", "stem.1.bias", "stem.1.running_mean")  # the newer one leaves out a bias of zeros
    state = state_of()
    state |= {name: torch.zeros_like(state[name]) for name in zeros}
    ours = read_quantizers(state, chain(), images())
    other = read_quantizers(state, chain(), images(), options=ExportOptions(exporter="dynamo"))
    assert not other.unmatched
    one, two = (sorted(scales(table).values()) for table in (ours.table, other.table))
    np.testing.assert_allclose(np.concatenate(one), np.concatenate(two), rtol=1e-6)


def test_an_unknown_flavour_is_refused() -> None:
    with pytest.raises(UsageError, match="«onnx» is no flavour"):
        quantizer_state(chain(), images(), ScaleTable(()), flavour="onnx")  # type: ignore[arg-type]
