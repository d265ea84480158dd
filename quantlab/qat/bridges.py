"""What the bridges to other libraries share: a network with their quantizers, and what it says in quantlab's terms."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from quantlab.errors import UsageError
from quantlab.qat.amax import Quantizer
from quantlab.qat.export_example import Example
from quantlab.qat.module_tensors import find_module_tensors
from quantlab.qat.onnx_export import ExportOptions
from quantlab.qat.quantizer_files import quantizer_of
from quantlab.qat.quantizer_rows import ReadQuantizers, read_rows
from quantlab.qat.tracing import WEIGHTED

_KNOWN = ("_num_bits", "_unsigned", "_block_sizes", "_disabled")


@dataclass(frozen=True, slots=True)
class Bridged:
    """A network with another library's quantizers.

    Attributes
    ----------
    module
        A copy of the network; the library trains, saves and exports it as its own.
    quantizers
        Names of the quantizers that are on, each with an amax of the table.
    unmatched
        Module or tensor that the table has a scale for and the library no quantizer → why.
    """

    module: nn.Module
    quantizers: tuple[str, ...]
    unmatched: Mapping[str, str]


def read_network(
    model: nn.Module, example: Example, kind: type[Any], library: str, *, options: ExportOptions | None
) -> ReadQuantizers:
    """Return what the quantizers of class `kind` in a network say; the network is not changed.

    Raises
    ------
    UsageError
        When the network has none.
    InputError, MachineError
        As `ql.export`; an amax that is NaN, infinite, negative or zero.
    """
    found = {path: part for path, part in model.named_modules() if isinstance(part, kind)}
    if not found:
        raise UsageError(f"The network has no quantizer of {library}: quantize it with {library} first.")
    bare = without(model, kind)
    weighted = [path for path, part in bare.named_modules() if isinstance(part, WEIGHTED)]
    quantizers = [q for path, part in found.items() if _counts(q := _read(path, part), part, weighted)]
    paths = {quantizer.module for quantizer in quantizers} | set(weighted)
    places = find_module_tensors(bare, example, paths, options=options or ExportOptions())
    result = read_rows(quantizers, bare, places, f"amax of {library}")
    having = {path.rpartition(".")[0] for path in found}
    missed = {
        path: f"{library} gives a {type(bare.get_submodule(path)).__name__} no quantizers"
        for path in weighted
        if path not in having
    }
    return replace(result, unmatched={**result.unmatched, **missed})


def without(model: nn.Module, kind: type[Any]) -> nn.Module:
    """Return a copy of a network in which modules of class `kind` hand on what they get."""
    bare = copy.deepcopy(model)
    for path in [path for path, part in bare.named_modules() if isinstance(part, kind)]:
        parent, _, name = path.rpartition(".")
        bare.get_submodule(parent)._modules[name] = nn.Identity()  # both libraries guard the attribute itself
    return bare


def _counts(quantizer: Quantizer, part: nn.Module, weighted: list[str]) -> bool:
    """Tell whether a quantizer is on, or is off where one would expect it on."""
    off = getattr(part, "_disabled", False) is True
    return not off or (quantizer.kind in {"input", "weight"} and quantizer.module in weighted)


def _read(path: str, part: nn.Module) -> Quantizer:
    known = {name: getattr(part, name) for name in _KNOWN if hasattr(part, name)}
    return quantizer_of(path, dict(part.state_dict()), known)
