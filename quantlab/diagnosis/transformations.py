"""The preprocessings that people mix up, as affine maps of pixels 0 … 255, and how to get from one to another."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from quantlab.numerics.arrays import F32, F64, AnyArray


@dataclass(frozen=True, slots=True)
class Scaling:
    """value = x·factor + offset of a pixel x in 0 … 255, one factor and offset a channel in RGB order."""

    name: str
    factor: tuple[float, ...]
    offset: tuple[float, ...]

    def for_channels(self, channels: int) -> tuple[F64, F64]:
        """Return factor and offset, float64[channels]; gray takes the mean of three."""
        factor, offset = np.array(self.factor), np.array(self.offset)
        if len(factor) == channels:
            return factor, offset
        return np.full(channels, factor.mean()), np.full(channels, offset.mean())


def _normal(name: str, mean: tuple[float, ...], std: tuple[float, ...]) -> Scaling:
    return Scaling(name, tuple(1 / s for s in std), tuple(-m / s for m, s in zip(mean, std, strict=True)))


_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)

KNOWN = (
    _normal("(x − 127)/128", (127.0,) * 3, (128.0,) * 3),
    _normal("x/127.5 − 1", (127.5,) * 3, (127.5,) * 3),
    _normal("x/255", (0.0,) * 3, (255.0,) * 3),
    _normal("ImageNet's mean and std", _MEAN, _STD),
    _normal("x − ImageNet's mean, 0 … 255", _MEAN, (1.0,) * 3),
    _normal("pixels as they are, 0 … 255", (0.0,) * 3, (1.0,) * 3),
)
"""In the order in which equals are named."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """What could have been meant, as a map of the given input: value·factor + offset, channels reversed first or not."""

    name: str
    factor: F64
    offset: F64
    swapped: bool = False

    def apply(self, values: AnyArray, axis: int) -> F32:
        """Return the input of the same shape, float32; `axis` holds the channels."""
        shape = tuple(len(self.factor) if i == axis else 1 for i in range(values.ndim))
        ordered = np.flip(values, axis) if self.swapped else values
        found = ordered.astype(np.float64) * self.factor.reshape(shape) + self.offset.reshape(shape)
        return np.ascontiguousarray(found, np.float32)


def candidates(values: AnyArray, axis: int, declared: Mapping[str, Any]) -> tuple[str, tuple[Candidate, ...]]:
    """Return what the input looks like, in words, and what else could have been meant.

    Pixels are found back from the declared preprocessing, where there is one, else from the known scaling whose pixels come
    closest to 0 … 255, else by stretching the values over it.

    Parameters
    ----------
    values
        Inputs, float [samples, …], with 1 or 3 channels along `axis`.
    declared
        The preprocessing as JSON; empty if there is none.
    """
    channels = values.shape[axis]
    looks, (factor, offset) = _origin(values, axis, declared)
    meant = [(s.name, s.for_channels(channels)) for s in KNOWN]
    meant.append(("each channel's own mean 0 and std 1", _standard(values, axis, factor, offset)))
    origin = factor, offset
    plain = (_from_pixels(name, scaling, origin) for name, scaling in meant)
    found = [candidate for candidate in plain if not _same(candidate)]
    if channels > 1:  # the order alone may be wrong
        reverse = (factor[::-1], offset[::-1])
        found.insert(0, _from_pixels("the same scaling, channels reversed", origin, reverse, swapped=True))
        found += [_from_pixels(f"{name}, channels reversed", s, reverse, swapped=True) for name, s in meant]
    return looks, tuple(found)


def _from_pixels(name: str, meant: tuple[F64, F64], origin: tuple[F64, F64], *, swapped: bool = False) -> Candidate:
    """Return the map from values to what was meant: with pixel = (value − offset)/factor it is affine in the value."""
    slope, shift = meant
    factor, offset = origin
    return Candidate(name, slope / factor, shift - slope * offset / factor, swapped)


def _origin(values: AnyArray, axis: int, declared: Mapping[str, Any]) -> tuple[str, tuple[F64, F64]]:
    channels = values.shape[axis]
    low, high = float(values.min()), float(values.max())
    if declared:
        scale, mean, std = (
            _each(declared.get(k, d), channels) for k, d in (("scale", 1.0), ("mean", 0.0), ("std", 1.0))
        )
        if np.all(scale != 0) and np.all(std != 0):
            return f"as declared, from {low:.3g} to {high:.3g}", (scale / std, -mean / std)
    best = min(KNOWN, key=lambda scaling: _misfit(values, axis, scaling))
    if _misfit(values, axis, best) <= 128:
        return f"like {best.name}", best.for_channels(channels)
    factor = max(high - low, 1e-30) / 255
    return f"like none of the usual scalings, from {low:.4g} to {high:.4g}", (
        np.full(channels, factor),
        np.full(channels, low),
    )


def _misfit(values: AnyArray, axis: int, scaling: Scaling) -> float:
    """Return how far the pixels behind the values are from filling 0 … 255, in steps, mean over the channels."""
    factor, offset = scaling.for_channels(values.shape[axis])
    others = tuple(i for i in range(values.ndim) if i != axis)
    low = (values.min(axis=others).astype(np.float64) - offset) / factor
    high = (values.max(axis=others).astype(np.float64) - offset) / factor
    return float(np.mean(np.abs(low) + np.abs(high - 255)))


def _standard(values: AnyArray, axis: int, factor: F64, offset: F64) -> tuple[F64, F64]:
    """Return the scaling of pixels that makes each channel's mean 0 and its standard deviation 1."""
    others = tuple(i for i in range(values.ndim) if i != axis)
    mean = (values.mean(axis=others, dtype=np.float64) - offset) / factor
    std = np.maximum(values.std(axis=others, dtype=np.float64) / np.abs(factor), 1e-6)
    return 1 / std, -mean / std


def _each(value: Any, channels: int) -> F64:
    found = np.atleast_1d(np.asarray(value, np.float64))
    return found if len(found) == channels else np.full(channels, float(found.mean()))


def _same(candidate: Candidate) -> bool:
    return bool(np.allclose(candidate.factor, 1, rtol=0.01) and np.allclose(candidate.offset, 0, atol=0.01))
