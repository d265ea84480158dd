"""NVIDIA ModelOpt as a second way to train: its quantizers at our scales, and its scales as our table."""

from __future__ import annotations

import contextlib
import copy
import io
import warnings
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from torch import nn

from quantlab.calibration.scale_table import ScaleTable
from quantlab.errors import MachineError
from quantlab.qat.bridges import Bridged, read_network
from quantlab.qat.export_example import Example
from quantlab.qat.module_amax import Amax, module_amaxes, quantizable
from quantlab.qat.module_tensors import find_module_tensors
from quantlab.qat.onnx_export import ExportOptions
from quantlab.qat.quantizer_rows import ReadQuantizers

_LIBRARY = "ModelOpt"


def to_modelopt(
    network: nn.Module, example: Example, table: ScaleTable, *, options: ExportOptions | None = None
) -> Bridged:
    """Return a copy of a float network with ModelOpt's INT8 quantizers, their amax from a scale table.

    What `mtq.quantize` does with its INT8 configuration, without calibrating: a quantizer is on where the table has
    a scale for it, and off elsewhere. `mto.save`, training and `mtq` work on the result. ModelOpt's classes are not
    touched. It gives no quantizers to subclasses with a forward of their own, nor to functional calls; those that the
    table has scales for are in `unmatched`. 127 · scale as float32 may be a last bit off (`quantizer_state` tells).

    Raises
    ------
    MachineError
        ModelOpt is not installed or cannot be imported.
    InputError
        As `ql.export`.
    """
    mtq, kind = _library()
    places = find_module_tensors(network, example, quantizable(network), options=options or ExportOptions())
    amaxes, unmatched = module_amaxes(network, places, table)
    config = copy.deepcopy(mtq.INT8_DEFAULT_CFG)
    config["algorithm"] = None  # no calibration
    with _quiet():
        module: nn.Module = mtq.quantize(copy.deepcopy(network), config)
    found = {path: part for path, part in module.named_modules() if isinstance(part, kind)}
    for part in found.values():
        part.disable()
    names = []
    for amax in amaxes:
        name = f"{amax.module}.{amax.kind}_quantizer".removeprefix(".")
        if name not in found:
            own = type(network.get_submodule(amax.module)).__name__
            unmatched[amax.module] = f"{_LIBRARY} gives a {own} no quantizers"
            continue
        _set(found[name], amax, next(iter(network.parameters()), amax.value).device)
        names.append(name)
    return Bridged(module, tuple(names), unmatched)


def _set(quantizer: Any, amax: Amax, device: torch.device) -> None:
    quantizer.num_bits, quantizer.unsigned, quantizer.axis = 8, False, amax.axis
    quantizer.amax = amax.value.to(device)
    quantizer.enable()


def from_modelopt(model: nn.Module, example: Example, *, options: ExportOptions | None = None) -> ReadQuantizers:
    """Return the scales of a network that `mtq.quantize` gave quantizers, calibrated or trained.

    The tensor names are those of the float network, as `ql.export` writes it; it is in the result. Conv and Linear
    modules that ModelOpt skipped are in `unmatched`.

    Raises
    ------
    MachineError
        ModelOpt is not installed or cannot be imported.
    UsageError
        When the network has no quantizer of ModelOpt's.
    InputError
        As `ql.export`; an amax that is NaN, infinite, negative or zero.
    """
    _, kind = _library()
    return read_network(model, example, kind, _LIBRARY, options=options)


def _library() -> tuple[ModuleType, type[Any]]:
    try:
        with _quiet():
            mtq = import_module("modelopt.torch.quantization")
            return mtq, import_module("modelopt.torch.quantization.nn").TensorQuantizer
    except ImportError as error:
        missing = error.name or "modelopt"
        if missing.partition(".")[0] == "modelopt":
            raise MachineError("ModelOpt is not installed: pip install 'quantlab[modelopt]'.") from error
        raise MachineError(
            f"ModelOpt cannot be imported, as «{missing}» is not installed, which it does not ask for: "
            f"pip install {missing}."
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what ModelOpt prints, and what it warns of packages that INT8 does without."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
