"""Checkpoints of pytorch-quantization and ModelOpt: read into a scale table, and written from one."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

from quantlab.atomic import atomic_path
from quantlab.calibration.scale_table import ScaleTable
from quantlab.errors import InputError, UsageError
from quantlab.qat.export_example import Example
from quantlab.qat.module_amax import module_amaxes, quantizable
from quantlab.qat.module_tensors import find_module_tensors
from quantlab.qat.onnx_export import ExportOptions
from quantlab.qat.quantizer_files import EXACT, load_checkpoint, shown
from quantlab.qat.quantizer_rows import ReadQuantizers, read_rows

Flavour: TypeAlias = Literal["pytorch-quantization", "modelopt"]
"""Whose names: «conv._input_quantizer._amax» or «conv.input_quantizer._amax»."""

_PREFIX: Mapping[str, str] = {"pytorch-quantization": "_", "modelopt": ""}


@dataclass(frozen=True, slots=True)
class QuantizerState:
    """A scale table as these libraries keep it.

    Attributes
    ----------
    state
        The network's weights and an `_amax` for each quantizer; `load_state_dict` of the network with quantizers
        takes it.
    unmatched
        Module that gets no quantizer, or tensor of the table that none of these libraries' quantizers reads → why.
    """

    state: Mapping[str, Tensor]
    unmatched: Mapping[str, str]


def read_quantizers(
    checkpoint: str | PathLike[str] | Mapping[str, Any],
    network: nn.Module,
    example: Example,
    *,
    unsigned: tuple[str, ...] = (),
    options: ExportOptions | None = None,
) -> ReadQuantizers:
    """Read the scales of a checkpoint of pytorch-quantization or ModelOpt.

    amax becomes the scale amax / 127. Both libraries quantize the weight before a BatchNorm that follows; in the
    model it is folded into the weight, so the scale of each channel is multiplied by the magnitude of its factor.

    Parameters
    ----------
    checkpoint
        A file of `torch.save(model.state_dict())`, of `mto.save`, or the state_dict itself. Files are read with
        `weights_only`: nothing in them is run.
    network
        The float network, without quantizers; it is not changed. Weights in the checkpoint go into a copy.
    example
        As for `ql.export`.
    unsigned
        Names of quantizers that count 0 … 255, which a plain state_dict does not tell.
    options
        Of the export that the tensor names come from.

    Raises
    ------
    InputError
        No checkpoint, one of another network, or an amax that is NaN, infinite, negative or zero.
    """
    _check_network(network)
    found = load_checkpoint(checkpoint)
    names = {quantizer.name for quantizer in found.quantizers}
    for name in unsigned:
        if name not in names:
            raise UsageError(f"«{name}» is no quantizer of the checkpoint; it has {_some(names)}.")
    quantizers = [replace(q, unsigned=True) if q.name in unsigned else q for q in found.quantizers]
    loaded = _with_weights(network, found.weights)
    paths = {quantizer.module for quantizer in quantizers}
    places = find_module_tensors(loaded, example, paths, options=options or ExportOptions())
    return read_rows(quantizers, loaded, places, "amax of a checkpoint")


def quantizer_state(
    network: nn.Module,
    example: Example,
    table: ScaleTable,
    *,
    flavour: Flavour,
    options: ExportOptions | None = None,
) -> QuantizerState:
    """Return a table as the state_dict of the network with quantizers.

    Modules whose input has a row get an `_amax` of the input, and Conv and Linear one of the weight: the table's, or
    the largest magnitude of each output channel where it has none. The table's scales go along in the metadata of the
    state_dict, so that `read_quantizers` gives them back to the last bit; 127 · scale rounded to float32 does so but
    for one in 130.

    Raises
    ------
    UsageError
        An unknown flavour.
    InputError
        As `ql.export`; a scale beyond float32.
    """
    if flavour not in get_args(Flavour):
        raise UsageError(f"«{flavour}» is no flavour of a state_dict; there are {', '.join(get_args(Flavour))}.")
    _check_network(network)
    places = find_module_tensors(network, example, quantizable(network), options=options or ExportOptions())
    amaxes, unmatched = module_amaxes(network, places, table)
    state: OrderedDict[str, Tensor] = OrderedDict(
        (name, value.detach().clone()) for name, value in network.state_dict().items()
    )
    metadata = OrderedDict(getattr(network.state_dict(), "_metadata", {}))
    for amax in amaxes:
        name = ".".join(part for part in (amax.module, f"{_PREFIX[flavour]}{amax.kind}_quantizer") if part)
        state[f"{name}._amax"] = amax.value
        metadata[name] = {"version": 1, EXACT: amax.exact}
    state._metadata = metadata  # type: ignore[attr-defined]
    return QuantizerState(state, unmatched)


def write_quantizers(
    path: str | PathLike[str],
    network: nn.Module,
    example: Example,
    table: ScaleTable,
    *,
    flavour: Flavour,
    options: ExportOptions | None = None,
) -> Mapping[str, str]:
    """Write `quantizer_state` to a file, whole or not at all; return what has no counterpart, and why.

    Raises
    ------
    InputError, UsageError
        As `quantizer_state`.
    MachineError
        No space, no permission.
    """
    found = quantizer_state(network, example, table, flavour=flavour, options=options)
    with atomic_path(path) as temporary:
        torch.save(found.state, temporary)
    return found.unmatched


def _with_weights(network: nn.Module, weights: Mapping[str, Tensor]) -> nn.Module:
    """Return a copy of a float network with these weights; with its own where there are none.

    Raises
    ------
    InputError
        Weights of another network: names that are missing or unknown, or other shapes.
    """
    loaded = copy.deepcopy(network)
    if not weights:
        return loaded
    own = loaded.state_dict()
    for name, value in weights.items():
        if name not in own:
            raise InputError(f"The checkpoint has «{shown(name)}», which the network has not: give its own network.")
        if value.shape != own[name].shape:
            raise InputError(
                f"«{shown(name)}» has the shape {list(value.shape)} in the checkpoint and {list(own[name].shape)} in the "
                "network: give its own network."
            )
    absent = [name for name in own if name not in weights and not name.endswith("num_batches_tracked")]
    if absent:
        raise InputError(f"The checkpoint lacks weights of the network: {_some(absent)}.")
    loaded.load_state_dict(dict(weights), strict=False)
    return loaded


def _check_network(network: nn.Module) -> None:
    if not isinstance(network, nn.Module):
        raise UsageError(f"The network is a torch.nn.Module, not {type(network).__name__}.")
    for path, part in network.named_modules():
        if type(part).__name__ in {"TensorQuantizer", "FakeQuantize"}:
            raise UsageError(f"The network has the quantizer «{path}»: give the float network that it was made from.")


def _some(names: Any) -> str:
    listed: Iterator[str] = iter(sorted(names))
    first = [f"«{shown(name)}»" for _, name in zip(range(4), listed, strict=False)]
    return ", ".join(first) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
