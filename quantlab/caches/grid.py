"""The marks that calibrators leave in a threshold: on which point of a grid of 2,048 bins it lies."""

from typing import Literal, TypeAlias

from quantlab.numerics.divergence import LEVELS
from quantlab.numerics.tensorrt_histogram import BINS

Mark: TypeAlias = Literal["middle", "top", "edge", "none"]
"""middle: (i + 0.5)·width, as Entropy2 returns; top: the maximum itself; edge: i·width below it; none: off the grid."""

_TOLERANCE = 4e-3
"""Of a bin: scales are float32, and TensorRT's differ from the formula by up to 7e-7 of themselves."""


def bins(threshold: float, ceiling: float) -> float:
    """Return a threshold in bins of `ceiling` / 2,048: where a calibrator's search ended if it saw values up to there."""
    return threshold / ceiling * BINS


def mark(threshold: float, ceiling: float) -> Mark:
    """Return where a threshold lies on the grid that a tensor with this largest magnitude had."""
    place = bins(threshold, ceiling)
    if not LEVELS - 0.5 <= place <= BINS + 1:
        return "none"
    if abs(place - BINS) < _TOLERANCE:
        return "top"
    if abs(place - 0.5 - round(place - 0.5)) < _TOLERANCE:
        return "middle"
    return "edge" if abs(place - round(place)) < _TOLERANCE else "none"


def entropy_bins(threshold: float, ceiling: float) -> int | None:
    """Return the bins that Entropy2 kept, 128 … 2048; None where the threshold is none of its own."""
    return int(bins(threshold, ceiling)) if mark(threshold, ceiling) == "middle" else None
