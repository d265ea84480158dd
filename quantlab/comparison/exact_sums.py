"""Error sums that merge exactly: the same bits for any batch size and any order of the samples."""

from dataclasses import dataclass

import numpy as np

from quantlab.comparison.sample_sums import parts, sample_sums
from quantlab.errors import InputError
from quantlab.numerics.arrays import AnyArray
from quantlab.numerics.error_sums import ErrorSums

_EXPONENT = 1074
"""Every finite float64 is a whole number of 2**-1074."""

_LARGEST = 2.0**960
"""Of a sample's sum: the total of 2**60 samples stays finite."""


@dataclass(frozen=True, slots=True)
class ExactErrorSums:
    """Error sums over samples, each sample's rounded to float64, and added as integers, which is exact.

    Attributes
    ----------
    signal, other, cross, noise
        As in `ErrorSums`, in units of 2**-1074.
    largest, count
        As in `ErrorSums`.
    left_out
        Samples with NaN or infinity on either side: they are in none of the sums.
    """

    signal: int = 0
    other: int = 0
    cross: int = 0
    noise: int = 0
    largest: float = 0.0
    count: int = 0
    left_out: int = 0

    @classmethod
    def of(cls, exact: AnyArray, got: AnyArray, samples: int) -> "ExactErrorSums":
        """Return the sums over the samples of one batch; `sample_sums.parts` says what a sample is.

        Raises
        ------
        InputError
            When the shapes differ.
        """
        if exact.shape != got.shape:
            raise InputError(f"Tensors of shapes {list(exact.shape)} and {list(got.shape)} cannot be compared.")
        sums = sample_sums(exact, got, samples)
        usable = (np.abs(sums[:, :4]) <= _LARGEST).all(axis=1)  # NaN compares as false
        kept = sums[usable]
        return cls(
            _whole_sum(kept[:, 0]),
            _whole_sum(kept[:, 1]),
            _whole_sum(kept[:, 2]),
            _whole_sum(kept[:, 3]),
            float(kept[:, 4].max(initial=0.0)),
            len(kept) * (exact.size // parts(exact, samples)),
            len(sums) - len(kept),
        )

    def merge(self, other: "ExactErrorSums") -> "ExactErrorSums":
        """Return the sums over both sets of samples."""
        return ExactErrorSums(
            self.signal + other.signal,
            self.other + other.other,
            self.cross + other.cross,
            self.noise + other.noise,
            max(self.largest, other.largest),
            self.count + other.count,
            self.left_out + other.left_out,
        )

    @property
    def total(self) -> ErrorSums:
        """The sums, each rounded once."""
        return ErrorSums(
            _rounded(self.signal),
            _rounded(self.other),
            _rounded(self.cross),
            _rounded(self.noise),
            self.largest,
            self.count,
        )


def _whole_sum(values: AnyArray) -> int:
    return sum(_whole(value) for value in values.tolist())


def _whole(value: float) -> int:
    numerator, denominator = value.as_integer_ratio()
    return numerator << (_EXPONENT + 1 - denominator.bit_length())


def _rounded(total: int) -> float:
    return total / (1 << _EXPONENT)
