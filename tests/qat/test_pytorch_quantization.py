import io
from importlib import import_module
from typing import Any

import numpy as np
import pytest

import quantlab as ql
from quantlab.builder import QuantizeOptions, quantize
from quantlab.calibration.scale_table import Scale, ScaleTable
from quantlab.errors import MachineError, UsageError

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install 'quantlab[qat]'")

from torch import nn  # noqa: E402 - after torch is known to be there

from quantlab.qat.pytorch_quantization import from_pytorch_quantization, to_pytorch_quantization  # noqa: E402
from quantlab.qat.state_dicts import quantizer_state  # noqa: E402
from tests.qat.quantizer_goldens import PYTORCH_QUANTIZATION, check_golden, check_reading, with_pytorch_quantization  # noqa: E402
from tests.qat.quantizer_networks import chain, images, tokens  # noqa: E402


def _is_there() -> bool:
    try:
        to_pytorch_quantization(nn.Linear(2, 2), torch.ones(1, 2), ScaleTable(()))
    except MachineError:
        return False
    return True


needed = pytest.mark.skipif(not _is_there(), reason="needs pytorch-quantization, which is built from source")
absent = pytest.mark.skipif(_is_there(), reason="needs pytorch-quantization to be absent")


def table_of(source: nn.Module) -> ScaleTable:
    return from_pytorch_quantization(source, images()).table


@absent
def test_without_the_library_it_is_said_how_to_get_it() -> None:
    with pytest.raises(MachineError, match="build it from tools/pytorch-quantization"):
        to_pytorch_quantization(chain(), images(), ScaleTable(()))
    with pytest.raises(MachineError, match="build it from tools/pytorch-quantization"):
        from_pytorch_quantization(chain(), images())


@needed
def test_the_golden_checkpoint_is_what_the_library_makes_today() -> None:
    check_golden(with_pytorch_quantization(), PYTORCH_QUANTIZATION)


@needed
def test_a_quantized_network_says_what_its_checkpoint_says() -> None:
    check_reading(with_pytorch_quantization(), from_pytorch_quantization, PYTORCH_QUANTIZATION)


@needed
def test_a_network_prepared_with_a_table_is_the_one_that_the_table_came_from() -> None:
    theirs = with_pytorch_quantization()
    bridged = to_pytorch_quantization(chain(), images(), table_of(theirs))
    assert not bridged.unmatched
    ours = bridged.module.state_dict()
    assert ours.keys() == theirs.state_dict().keys()
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours[name], value, rtol=1e-6, atol=0)
    with torch.no_grad():
        torch.testing.assert_close(bridged.module(images()), theirs(images()), atol=1e-6, rtol=0)


@needed
def test_torch_s_own_classes_stay_as_they_are() -> None:
    before = (nn.Conv2d, nn.Linear, nn.AdaptiveAvgPool2d)
    network = chain()
    to_pytorch_quantization(network, images(), table_of(with_pytorch_quantization()))
    assert before == (nn.Conv2d, nn.Linear, nn.AdaptiveAvgPool2d)
    assert type(network.fc) is nn.Linear


@needed
def test_the_library_loads_a_state_dict_that_quantlab_wrote() -> None:
    table = table_of(with_pytorch_quantization())
    doubled = ScaleTable(
        tuple(
            Scale(r.tensor, tuple(2 * s for s in r.scale), r.zero_point, axis=r.axis, role=r.role) for r in table.rows
        )
    )
    held = io.BytesIO()
    torch.save(quantizer_state(chain(), images(), doubled, flavour="pytorch-quantization").state, held)
    held.seek(0)
    network = with_pytorch_quantization()
    network.load_state_dict(torch.load(held, weights_only=True), strict=True)
    found = from_pytorch_quantization(network, images()).table
    for row in doubled.rows:
        np.testing.assert_allclose(found[row.tensor].scale, row.scale, rtol=1e-6)


@needed
def test_the_quantized_model_computes_what_the_trained_network_does() -> None:
    rng = np.random.default_rng(0)
    drawn = ScaleTable(
        tuple(
            Scale(
                row.tensor,
                tuple((np.array(row.scale) * rng.uniform(0.6, 1.2)).astype(np.float32).astype(float).tolist()),
                row.zero_point,
                axis=row.axis,
                role=row.role,
            )
            for row in table_of(with_pytorch_quantization()).rows
        )
    )
    network = to_pytorch_quantization(chain(), images(), drawn).module
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    network(images()).square().sum().backward()
    optimizer.step()
    found = from_pytorch_quantization(network, images())
    quantized = quantize(found.model, found.table, options=QuantizeOptions(head="int8"))
    with torch.no_grad():
        theirs = network(images()).numpy()
    ours = next(iter(ql.engines.ort(quantized.model).run({"image": images().numpy()}).values()))
    assert np.mean(np.abs(ours - theirs) < 1e-5) > 0.9  # both round half to even, one after multiplying by 127 / amax
    np.testing.assert_allclose(ours, theirs, atol=2e-3)


@needed
def test_an_unsigned_quantizer_keeps_its_range_and_says_so() -> None:
    network: Any = with_pytorch_quantization()
    plain = table_of(network)
    network.fc._input_quantizer.unsigned = True
    found = from_pytorch_quantization(network, images())
    assert found.table == plain
    assert "«fc._input_quantizer»" in found.notes[0]


@needed
def test_a_subclass_that_would_lose_its_forward_stays_float_and_is_listed() -> None:
    tensors = ("x", "/Relu_output_0", "/shared_1/Add_output_0", "/Relu_1_output_0")
    table = ScaleTable(tuple(Scale(tensor, (0.5,)) for tensor in tensors))
    example = torch.randn(2, 7, 6)
    bridged = to_pytorch_quantization(tokens(), example, table)
    assert bridged.unmatched == {"own": "pytorch-quantization has no class that computes as Doubled does"}
    found = from_pytorch_quantization(bridged.module, example)
    assert found.unmatched == {"own": "pytorch-quantization gives a Doubled no quantizers"}


@needed
def test_a_quantizer_that_the_user_put_before_an_addition_finds_its_tensor() -> None:
    tensor_quantizer: Any = import_module("pytorch_quantization.nn").TensorQuantizer
    descriptor = import_module("pytorch_quantization.tensor_quant").QuantDescriptor

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)
            self.residual_quantizer = tensor_quantizer(descriptor(amax=4.0))

        def forward(self, x: Any) -> Any:
            return self.residual_quantizer(torch.relu(x)) + self.conv(x)

    found = from_pytorch_quantization(Residual(), images())
    assert {row.tensor: row.scale for row in found.table.rows} == {"/Relu_output_0": (float(np.float32(4 / 127)),)}


@needed
def test_a_network_without_quantizers_is_refused() -> None:
    with pytest.raises(UsageError, match="no quantizer of pytorch-quantization"):
        from_pytorch_quantization(chain(), images())
