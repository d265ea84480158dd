"""Scales of weights, straight from the array: a weight is all there, so no histogram stands between."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from quantlab.calibration.scale_search import least_error_scales
from quantlab.calibration.schemes import LARGEST_SCALE, SMALLEST_SCALE, UNUSED_SCALE
from quantlab.errors import InputError
from quantlab.numerics.affine import LIMITS
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
        _refuse(weight, axis)
        others = None if axis is None else tuple(i for i in range(weight.ndim) if i != axis % weight.ndim)
        scales = np.abs(weight.astype(np.float64)).max(axis=others, initial=0.0) / 127
        return np.where(scales == 0, UNUSED_SCALE, np.clip(scales, SMALLEST_SCALE, LARGEST_SCALE)).astype(np.float32)


@dataclass(frozen=True, slots=True)
class SquaredErrorWeights:
    """The scale with the least Σ(w − DQ(Q(w)))², rounding and clipping together, for the array or each channel.

    What `least_error_scales` finds: never worse than `MaxAbs`, and by most where a channel has few weights (a depthwise
    kernel's nine) or an outlier. A channel of zeros gets 1/127.
    """

    def __call__(self, weight: AnyArray, axis: int | None, /) -> F32:
        """Return the scales.

        Raises
        ------
        InputError
            When the weight holds NaN or infinity, or has no such axis.
        """
        _refuse(weight, axis)
        rows = weight.reshape(1, -1) if axis is None else _channels(weight, axis)
        scales = least_error_scales(rows.astype(np.float32), *LIMITS["int8"])
        return scales.reshape(() if axis is None else (-1,))


def _channels(weight: AnyArray, axis: int) -> AnyArray:
    """Return [channels, values of one]; written out, as an empty array leaves -1 undecided."""
    first = np.moveaxis(weight, axis, 0)
    return first.reshape(first.shape[0], int(np.prod(first.shape[1:], dtype=np.int64)))


def _refuse(weight: AnyArray, axis: int | None) -> None:
    if axis is not None and not -weight.ndim <= axis < weight.ndim:
        raise InputError(f"A weight of shape {list(weight.shape)} has no axis {axis}.")
    if not np.all(np.abs(weight.astype(np.float64)) <= np.finfo(np.float32).max):
        raise InputError("A weight holds NaN or infinity, or more than float32 can; it cannot be quantized.")
