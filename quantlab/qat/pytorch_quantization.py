"""NVIDIA's pytorch-quantization, where it has been built: its quantizers at our scales, and its scales as our table."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

from torch import nn

from quantlab.calibration.scale_table import ScaleTable
from quantlab.errors import MachineError
from quantlab.qat.bridges import Bridged, read_network
from quantlab.qat.export_example import Example
from quantlab.qat.module_amax import QUANTIZED, Amax, module_amaxes, quantizable
from quantlab.qat.module_tensors import find_module_tensors
from quantlab.qat.onnx_export import ExportOptions
from quantlab.qat.quantizer_rows import ReadQuantizers

_LIBRARY = "pytorch-quantization"


@dataclass(frozen=True, slots=True)
class _Library:
    """Its parts."""

    nn: ModuleType
    tensor_quant: ModuleType


def to_pytorch_quantization(
    network: nn.Module, example: Example, table: ScaleTable, *, options: ExportOptions | None = None
) -> Bridged:
    """Return a copy of a float network with pytorch-quantization's modules, their amax from a scale table.

    Each module that the table has scales for becomes the library's class of it, with the same parameters; torch's own
    classes stay as they are (`quant_modules.initialize` replaces them everywhere). Subclasses with a forward of their
    own would lose it, so they stay float and are in `unmatched`. The state_dict is that of a checkpoint made with
    the library; `quantlab.qat.state_dicts` reads it.

    Raises
    ------
    MachineError
        pytorch-quantization is not installed, or its extension was not built.
    InputError
        As `ql.export`.
    """
    library = _library()
    places = find_module_tensors(network, example, quantizable(network), options=options or ExportOptions())
    amaxes, unmatched = module_amaxes(network, places, table)
    module = copy.deepcopy(network)
    by_module: dict[str, list[Amax]] = {}
    for amax in amaxes:
        by_module.setdefault(amax.module, []).append(amax)
    names = []
    for path, several in by_module.items():
        part = module.get_submodule(path)
        plain = next((kind for kind in QUANTIZED if _computes_as(part, kind)), None)
        if plain is None:
            unmatched[path] = f"{_LIBRARY} has no class that computes as {type(part).__name__} does"
            continue
        replaced = _replaced(part, several, library, plain.__name__)
        if path:
            parent, _, last = path.rpartition(".")
            module.get_submodule(parent)._modules[last] = replaced
        else:
            module = replaced
        names += [f"{path}._{amax.kind}_quantizer".removeprefix(".") for amax in several]
    return Bridged(module, tuple(names), unmatched)


def from_pytorch_quantization(
    model: nn.Module, example: Example, *, options: ExportOptions | None = None
) -> ReadQuantizers:
    """Return the scales of a network with pytorch-quantization's modules, calibrated or trained.

    The tensor names are those of the float network, as `ql.export` writes it; it is in the result. Unsigned
    quantizers keep their range and get half the resolution; `notes` lists them.

    Raises
    ------
    MachineError
        pytorch-quantization is not installed, or its extension was not built.
    UsageError
        When the network has none of its quantizers.
    InputError
        As `ql.export`; an amax that is NaN, infinite, negative or zero.
    """
    return read_network(model, example, _library().nn.TensorQuantizer, _LIBRARY, options=options)


def _library() -> _Library:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what torch has deprecated since the library's last release
            return _Library(
                import_module("pytorch_quantization.nn"), import_module("pytorch_quantization.tensor_quant")
            )
    except ImportError as error:
        raise MachineError(
            f"pytorch-quantization cannot be imported ({error}): build it from tools/pytorch-quantization of NVIDIA's "
            "TensorRT repository, as the package of that name in the index is empty; or use ModelOpt, its successor."
        ) from error


def _computes_as(part: nn.Module, plain: type[nn.Module]) -> bool:
    """Tell whether a module is of a class of torch's, or of a subclass that computes the same way."""
    methods = ("forward", "_conv_forward", "__call__")
    return isinstance(part, plain) and all(getattr(type(part), m, None) is getattr(plain, m, None) for m in methods)


def _replaced(part: nn.Module, amaxes: list[Amax], library: _Library, name: str) -> nn.Module:
    """Return the library's module for one of torch's, which shares its parameters."""
    kind = getattr(library.nn, f"Quant{name}")
    replaced: Any = kind.__new__(kind)
    for key, value in vars(part).items():
        vars(replaced)[key] = copy.copy(value) if key in {"_parameters", "_buffers", "_modules"} else value
    for amax in amaxes:
        descriptor = library.tensor_quant.QuantDescriptor(num_bits=8, amax=amax.value.cpu().numpy(), axis=amax.axis)
        quantizer = library.nn.TensorQuantizer(descriptor)
        like = next(iter(part.parameters()), amax.value)
        setattr(replaced, f"_{amax.kind}_quantizer", quantizer.to(like.device))
    vars(replaced)["_fake_quant"] = True
    return replaced
