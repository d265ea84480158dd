"""Scales between a table and the quantizers: what they start from, and what they learned."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from quantlab.calibration.scale_search import least_error_scales
from quantlab.calibration.scale_table import Scale, ScaleTable
from quantlab.calibration.weight_methods import WeightMethod
from quantlab.graph.placement import Placement, WeightSite
from quantlab.graph.site_params import activation_params, needed
from quantlab.graph.weights import weight_row
from quantlab.numerics.affine import LIMITS, QuantParams
from quantlab.numerics.arrays import F32, AnyArray
from quantlab.qat.fake_quant import FakeQuantize, Gradient


@dataclass(frozen=True, slots=True)
class Quantizers:
    """The quantizers of a network; tensors that must have one scale have one quantizer.

    Attributes
    ----------
    activations
        By tensor, in graph order; those that the target makes do without are left out.
    weights
        By site of the placement.
    """

    activations: Mapping[str, FakeQuantize]
    weights: Mapping[WeightSite, FakeQuantize]


def activation_quantizers(table: ScaleTable, placement: Placement, gradient: Gradient) -> dict[str, FakeQuantize]:
    """Return a quantizer for each tensor of the placement, at the scale that the Q/DQ model would have.

    Raises
    ------
    InputError
        As `quantize`: a row that the target cannot take.
    """
    rows = {row.tensor: row for row in table.rows if row.role != "weight"}
    params = activation_params(rows, placement)
    leaders = {tensor: group[0] for group in placement.groups for tensor in group}
    made: dict[str, FakeQuantize] = {}
    found = {}
    for tensor, site in placement.activations.items():
        leader = leaders.get(tensor, tensor)
        if leader not in made:
            low, high = _integers(params[tensor])
            scale = torch.from_numpy(params[tensor].scale.reshape(1).copy())
            made[leader] = FakeQuantize(leader, scale, low=low, high=high, gradient=gradient)
        if needed(site, params[tensor]):
            found[tensor] = made[leader]
    return found


def weight_scales(site: WeightSite, weight: AnyArray, table: ScaleTable, method: WeightMethod | None, bits: int) -> F32:
    """Return the scales that the table has for a weight, or else `method`'s; float32 [1] or [channels].

    With fewer than 8 bits the scales are those of least squared error, whatever the table says: its rows are for 127 steps.
    """
    if bits < 8:
        rows = weight.reshape(1, -1) if site.axis is None else np.moveaxis(weight, site.axis, 0)
        low, high = weight_range(bits)
        return least_error_scales(np.ascontiguousarray(rows.reshape(len(rows), -1)), low, high)
    row = next((r for r in table.rows if r.tensor == site.weight), None)
    channels = 1 if site.axis is None else weight.shape[site.axis]
    if row is None or not _fits(row, site.axis, channels):
        row = weight_row(site.weight, weight, site.axis, method)
    return np.array(row.scale, np.float32)


def weight_range(bits: int) -> tuple[int, int]:
    """Return the smallest and largest integer of `bits` bits."""
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


def learned_table(
    table: ScaleTable,
    placement: Placement,
    activations: Mapping[str, FakeQuantize],
    weights: Iterable[tuple[WeightSite, FakeQuantize, tuple[int, ...]]],
    *,
    digest: str,
) -> ScaleTable:
    """Return a table for the trained model of this digest, with the quantizers' scales.

    What was observed is kept; ranges chosen, clipped shares and expected errors are not, as they were of other scales.
    """
    rows = {row.tensor: row for row in table.rows if row.role != "weight"}
    params = activation_params(rows, placement)
    leaders = {tensor: group[0] for group in placement.groups for tensor in group}
    by_leader = {q.tensor: q for q in activations.values()}
    found = []
    for tensor in placement.tensors:
        row, quantizer = rows[tensor], by_leader.get(leaders.get(tensor, tensor))
        if quantizer is None:
            found.append(row)
            continue
        values = replace(params[tensor], scale=_array(quantizer.scale).reshape(()))
        known = {"scheme": row.scheme, "role": row.role, "shape": row.shape, "observed": row.observed}
        if row.dtype != values.dtype:
            values = _as(row, values)
        same = np.array_equal(values.scale, row.params.scale)
        found.append(row if same else Scale.of(tensor, values, method=f"QAT, from {row.method or 'a cache'}", **known))
    for site, quantizer, shape in weights:
        scale = _array(quantizer.scale)
        scale = scale.reshape(()) if site.axis is None else scale
        weight = QuantParams(scale, np.zeros(scale.shape, np.int64), "int8", site.axis)
        found.append(Scale.of(site.weight, weight, role="weight", shape=shape, method=f"QAT, {quantizer.gradient}"))
    names = {row.tensor for row in found}
    rest = tuple(row for row in table.rows if row.tensor not in names and row.role != "weight")
    origin = None if table.provenance is None else replace(table.provenance, model=digest)
    return ScaleTable((*found, *rest), origin)


def _fits(row: Scale, axis: int | None, channels: int) -> bool:
    same = row.role == "weight" and row.axis == axis and len(row.scale) == channels
    return same and row.dtype == "int8" and not any(row.zero_point)


def _integers(params: QuantParams) -> tuple[int, int]:
    low, high = LIMITS[params.dtype]
    return low - int(params.zero_point), high - int(params.zero_point)


def _as(row: Scale, params: QuantParams) -> QuantParams:
    """Return the parameters in the row's own type; `activation_params` shifted them, which changes no value."""
    shift = LIMITS[row.dtype][0] - LIMITS[params.dtype][0]
    return QuantParams(params.scale, params.zero_point + shift, row.dtype)


def _array(scale: Tensor) -> F32:
    return scale.detach().cpu().numpy().astype(np.float32)
