"""Weights as integers: scales by a WeightMethod, INT8 initializers, and the INT32 biases of ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from quantlab.calibration.scale_table import Scale
from quantlab.calibration.schemes import SMALLEST_SCALE, UNUSED_SCALE
from quantlab.calibration.weight_methods import MaxAbs, WeightMethod
from quantlab.errors import InputError
from quantlab.numerics.affine import QuantParams, quantize
from quantlab.numerics.arrays import F32

_INT32_MAX = 2**31 - 1


def weight_row(name: str, weight: NDArray[Any], axis: int | None, method: WeightMethod | None = None) -> Scale:
    """Return the table row of a weight: symmetric INT8, one scale along `axis` an index, or one for all.

    A channel of zeros, whatever `method` makes of it, gets a positive scale: 0 makes a model unloadable.

    Raises
    ------
    InputError
        The weight holds NaN or infinity; the method gives scales of the wrong number, or one that is not finite
        and > 0 for a channel that is not zero.
    """
    method = method or MaxAbs()
    if not np.isfinite(weight).all():
        raise InputError(f"Weight '{name}' holds NaN or infinity: it cannot be quantized.")
    scales = np.asarray(method(weight, axis), np.float32)
    expected = () if axis is None else (weight.shape[axis],)
    if scales.shape != expected:
        raise InputError(f"{method} gives scales of shape {scales.shape} for weight '{name}', not {expected}.")
    bad = ~(np.isfinite(scales) & (scales > 0))
    dead = _magnitudes(weight, axis) == 0
    if np.any(bad & ~dead):
        raise InputError(f"{method} gives weight '{name}' a scale that is not finite and > 0: {scales[bad]}.")
    safe = np.where(bad, np.float32(UNUSED_SCALE), scales)
    params = QuantParams(safe.astype(np.float32), np.zeros(expected, np.int64), "int8", axis)
    return Scale.of(name, params, role="weight", shape=weight.shape, method=str(method))


def int8_initializer(name: str, weight: NDArray[Any], params: QuantParams) -> onnx.TensorProto:
    """Return the weight rounded to INT8 under the name `name`."""
    return onnx.numpy_helper.from_array(quantize(weight, params), name)


def room_for_bias(params: QuantParams, bias: NDArray[Any], activation_scale: F32) -> QuantParams:
    """Return weight parameters whose scales, times the activation's, are > 0 and let the bias fit into INT32.

    Only channels with next to no weights are changed: their bias dwarfs what coarser weights lose.
    """
    magnitudes = np.abs(bias.astype(np.float64))
    largest = magnitudes if params.axis is not None else np.asarray(magnitudes.max(initial=0.0))
    needed = np.maximum(largest / (_INT32_MAX / 2), SMALLEST_SCALE) / float(activation_scale)
    scale = np.maximum(params.scale, needed.astype(np.float32))
    return QuantParams(scale, params.zero_point, params.dtype, params.axis)


def int32_bias(bias: NDArray[Any], activation_scale: F32, weight_scale: F32) -> tuple[NDArray[np.int32], F32]:
    """Return the bias in steps of activation scale · weight scale, and those steps."""
    steps = np.asarray(activation_scale * weight_scale, np.float32)
    return np.rint(bias.astype(np.float64) / steps).astype(np.int32), steps


def _magnitudes(weight: NDArray[Any], axis: int | None) -> NDArray[Any]:
    others = None if axis is None else tuple(i for i in range(weight.ndim) if i != axis)
    return np.asarray(np.abs(weight).max(axis=others, initial=0.0))
