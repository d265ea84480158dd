"""Quantization-aware training of a PyTorch module, from its export to the Q/DQ model; torch loads at the first use.

The names below are the package's public ones. Some are also those of the files that hold them: import from a file
(`from quantlab.qat.train import train`), not the file itself.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from quantlab.qat.missing import require_torch

if TYPE_CHECKING:
    from quantlab.qat.callbacks import Callback as Callback
    from quantlab.qat.distillation import Distillation as Distillation
    from quantlab.qat.distributed import synchronise as synchronise
    from quantlab.qat.export import Equality as Equality
    from quantlab.qat.export import Exported as Exported
    from quantlab.qat.export import evaluate_equality as evaluate_equality
    from quantlab.qat.export import export as export
    from quantlab.qat.export_check import ExportDifference as ExportDifference
    from quantlab.qat.export_check import export_difference as export_difference
    from quantlab.qat.fake_quant import FakeQuantize as FakeQuantize
    from quantlab.qat.modelopt import from_modelopt as from_modelopt
    from quantlab.qat.modelopt import to_modelopt as to_modelopt
    from quantlab.qat.module_file import read_module as read_module
    from quantlab.qat.onnx_export import ExportOptions as ExportOptions
    from quantlab.qat.prepare import prepare as prepare
    from quantlab.qat.prepare_options import PrepareOptions as PrepareOptions
    from quantlab.qat.prepared import Prepared as Prepared
    from quantlab.qat.pytorch_quantization import from_pytorch_quantization as from_pytorch_quantization
    from quantlab.qat.pytorch_quantization import to_pytorch_quantization as to_pytorch_quantization
    from quantlab.qat.state_dicts import quantizer_state as quantizer_state
    from quantlab.qat.state_dicts import read_quantizers as read_quantizers
    from quantlab.qat.state_dicts import write_quantizers as write_quantizers
    from quantlab.qat.train import train as train
    from quantlab.qat.train_options import Schedule as Schedule
    from quantlab.qat.train_options import TrainOptions as TrainOptions
    from quantlab.qat.trained import Trained as Trained

_HOMES = {
    "Callback": "callbacks",
    "Distillation": "distillation",
    "Equality": "export",
    "ExportDifference": "export_check",
    "ExportOptions": "onnx_export",
    "Exported": "export",
    "FakeQuantize": "fake_quant",
    "PrepareOptions": "prepare_options",
    "Prepared": "prepared",
    "Schedule": "train_options",
    "TrainOptions": "train_options",
    "Trained": "trained",
    "evaluate_equality": "export",
    "export": "export",
    "export_difference": "export_check",
    "from_modelopt": "modelopt",
    "from_pytorch_quantization": "pytorch_quantization",
    "prepare": "prepare",
    "quantizer_state": "state_dicts",
    "read_module": "module_file",
    "read_quantizers": "state_dicts",
    "synchronise": "distributed",
    "to_modelopt": "modelopt",
    "to_pytorch_quantization": "pytorch_quantization",
    "train": "train",
    "write_quantizers": "state_dicts",
}


class _Package(ModuleType):
    """A package in which a public function goes before the file of the same name."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module 'quantlab.qat' has no attribute '{name}'")
        require_torch()
        found = getattr(import_module(f"quantlab.qat.{_HOMES[name]}"), name)
        super().__setattr__(name, found)
        return found

    def __dir__(self) -> list[str]:
        return sorted(_HOMES)


sys.modules[__name__].__class__ = _Package
