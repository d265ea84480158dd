"""Golden checkpoints of `chain`, made by the libraries themselves: run this file where they are installed to write them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from quantlab.calibration.scale_table import ScaleTable
from quantlab.qat.quantizer_rows import ReadQuantizers
from quantlab.qat.state_dicts import read_quantizers
from tests.qat.quantizer_networks import chain, images

FOLDER = Path(__file__).parent.parent / "golden" / "qat"
PYTORCH_QUANTIZATION = FOLDER / "pytorch_quantization.pt"
MODELOPT = FOLDER / "modelopt.pt"
MODELOPT_SAVED = FOLDER / "modelopt_saved.pt"


def with_pytorch_quantization() -> nn.Module:
    """Return `chain` as the library builds and calibrates it: its classes in torch's place while the network is made."""
    modules = import_module("pytorch_quantization.quant_modules")
    kind = import_module("pytorch_quantization.nn").TensorQuantizer
    modules.initialize()
    try:
        network = chain()
    finally:
        modules.deactivate()
    quantizers: list[Any] = [part for part in network.modules() if isinstance(part, kind)]
    for quantizer in quantizers:
        quantizer.disable_quant()
        quantizer.enable_calib()
    with torch.no_grad():
        network(images())
    for quantizer in quantizers:
        quantizer.load_calib_amax()
        quantizer.disable_calib()
        quantizer.enable_quant()
    return network


def with_modelopt() -> nn.Module:
    """Return `chain` as `mtq.quantize` calibrates it with its INT8 configuration."""
    mtq = import_module("modelopt.torch.quantization")

    def forward(network: nn.Module) -> None:
        network(images())

    network: nn.Module = mtq.quantize(chain(), copy.deepcopy(mtq.INT8_DEFAULT_CFG), forward)
    return network


def checkpoint(network: nn.Module) -> dict[str, Any]:
    """Return the state_dict beside what the fake-quantized network computes of images it was not calibrated with."""
    with torch.no_grad():
        output: Tensor = network(images(seed=2))
    return {"state_dict": network.state_dict(), "output": output}


def state_of(path: Path = PYTORCH_QUANTIZATION) -> dict[str, Any]:
    """Return the state_dict of a golden checkpoint, free to be changed."""
    content: dict[str, Any] = torch.load(path, weights_only=True)
    return dict(content["state_dict"])


def check_golden(network: nn.Module, path: Path) -> None:
    """Assert that a golden checkpoint is what the library makes today."""
    made, kept = checkpoint(network), torch.load(path, weights_only=True)
    assert made["state_dict"].keys() == kept["state_dict"].keys()
    for name, value in made["state_dict"].items():
        torch.testing.assert_close(value, kept["state_dict"][name])
    torch.testing.assert_close(made["output"], kept["output"])


def check_reading(network: nn.Module, read: Callable[[nn.Module, Tensor], ReadQuantizers], path: Path) -> None:
    """Assert that reading a quantized network gives what its checkpoint does, and leaves the network as it was."""
    before = copy.deepcopy(network.state_dict())
    found, kept = read(network, images()), read_quantizers(path, chain(), images())
    assert same_rows(found.table, kept.table)
    assert found.model == kept.model
    assert not found.unmatched
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def same_rows(one: ScaleTable, two: ScaleTable) -> bool:
    """Tell whether two tables have the same scales; their rows may come from elsewhere."""
    rows = ([(row.tensor, row.scale, row.axis, row.role) for row in table.rows] for table in (one, two))
    return next(rows) == next(rows)


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    torch.save(checkpoint(with_pytorch_quantization()), PYTORCH_QUANTIZATION)
    quantized = with_modelopt()
    torch.save(checkpoint(quantized), MODELOPT)
    import_module("modelopt.torch.opt").save(quantized, MODELOPT_SAVED)
