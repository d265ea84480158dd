"""One image's matches of boxes as a row of numbers, so that they are kept, merged and drawn as any metric's values."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from quantlab.numerics.arrays import F64, I64

_COLUMNS = 3
_NONE = -1.0
_SHIFT = 10


@dataclass(frozen=True, slots=True, eq=False)
class PackedMatches:
    """A row float64[1 + 3 · limit + classes]: the limit; for each box its score, class and bits; the objects of each class.

    Bit t of a box says that it takes an object at IoU threshold t; bit 10 + t that it does not count there, as it
    lies in a crowd. A class of −1 is no box. Objects in crowds are left out of the counts.
    """

    row: F64

    @classmethod
    def of(cls, evaluations: Sequence[Any], classes: int, limit: int) -> "PackedMatches":
        """Pack what COCOeval says of one image, an evaluation a class that has a box or an object."""
        boxes = np.full((limit, _COLUMNS), _NONE)
        objects = np.zeros(classes)
        start = 0
        for each in evaluations:
            label, scores = each["category_id"], each["dtScores"]
            objects[label] = np.count_nonzero(np.asarray(each["gtIgnore"]) == 0)
            part = boxes[start : start + len(scores)]
            part[:, 0], part[:, 1] = scores, label
            part[:, 2] = _bits(each["dtMatches"] != 0) + (_bits(each["dtIgnore"]) << _SHIFT)
            start += len(scores)
        return cls(np.concatenate([[limit], boxes.ravel(), objects]))

    @property
    def limit(self) -> int:
        """Boxes that the row has room for."""
        return int(self.row[0])

    @property
    def boxes(self) -> F64:
        """Score, class and bits of each box, [boxes, 3]."""
        every = self.row[1 : 1 + _COLUMNS * self.limit].reshape(self.limit, _COLUMNS)
        return every[every[:, 1] != _NONE]

    @property
    def objects(self) -> I64:
        """How many of each class there are to find, int64[classes]."""
        return self.row[1 + _COLUMNS * self.limit :].astype(np.int64)

    def by_class(self) -> dict[int, dict[str, Any]]:
        """Return what COCOeval said, by class, as far as its `accumulate` reads it."""
        boxes, objects = self.boxes, self.objects
        found: dict[int, dict[str, Any]] = {}
        for label in {*boxes[:, 1].astype(int).tolist(), *np.flatnonzero(objects).tolist()}:
            own = boxes[boxes[:, 1] == label]
            bits = own[:, 2].astype(np.int64)
            found[label] = {
                "dtScores": own[:, 0],
                "dtMatches": unpacked(bits),
                "dtIgnore": unpacked(bits >> _SHIFT),
                "gtIgnore": np.zeros(objects[label]),
            }
        return found


def unpacked(bits: I64) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return the lowest ten bits, bool[10, boxes]."""
    return (bits[None] >> np.arange(_SHIFT)[:, None] & 1).astype(bool)


def _bits(flags: Any) -> I64:
    weights = np.left_shift(1, np.arange(_SHIFT))
    return np.asarray(weights @ np.asarray(flags, np.int64), np.int64)
