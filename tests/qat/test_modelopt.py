from typing import Any

import numpy as np
import pytest

import quantlab as ql
from quantlab.builder import QuantizeOptions, quantize
from quantlab.calibration.scale_table import Scale, ScaleTable
from quantlab.errors import MachineError, UsageError

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install 'quantlab[qat]'")

from torch import Tensor, nn  # noqa: E402 - after torch is known to be there

from quantlab.qat.modelopt import from_modelopt, to_modelopt  # noqa: E402
from tests.qat.quantizer_goldens import MODELOPT, check_golden, check_reading, with_modelopt  # noqa: E402
from tests.qat.quantizer_networks import chain, images, tokens  # noqa: E402

MOVED = {"/pool/MaxPool_output_0", "/Flatten_output_0"}  # they have the scale of the tensor whose values they hold


def _is_there() -> bool:
    try:
        to_modelopt(nn.Linear(2, 2), torch.ones(1, 2), ScaleTable(()))
    except MachineError:
        return False
    return True


needed = pytest.mark.skipif(not _is_there(), reason="needs ModelOpt: pip install 'quantlab[modelopt]'")
absent = pytest.mark.skipif(_is_there(), reason="needs ModelOpt to be absent")

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*:UserWarning:modelopt"),
    pytest.mark.filterwarnings("ignore:Could not identify the device"),
]


def amax(module: nn.Module) -> dict[str, Tensor]:
    return {name: value for name, value in module.state_dict().items() if name.endswith("_amax")}


def table_of(source: nn.Module) -> ScaleTable:
    return from_modelopt(source, images()).table


@absent
def test_without_modelopt_the_extra_is_named() -> None:
    with pytest.raises(MachineError, match=r"pip install"):
        to_modelopt(chain(), images(), ScaleTable(()))
    with pytest.raises(MachineError, match=r"pip install"):
        from_modelopt(chain(), images())


@needed
def test_the_golden_checkpoint_is_what_modelopt_makes_today() -> None:
    check_golden(with_modelopt(), MODELOPT)


@needed
def test_a_quantized_network_says_what_its_checkpoint_says() -> None:
    check_reading(with_modelopt(), from_modelopt, MODELOPT)


@needed
def test_a_network_prepared_with_a_table_is_the_one_that_the_table_came_from() -> None:
    theirs = with_modelopt()
    bridged = to_modelopt(chain(), images(), table_of(theirs))
    assert not bridged.unmatched
    ours = amax(bridged.module)
    assert set(ours) == {f"{name}._amax" for name in bridged.quantizers}
    assert amax(theirs).keys() - ours.keys() == {"pool.input_quantizer._amax"}  # a MaxPool only moves values
    for name, value in ours.items():
        torch.testing.assert_close(value, amax(theirs)[name], rtol=1e-6, atol=0)
    with torch.no_grad():
        torch.testing.assert_close(bridged.module(images()), theirs(images()), atol=1e-6, rtol=0)


@needed
def test_a_table_comes_back_and_the_quantized_model_computes_what_modelopt_does() -> None:
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
            for row in table_of(with_modelopt()).rows
            if row.tensor not in MOVED
        )
    )
    bridged = to_modelopt(chain(), images(), drawn)
    found = from_modelopt(bridged.module, images())
    for row in drawn.rows:
        np.testing.assert_allclose(found.table[row.tensor].scale, row.scale, rtol=1e-6)
    options = QuantizeOptions(target="tensorrt@8.6", head="int8")
    quantized = quantize(found.model, found.table, options=options)
    engine = ql.engines.ort(quantized.model)
    with torch.no_grad():
        theirs = bridged.module(images()).numpy()
    np.testing.assert_allclose(next(iter(engine.run({"image": images().numpy()}).values())), theirs, atol=1e-6)


@needed
def test_it_trains_and_its_new_scales_are_read() -> None:
    network: Any = to_modelopt(chain(), images(), table_of(with_modelopt())).module
    before = network.fc.weight.detach().clone()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    network(images()).square().sum().backward()
    optimizer.step()
    assert not torch.equal(network.fc.weight, before)
    network.fc.input_quantizer.amax = torch.tensor(2.0)
    found = from_modelopt(network, images())
    assert found.table["/Flatten_output_0"].scale == (float(np.float32(2 / 127)),)
    torch.testing.assert_close(dict(found.module.named_parameters())["fc.weight"], network.fc.weight)


@needed
def test_what_modelopt_skips_is_listed() -> None:
    """A subclass with a forward of its own gets no quantizers, and ModelOpt does not say so."""
    network, example = tokens(), torch.randn(2, 7, 6)
    tensors = ("x", "/Relu_output_0", "/shared_1/Add_output_0", "/Relu_1_output_0")
    bridged = to_modelopt(network, example, ScaleTable(tuple(Scale(tensor, (0.5,)) for tensor in tensors)))
    assert bridged.unmatched == {"own": "ModelOpt gives a Doubled no quantizers"}
    assert from_modelopt(bridged.module, example).unmatched["own"] == "ModelOpt gives a Doubled no quantizers"


@needed
def test_quantizers_without_a_scale_are_off() -> None:
    bridged = to_modelopt(chain(), images(), ScaleTable((Scale("image", (0.5,)),)))
    assert bridged.quantizers == ("stem.0.input_quantizer", "stem.0.weight_quantizer")
    found = from_modelopt(bridged.module, images())
    assert found.table["image"].scale == (0.5,)
    assert found.unmatched["fc.input_quantizer"] == "it is switched off"


@needed
def test_a_network_without_quantizers_is_refused() -> None:
    with pytest.raises(UsageError, match="no quantizer of ModelOpt"):
        from_modelopt(chain(), images())
