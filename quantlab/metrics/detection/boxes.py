"""Boxes: true ones, those that a network proposes, and those that it ends up with."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from quantlab.errors import InputError
from quantlab.numerics.arrays import F64, I64, AnyArray, Tensors


@dataclass(frozen=True, slots=True, eq=False)
class TrueBoxes:
    """The objects in one image, as its label.

    Attributes
    ----------
    corners
        Left, top, right and bottom in pixels of the network's input, float64[boxes, 4].
    classes
        From 0, int64[boxes].
    crowd
        Whether a box holds many objects, which nobody need find (COCO's `iscrowd`), bool[boxes].
    """

    corners: F64
    classes: I64
    crowd: NDArray[np.bool_]

    def __post_init__(self) -> None:
        boxes = len(self.classes)
        if self.corners.shape != (boxes, 4) or self.crowd.shape != (boxes,) or not np.isfinite(self.corners).all():
            raise InputError(
                f"True boxes are finite corners [boxes, 4], with a class and a crowd flag each, not corners "
                f"{list(self.corners.shape)}, {boxes} classes and {list(self.crowd.shape)} flags."
            )


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """The boxes that a network found in one image, the surest first.

    Attributes
    ----------
    corners
        As for `TrueBoxes`.
    scores
        Confidence, float64[boxes], falling.
    classes
        From 0, int64[boxes].
    """

    corners: F64
    scores: F64
    classes: I64

    def take(self, rows: AnyArray) -> "Found":
        """Return the boxes of these rows."""
        return Found(self.corners[rows], self.scores[rows], self.classes[rows])

    def as_truth(self, least: float) -> TrueBoxes:
        """Return the boxes of at least this confidence as true ones."""
        sure = self.scores >= least
        return TrueBoxes(self.corners[sure], self.classes[sure], np.zeros(int(sure.sum()), bool))


class Decoder(Protocol):
    """Turns a network's outputs into each image's boxes."""

    def classes(self, outputs: Tensors) -> int:
        """Return how many classes there are.

        Raises
        ------
        InputError
            When the outputs are not what this decoder takes.
        """
        ...

    def boxes(self, outputs: Tensors, limit: int) -> list[Found]:
        """Return the boxes of each image after suppression, at most `limit` of the surest.

        Raises
        ------
        InputError
            When the outputs are not what this decoder takes.
        """
        ...
