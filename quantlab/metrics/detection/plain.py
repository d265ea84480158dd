"""Boxes that the network has suppressed itself."""

from dataclasses import dataclass

import numpy as np

from quantlab.errors import InputError, UsageError
from quantlab.metrics.detection.boxes import Found
from quantlab.metrics.detection.suppression import surest
from quantlab.metrics.outputs import listed
from quantlab.numerics.arrays import I64, AnyArray, Tensors


@dataclass(frozen=True, slots=True)
class Plain:
    """Boxes [n, boxes, 4], scores [n, boxes], classes [n, boxes] and maybe how many of them count, [n] or [n, 1].

    What TensorRT's EfficientNMS plugin and torchvision-like exports put out. Nothing is suppressed here.

    Attributes
    ----------
    count
        How many classes there are.
    order
        Names of the outputs: boxes, scores, classes and, if there is one, the count. () tells the boxes by their last
        dimension of 4, the scores by their floats between 0 and 1, and takes the other two by their shapes.
    by_row
        Whether a box is (top, left, bottom, right), as TensorFlow's are, and not (left, top, right, bottom).
    """

    count: int = 80
    order: tuple[str, ...] = ()
    by_row: bool = False

    def __post_init__(self) -> None:
        if self.count < 1 or len(self.order) not in (0, 3, 4):
            raise UsageError(
                "Plain boxes have one class or more, and outputs named as boxes, scores, classes[, count]."
            )

    def classes(self, outputs: Tensors) -> int:
        """Return how many classes there are."""
        self._named(outputs)
        return self.count

    def boxes(self, outputs: Tensors, limit: int) -> list[Found]:
        """Return the boxes of each image, at most `limit` of the surest; those that are not finite are left out."""
        corners, scores, classes, count = self._named(outputs)
        if self.by_row:
            corners = corners[..., [1, 0, 3, 2]]
        chosen = np.rint(classes).astype(np.int64)
        within = np.arange(scores.shape[1])[None] < count.reshape(-1, 1)
        real = within & np.isfinite(corners).all(axis=2) & np.isfinite(scores) & (scores > 0) & (chosen >= 0)
        if (chosen[real] >= self.count).any():
            raise InputError(
                f"A box has the class {chosen[real].max()}, but there are {self.count}: say how many, as in «plain:91»."
            )
        parts = zip(corners.astype(np.float64), scores.astype(np.float64), chosen, real, strict=True)
        return [surest(Found(c[r], s[r], k[r]), limit) for c, s, k, r in parts]

    def _named(self, outputs: Tensors) -> tuple[AnyArray, AnyArray, AnyArray, I64]:
        found = [outputs[name] for name in self.order if name in outputs] if self.order else _told_apart(outputs)
        shapes = [values.shape for values in found]
        if len(found) < 3 or len(shapes[0]) != 3 or shapes[0][2] != 4 or not shapes[0][:2] == shapes[1] == shapes[2]:
            raise InputError(
                "plain takes outputs boxes [n, boxes, 4], scores [n, boxes] and classes [n, boxes], and maybe their count [n]; "
                f"which is which cannot be told from {listed(outputs)}: name them, as in «plain:80,order=boxes/scores/classes»."
            )
        corners, scores, classes = found[:3]
        every = np.full(len(corners), scores.shape[1])
        return corners, scores, classes, np.asarray(found[3]).reshape(-1).astype(np.int64) if len(found) == 4 else every


def _told_apart(outputs: Tensors) -> list[AnyArray]:
    corners = [v for v in outputs.values() if v.ndim == 3 and v.shape[2] == 4]
    flat = [v for v in outputs.values() if v.ndim == 2 and corners and v.shape == corners[0].shape[:2]]
    counts = [v for v in outputs.values() if v.size == len(v) and v.dtype.kind in "iu"]
    named = {"i": [v for v in flat if v.dtype.kind in "iu"], "f": [v for v in flat if v.dtype.kind == "f"]}
    if len(corners) != 1 or len(flat) != 2 or len(counts) > 1 or not len(named["i"]) == len(named["f"]) == 1:
        return []
    return [corners[0], named["f"][0], named["i"][0], *counts]
