"""The scales of a Q/DQ model's activations, as a calibration cache can say them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from quantlab.calibration.scale_table import Scale
from quantlab.errors import InputError
from quantlab.graph.qdq_view import QdqGraph, Step
from quantlab.numerics.affine import LIMITS

_MIDDLE = {"int8": 0, "uint8": 128}


def activation_rows(
    qdq: QdqGraph, names: Mapping[str, str], *, widen: bool
) -> tuple[tuple[Scale, ...], dict[str, str]]:
    """Return a symmetric row for each quantized activation, and tensor → a sentence where it is not the model's own scale.

    Parameters
    ----------
    names
        The tensor that a Q reads → its name without Q/DQ.
    widen
        Whether an affine range becomes the symmetric one around it.

    Raises
    ------
    InputError
        A scale that is computed or not one a tensor, integers other than INT8 and UINT8, or a zero point out of the
        middle without `widen`.
    """
    scales: dict[str, float] = {}
    notes: dict[str, str] = {}
    for step in qdq.steps:
        if step.weight or not step.quantizes:
            continue
        name = names[step.tensor]
        scale, affine = _symmetric(step, name, widen=widen)
        if affine:
            notes[name] = (
                "Scales of affine activations (UINT8, zero point not 128) are the symmetric ones around their ranges."
            )
        if name in scales and scales[name] != scale:
            notes[name] = "Where a tensor is quantized with several scales, the cache has the largest."
            scale = max(scale, scales[name])
        scales[name] = scale
    rows = tuple(Scale(name, (scale,), method="read from Q/DQ") for name, scale in scales.items())
    return rows, notes


def _symmetric(step: Step, name: str, *, widen: bool) -> tuple[float, bool]:
    """Return the scale of steps about 0, and whether the model's own steps lie otherwise."""
    if step.scale is None or step.zero_point is None:
        raise InputError(f"Scale or zero point of «{name}» is computed, not constant: no cache can say it.")
    if step.scale.size != 1 or step.zero_point.size != 1:
        raise InputError(f"«{name}» has {step.scale.size} scales; a cache holds one a tensor.")
    kind = "" if step.dtype is None else step.dtype.name
    if kind not in LIMITS:
        raise InputError(f"«{name}» is quantized to {kind or 'an unknown type'}; a cache is for INT8.")
    scale, zero = float(np.float32(step.scale.reshape(()))), int(step.zero_point.reshape(()))
    if zero == _MIDDLE[kind]:
        return scale, False
    low, high = ((limit - zero) * scale for limit in LIMITS[kind])
    if not widen:
        raise InputError(
            f"«{name}» is {kind} with zero point {zero}, steps over [{low:.4g}, {high:.4g}]: a cache holds symmetric scales. Give "
            "--widen for the symmetric scale around each such range, or calibrate anew."
        )
    return float(np.float32(max(abs(low), abs(high)) / 127)), True
