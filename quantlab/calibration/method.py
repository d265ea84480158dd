"""A method turns one tensor's histogram into the range that its integers shall cover."""

from typing import Protocol, TypeVar

from quantlab.calibration.ranges import Range
from quantlab.errors import InputError, UsageError
from quantlab.numerics.histogram import Histogram
from quantlab.numerics.tensorrt_histogram import TensorRTHistogram

AnyHistogram_contra = TypeVar("AnyHistogram_contra", Histogram, TensorRTHistogram, contravariant=True)


class Method(Protocol[AnyHistogram_contra]):
    """A frozen value whose parameters show in its repr; equal parameters, equal results."""

    def __call__(self, histogram: AnyHistogram_contra, /) -> Range:
        """Return the range for a tensor that has at least one finite value."""
        ...


def within_observed(histogram: Histogram, threshold: float) -> Range:
    """Return [−threshold, threshold] cut to what was observed; 0 is always inside."""
    return Range(max(min(histogram.low, 0.0), -threshold), min(max(histogram.high, 0.0), threshold))


def all_zero(histogram: Histogram) -> bool:
    """Tell whether no value is in a bin: there is nothing to choose, and all that was observed is covered."""
    return not histogram.counts.any()


def log_linear(histogram: object, method: object) -> Histogram:
    """Return the histogram if the method can read it.

    Raises
    ------
    UsageError
        For a histogram on TensorRT's grid, which only TensorRT's own methods read.
    InputError
        For a tensor without a finite value.
    """
    if not isinstance(histogram, Histogram):
        raise UsageError(
            f"{method} needs a histogram of the default grid, not {type(histogram).__name__}; collect without TensorRTGrid."
        )
    if histogram.total == 0:
        raise InputError(f"{method} has nothing to choose from: the tensor has no finite value.")
    return histogram


def tensorrt_grid(histogram: object, method: object) -> TensorRTHistogram:
    """Return the histogram if it is on TensorRT's grid.

    Raises
    ------
    UsageError
        For a histogram of the default grid.
    """
    if not isinstance(histogram, TensorRTHistogram):
        raise UsageError(
            f"{method} needs a histogram collected with grid=TensorRTGrid(batch=…), not {type(histogram).__name__}."
        )
    return histogram
