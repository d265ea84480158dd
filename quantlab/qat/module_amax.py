"""The amax of the quantizers that other libraries give to modules, from a scale table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from quantlab.calibration.scale_table import Scale, ScaleTable
from quantlab.graph.patterns import source
from quantlab.qat.amax import amax_of
from quantlab.qat.module_tensors import ModuleTensors
from quantlab.qat.quantizer_rows import module_scales
from quantlab.qat.tracing import WEIGHTED
from quantlab.qat.weight_factors import ModuleWeight

QUANTIZED: tuple[type[nn.Module], ...] = (
    *WEIGHTED,
    *(nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d),
    *(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d),
)
"""The classes that get quantizers: those of `WEIGHTED` of the input and of the weight, poolings of the input."""


@dataclass(frozen=True, slots=True)
class Amax:
    """The amax of one quantizer.

    Attributes
    ----------
    module
        Path of the module that has the quantizer.
    kind
        What it quantizes.
    value
        Float32 of shape (), or [channels, 1, …] with the rank of the weight.
    exact
        The table's scales that it stands for: those of the ONNX model's weight, into which a BatchNorm may be folded.
    """

    module: str
    kind: Literal["input", "weight"]
    value: Tensor
    exact: Tensor

    @property
    def axis(self) -> int | None:
        """The channels' axis of `value`; None for one scale."""
        return next((axis for axis, size in enumerate(self.value.shape) if size > 1), None)


def quantizable(network: nn.Module) -> tuple[str, ...]:
    """Return the paths of the modules to which these libraries give quantizers: `QUANTIZED`, subclasses among them."""
    return tuple(path for path, part in network.named_modules() if isinstance(part, QUANTIZED))


def module_amaxes(
    network: nn.Module, places: ModuleTensors, table: ScaleTable
) -> tuple[tuple[Amax, ...], dict[str, str]]:
    """Return the amax of every quantizer that a table knows, and what has no counterpart, with the reason."""
    rows = {places.aliases.get(row.tensor, row.tensor): row for row in table.rows} | {r.tensor: r for r in table.rows}
    used: set[str] = set()
    found: list[Amax] = []
    unmatched: dict[str, str] = {}
    for path in places.inputs:
        amaxes = _amaxes(path, network.get_submodule(path), places, rows, used)
        if isinstance(amaxes, str):
            unmatched[path] = amaxes
        else:
            found += amaxes
    moved = {source(places.graph, tensor) for tensor in used}
    for row in table.rows:
        tensor = places.aliases.get(row.tensor, row.tensor)
        if tensor not in used | moved and source(places.graph, tensor) not in used | moved:
            unmatched[row.tensor] = "no module of the kinds that get quantizers reads it as its input or weight"
    return tuple(found), unmatched


def _amaxes(
    path: str, module: nn.Module, places: ModuleTensors, rows: Mapping[str, Scale], used: set[str]
) -> list[Amax] | str:
    """Return the amax of a module's quantizers, or why it gets none; note the tensors whose rows they are."""
    tensors = places.inputs[path]
    if not tensors:
        return places.lost.get(path, "its input is not in the normalised ONNX model")
    tensor = next((t for t in (*(source(places.graph, t) for t in tensors), *tensors) if t in rows), None)
    if tensor is None:
        return f"its input «{tensors[0]}» has no row in the table, so it stays float"
    row = rows[tensor]
    if row.scheme != "symmetric" or len(row.scale) != 1:
        return f"the range of its input «{tensor}» is not symmetric, with one scale; these libraries know no other"
    scale = np.array(row.scale[0], np.float32)
    found = [Amax(path, "input", torch.from_numpy(amax_of(scale)), torch.from_numpy(scale))]
    if isinstance(module, WEIGHTED):
        if path not in places.weights:
            return places.lost.get(path, "its weight is not in the normalised ONNX model")
        found.append(_weight_amax(path, module, places.weights[path][0], rows))
        used.update(weight.tensor for weight in places.weights[path])
    used.update((*tensors, tensor))
    return found


def _weight_amax(path: str, module: nn.Module, weight: ModuleWeight, rows: Mapping[str, Scale]) -> Amax:
    stored: Tensor = module.weight.detach().to("cpu", torch.float32)  # type: ignore[operator]
    row = rows.get(weight.tensor)
    found = None if row is None else module_scales(row, weight)
    if row is None or found is None:
        others = [axis for axis in range(stored.ndim) if axis != weight.channels]
        return Amax(path, "weight", stored.abs().amax(others, keepdim=True), torch.zeros(0))
    scales, along = found
    exact = np.broadcast_to(np.array(row.scale, np.float32), scales.shape).copy()
    shape = [-1 if axis == along else 1 for axis in range(stored.ndim)]
    return Amax(path, "weight", torch.from_numpy(amax_of(scales)).reshape(shape), torch.from_numpy(exact))
