"""Where a pixel of an image comes to lie in the network's input."""

from dataclasses import dataclass

import numpy as np

from quantlab.data.preprocess import Preprocess
from quantlab.numerics.arrays import F64


@dataclass(frozen=True, slots=True)
class Placing:
    """x · scale[0] + shift[0], y · scale[1] + shift[1], in pixels, and the input's width and height."""

    scale: tuple[float, float]
    shift: tuple[float, float]
    size: tuple[int, int]

    @classmethod
    def of(cls, preprocess: Preprocess, height: int, width: int) -> "Placing":
        """Return the placing of an upright image of this size: resized, then cropped from the centre, as its pixels are."""
        rows, columns = height, width
        if isinstance(preprocess.resize, tuple):
            rows, columns = preprocess.resize
        elif preprocess.resize is not None:
            short = min(height, width)
            rows, columns = (max(preprocess.resize * side // short, 1) for side in (height, width))
        scale, shift = (columns / width, rows / height), (0.0, 0.0)
        if preprocess.crop is not None:
            high, wide = preprocess.crop
            shift = (-float(round((columns - wide) / 2)), -float(round((rows - high) / 2)))
            rows, columns = high, wide
        return cls(scale, shift, (columns, rows))

    def moved(self, corners: F64) -> F64:
        """Return boxes (left, top, right, bottom) in the input, cut at its edges; one outside has no area."""
        moved = corners * np.tile(self.scale, 2) + np.tile(self.shift, 2)
        return np.clip(moved, 0.0, np.tile(np.array(self.size, np.float64), 2))
