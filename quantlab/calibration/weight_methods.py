"""Scales of weights, straight from the array: a weight is all there, so no histogram stands between."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from quantlab.calibration.schemes import SMALLEST_SCALE, UNUSED_SCALE
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
            When the weight holds NaN or infinity.
        """
        if not np.all(np.isfinite(weight)):
            raise InputError("A weight holds NaN or infinity; it cannot be quantized.")
        magnitudes = np.abs(weight.astype(np.float64))
        others = None if axis is None else tuple(i for i in range(weight.ndim) if i != axis % weight.ndim)
        scales = magnitudes.max(axis=others, initial=0.0) / 127
        return np.where(scales == 0, UNUSED_SCALE, np.maximum(scales, SMALLEST_SCALE)).astype(np.float32)
