"""Affine quantization: q = clamp(round(x / scale) + zero_point), rounding half to even."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from quantlab.errors import InputError
from quantlab.numerics.arrays import F32, I64, AnyArray

IntegerType: TypeAlias = Literal["int8", "uint8"]

LIMITS: dict[str, tuple[int, int]] = {"int8": (-128, 127), "uint8": (0, 255)}


@dataclass(frozen=True, slots=True, eq=False)
class QuantParams:
    """Scale and zero point of one tensor, for all of it or one a channel.

    Attributes
    ----------
    scale
        float32, shape () or [channels]; finite and > 0.
    zero_point
        int64 of the same shape, inside the range of `dtype`.
    dtype
        Element type of the quantized tensor; int8 is clamped to [-128, 127], uint8 to [0, 255].
    axis
        The channels' axis; None for one scale.
    """

    scale: F32
    zero_point: I64
    dtype: IntegerType = "int8"
    axis: int | None = None

    def __post_init__(self) -> None:
        if self.dtype not in LIMITS:
            raise InputError(f"Tensors are quantized to int8 or uint8, not to {self.dtype}.")
        if self.scale.dtype != np.float32:
            raise InputError(f"A scale is float32, not {self.scale.dtype}.")
        low, high = LIMITS[self.dtype]
        if self.scale.shape != self.zero_point.shape or self.scale.ndim != (self.axis is not None):
            raise InputError("Scale and zero point must have one shape: () without an axis, [channels] with one.")
        if not (np.all(np.isfinite(self.scale)) and np.all(self.scale > 0)):
            raise InputError(f"A scale must be finite and > 0, not {self.scale}.")
        if np.any((self.zero_point < low) | (self.zero_point > high)):
            raise InputError(f"A zero point of {self.dtype} lies in [{low}, {high}], not at {self.zero_point}.")


def quantize(values: AnyArray, params: QuantParams) -> AnyArray:
    """Return the integers, in the arithmetic of ONNX QuantizeLinear: float32 division, half to even, saturation.

    NaN becomes the zero point, as any integer is as wrong as another; infinities saturate.
    """
    scale, zero_point = _along(params, np.ndim(values))
    low, high = LIMITS[params.dtype]
    with np.errstate(over="ignore"):  # what overflows float32 saturates, as any large value does
        steps = np.rint(np.asarray(values, np.float32) / scale)
    return np.clip(np.nan_to_num(steps, nan=0.0) + zero_point, low, high).astype(params.dtype)


def dequantize(integers: AnyArray, params: QuantParams) -> F32:
    """Return float32 (q − zero_point) · scale."""
    scale, zero_point = _along(params, np.ndim(integers))
    return (integers.astype(np.int64) - zero_point).astype(np.float32) * scale


def fake_quantize(values: AnyArray, params: QuantParams) -> F32:
    """Return float32 dequantize(quantize(values)): what INT8 makes of the tensor."""
    return dequantize(quantize(values, params), params)


def _along(params: QuantParams, ndim: int) -> tuple[F32, I64]:
    if params.axis is None:
        return params.scale, params.zero_point
    shape = [1] * ndim
    shape[params.axis] = -1
    return params.scale.reshape(shape), params.zero_point.reshape(shape)
