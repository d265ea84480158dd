"""Scales of weights, straight from the array: a weight is all there, so no histogram stands between."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from quantlab.calibration.schemes import LARGEST_SCALE, SMALLEST_SCALE, UNUSED_SCALE
from quantlab.errors import InputError
from quantlab.numerics.arrays import F32, AnyArray


class WeightMethod(Protocol):
    """Turns a weight into symmetric INT8 scales."""

    def __call__(self, weight: AnyArray, axis: int | None, /) -> F32:
        """Return float32 scales > 0, shape () for `axis` None, else [weight.shape[axis]]."""
        ...


@dataclass(frozen=True, slots=True)
class MaxAbs:
    """Largest magnitude / 127, for the whole array or each channel; a channel of zeros gets 1/127."""

    def __call__(self, weight: AnyArray, axis: int | None, /) -> F32:
        """Return the scales.

        Raises
        ------
        InputError
            When the weight holds NaN or infinity, or has no such axis.
        """
        if axis is not None and not -weight.ndim <= axis < weight.ndim:
            raise InputError(f"A weight of shape {list(weight.shape)} has no axis {axis}.")
        magnitudes = np.abs(weight.astype(np.float64))
        if not np.all(magnitudes <= np.finfo(np.float32).max):
            raise InputError("A weight holds NaN or infinity, or more than float32 can; it cannot be quantized.")
        others = None if axis is None else tuple(i for i in range(weight.ndim) if i != axis % weight.ndim)
        scales = magnitudes.max(axis=others, initial=0.0) / 127
        return np.where(scales == 0, UNUSED_SCALE, np.clip(scales, SMALLEST_SCALE, LARGEST_SCALE)).astype(np.float32)
