"""From table rows to the integers of each Q/DQ site: one scale a group, in the type that the runtime wants."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from quantlab.calibration.scale_table import Scale
from quantlab.calibration.schemes import UNUSED_SCALE
from quantlab.errors import InputError
from quantlab.graph.placement import Placement, Site
from quantlab.numerics.affine import LIMITS, QuantParams

_SHIFT = 128  # between int8 and uint8: q + 128 with the zero point + 128 stands for the same values


def activation_params(rows: Mapping[str, Scale], placement: Placement) -> dict[str, QuantParams]:
    """Return scale and zero point of every site, those of one group equal.

    TensorRT gets INT8 about 0, ONNX Runtime UINT8 (symmetric scales about 128); rows of the other type are shifted,
    which changes no value. Where a group's rows differ, the widest range wins; a tensor that was always zero has none.

    Raises
    ------
    InputError
        A row with a scale a channel, or, for TensorRT, a row that is not symmetric.
    """
    convert = _as_uint8 if placement.target.tensorrt is None else _as_int8
    params = {tensor: convert(rows[tensor]) for tensor in placement.tensors}
    for group in placement.groups:
        members = [t for t in group if t in params]
        living = [t for t in members if not _is_dead(rows[t])]
        widest = max((params[t] for t in living or members), key=_width)
        params |= dict.fromkeys(group, widest)
    return {tensor: params[site.shares or tensor] for tensor, site in placement.activations.items()}


def missing(rows: Mapping[str, Scale], placement: Placement) -> tuple[str, ...]:
    """Return the tensors that need a row and have none, in graph order."""
    return tuple(tensor for tensor in placement.tensors if tensor not in rows)


def needed(site: Site, params: QuantParams) -> bool:
    """Tell whether the pair does something that the activation function after it would undo (`Site.unless_within`).

    ONNX Runtime drops a Relu or Clip before a Q whose integers cannot reach outside the function's bounds.
    """
    if site.unless_within is None:
        return True
    low, high = (np.float32(limit - params.zero_point) * params.scale for limit in LIMITS[params.dtype])
    return bool(low < site.unless_within[0] or high - site.unless_within[1] > np.finfo(np.float32).eps)


def names(tensors: Iterable[str], limit: int = 8) -> str:
    """Return the names in quotes for an error message, the first few of many."""
    listed = tuple(tensors)
    more = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    return ", ".join(f"'{tensor}'" for tensor in listed[:limit]) + more


def _as_int8(row: Scale) -> QuantParams:
    params = _per_tensor(row)
    zero_point = params.zero_point - (_SHIFT if params.dtype == "uint8" else 0)
    if np.any(zero_point != 0):
        raise InputError(
            f"Tensor '{row.tensor}' has zero point {int(params.zero_point)} ({params.dtype}), but TensorRT takes symmetric "
            "scales only: calibrate with the scheme Symmetric(), or quantize for the target ort."
        )
    return QuantParams(params.scale, zero_point, "int8")


def _as_uint8(row: Scale) -> QuantParams:
    params = _per_tensor(row)
    return QuantParams(params.scale, params.zero_point + (_SHIFT if params.dtype == "int8" else 0), "uint8")


def _per_tensor(row: Scale) -> QuantParams:
    if row.axis is not None:
        raise InputError(
            f"Tensor '{row.tensor}' has {len(row.scale)} scales along axis {row.axis}: an activation takes one. "
            "Calibrate it as an activation."
        )
    return row.params


def _is_dead(row: Scale) -> bool:
    """Tell whether the scale is the placeholder of a tensor without amplitude, which says nothing about a range.

    A row that does not tell what was observed (from a cache) is believed to be one if it has that very scale.
    """
    return row.scale == (UNUSED_SCALE,) and (row.observed is None or row.observed.amax == 0)


def _width(params: QuantParams) -> float:
    return float(params.scale)
