"""The `amax` of another library's quantizers: the magnitude that its largest integer stands for, and our scale of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from quantlab.calibration.schemes import SMALLEST_SCALE, UNUSED_SCALE
from quantlab.errors import InputError
from quantlab.numerics.arrays import F32

Kind: TypeAlias = Literal["input", "output", "weight", "module"]

STEPS = 127
"""Steps from 0 to `amax`, whether a library's integers begin at −127 (`narrow_range`) or at −128: the step is the same,
and the integer −128 appears below −127.5 steps only, which no weight reaches whose `amax` is its largest magnitude."""


@dataclass(frozen=True, slots=True)
class Quantizer:
    """One quantizer of another library.

    Attributes
    ----------
    name
        Its path in the module, as «layer1.0.conv1._input_quantizer».
    module
        The path of the module whose input, output or weight it quantizes; "" is the network itself.
    kind
        What it quantizes. «module»: it is a module of its own, which quantizes its input.
    amax
        Float32 of shape (), or one a channel along the one axis that is longer than 1.
    unsigned
        Whether the library counts 0 … 255 for 0 … `amax`.
    refusal
        Why it cannot be a scale of INT8; None if it can.
    exact
        The scales that quantlab wrote the `amax` for, in the same order: 127 times a float32, rounded, does not always
        divide back to it.
    """

    name: str
    module: str
    kind: Kind
    amax: F32
    unsigned: bool = False
    refusal: str | None = None
    exact: F32 | None = None


def scales_of(quantizer: Quantizer, tensor: str, *, dead: NDArray[np.bool_] | None = None) -> F32:
    """Return `amax` / 127, float32 in the shape of `amax`.

    An unsigned quantizer's 0 … 255 become 0 … 127 over the same range, as TensorRT's Q/DQ is signed: half the
    resolution. `dead` tells which channels of a weight hold zeros alone, where any scale is exact.

    Raises
    ------
    InputError
        An `amax` that is NaN, infinite, negative, or zero where there are values; a scale too small for an engine.
    """
    amax = quantizer.amax
    where = f"Quantizer «{quantizer.name}» of tensor «{tensor}»"
    if not np.isfinite(amax).all():
        raise InputError(f"{where} has an amax of {_first(amax, ~np.isfinite(amax))}: calibrate it again.")
    if (amax < 0).any():
        raise InputError(f"{where} has the negative amax {_first(amax, amax < 0)}: calibrate it again.")
    unused = np.zeros(amax.shape, np.bool_) if dead is None else np.broadcast_to(dead, amax.shape)
    scales = np.asarray(amax / np.float32(STEPS), np.float32)
    small = (scales < SMALLEST_SCALE) & ~unused
    if small.any():
        value = _first(amax, small)
        said = (
            "an amax of 0, so that everything becomes 0" if value == 0 else f"the amax {value}, too small for a scale"
        )
        raise InputError(f"{where} has {said}: calibrate it again with data that reaches it.")
    return np.asarray(np.where(scales < SMALLEST_SCALE, np.float32(UNUSED_SCALE), scales), np.float32)


def amax_of(scales: F32) -> F32:
    """Return 127 · scale as float32, in the same shape; `scales_of` gives these back but for one in 130 (a last bit).

    Raises
    ------
    InputError
        When that is beyond float32.
    """
    with np.errstate(over="ignore"):
        amax = np.asarray(scales * np.float32(STEPS), np.float32)
    if not np.isfinite(amax).all():
        raise InputError(f"A scale of {scales.max():.3g} times 127 exceeds float32: calibrate the tensor again.")
    return amax


def agrees(exact: F32 | None, amax: F32) -> bool:
    """Tell whether scales kept beside an amax are those that it was written for: nobody changed it since."""
    if exact is None or exact.dtype != np.float32 or (exact.size != 1 and amax.size not in {1, exact.size}):
        return False
    if not (np.isfinite(exact).all() and (exact > 0).all()):
        return False
    return bool((amax_of(exact.reshape(-1)) == amax.reshape(-1)).all())


def _first(values: F32, bad: NDArray[np.bool_]) -> float:
    return float(values[bad].flat[0])
