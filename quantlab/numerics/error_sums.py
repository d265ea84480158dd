"""How far one tensor is from another, as sums that merge."""

from dataclasses import dataclass

import numpy as np
from typing_extensions import Self

from quantlab.errors import InputError
from quantlab.numerics.arrays import AnyArray


@dataclass(frozen=True, slots=True)
class ErrorSums:
    """Running sums from which every error measure follows.

    Attributes
    ----------
    signal, other, cross, noise
        Sums of x², y², x·y and (x − y)² over all elements, in float64.
    largest
        max |x − y|.
    count
        Number of elements.
    """

    signal: float = 0.0
    other: float = 0.0
    cross: float = 0.0
    noise: float = 0.0
    largest: float = 0.0
    count: int = 0

    @classmethod
    def of(cls, exact: AnyArray, got: AnyArray) -> Self:
        """Sum over one batch, in float64: float32 stalls after 2**24 terms.

        Raises
        ------
        InputError
            When the shapes differ.
        """
        if np.shape(exact) != np.shape(got):
            raise InputError(f"Tensors of shapes {list(np.shape(exact))} and {list(np.shape(got))} cannot be compared.")
        x, y = exact.ravel().astype(np.float64), got.ravel().astype(np.float64)
        gap = np.subtract(x, y, out=np.zeros_like(x), where=x != y)  # equal infinities do not differ
        return cls(
            float(x @ x),
            float(y @ y),
            float(x @ y),
            float(gap @ gap),
            float(np.abs(gap).max(initial=0.0)),
            int(x.size),
        )

    def merge(self, other: Self) -> Self:
        """Return the sums over both batches."""
        return type(self)(
            self.signal + other.signal,
            self.other + other.other,
            self.cross + other.cross,
            self.noise + other.noise,
            float(np.maximum(self.largest, other.largest)),
            self.count + other.count,
        )

    @property
    def sqnr_db(self) -> float:
        """Signal-to-quantization-noise ratio, 10·log10(Σx² / Σ(x − y)²), in dB; infinite without noise, NaN without values."""
        if self.count == 0:
            return float("nan")
        return decibels(self.signal, self.noise)

    @property
    def cosine(self) -> float:
        """Cosine of the angle between both tensors, −1 … 1; 1 if both are zero, 0 if one is."""
        if self.signal == 0 or self.other == 0:
            return float(self.signal == self.other)
        cosine = self.cross / float(np.sqrt(self.signal) * np.sqrt(self.other))
        return min(max(cosine, -1.0), 1.0)


def decibels(signal: float, noise: float) -> float:
    """Return 10·log10(signal / noise): infinite for no noise, minus infinite for noise alone, NaN for NaN."""
    if np.isnan(noise) or np.isnan(signal):
        return float("nan")
    if noise == 0:
        return float("inf")
    return float(10 * np.log10(signal / noise)) if signal > 0 else float("-inf")
