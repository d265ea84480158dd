"""Schemes: how a range becomes scale and zero point. Methods choose ranges; schemes know integers."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from quantlab.calibration.ranges import Range
from quantlab.errors import InputError, UsageError
from quantlab.numerics.affine import LIMITS, IntegerType, QuantParams

SMALLEST_SCALE = float(np.finfo(np.float32).tiny)
"""Smallest normal float32: a scale of 0 or a subnormal one makes an engine refuse the model."""

LARGEST_SCALE = float(np.nextafter(np.float32(np.finfo(np.float32).max / 127), np.float32(0)))
"""Largest scale of which 127 steps are still a float32."""

UNUSED_SCALE = float(np.float32(1 / 127))
"""Scale of a tensor or channel that is 0 throughout: any positive scale is exact, and TensorRT refuses 0."""


@dataclass(frozen=True, slots=True)
class Symmetric:
    """One scale about 0, steps −127 … 127: max(|low|, |high|) / 127; TensorRT's only scheme.

    With `uint8` the same steps sit about a zero point of 128, which ONNX Runtime's integer kernels run faster.
    """

    dtype: IntegerType = "int8"
    name = "symmetric"

    def __post_init__(self) -> None:
        _check(self.dtype)

    def params(self, chosen: Range) -> QuantParams:
        """Return scale (float32, nearest) and zero point."""
        zero_point = 0 if self.dtype == "int8" else 128
        return _params(chosen.amax / 127, zero_point, self.dtype)


@dataclass(frozen=True, slots=True)
class Affine:
    """All 256 steps over [min(low, 0), max(high, 0)], 0 exactly representable: scale (high − low) / 255."""

    dtype: IntegerType = "uint8"
    name = "affine"

    def __post_init__(self) -> None:
        _check(self.dtype)

    def params(self, chosen: Range) -> QuantParams:
        """Return scale (float32, nearest) and zero point (half to even)."""
        low, high = min(chosen.low, 0.0), max(chosen.high, 0.0)
        first, last = LIMITS[self.dtype]
        scale = (high - low) / 255
        zero_point = first + (round(-low / scale) if scale > SMALLEST_SCALE else 0)
        return _params(scale, min(max(zero_point, first), last), self.dtype)


Scheme: TypeAlias = Symmetric | Affine


def _check(dtype: str) -> None:
    if dtype not in LIMITS:
        raise UsageError(f"A scheme's dtype is int8 or uint8, not «{dtype}».")


def _params(scale: float, zero_point: int, dtype: IntegerType) -> QuantParams:
    if scale > 1.01 * LARGEST_SCALE:
        raise InputError(
            f"A step of {scale:.3g} is needed, whose multiples exceed float32; no integer can stand for that range."
        )
    safe = UNUSED_SCALE if scale == 0 else min(max(scale, SMALLEST_SCALE), LARGEST_SCALE)
    return QuantParams(np.array(safe, np.float32), np.array(zero_point, np.int64), dtype)
