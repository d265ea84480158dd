"""What a detector found, out of YOLOv3-tiny's raw heads, and how far two sets of heads find the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from quantlab.numerics.arrays import F32, F64, I64, U8, AnyArray

CONFIDENCE, OVERLAP, SAME_BOX = 0.25, 0.45, 0.5
"""Least confidence of a box; greatest IoU of two boxes of a class that stay; least IoU of boxes that agree."""

SIDE, GREY = 416, 127
"""Of the network's input: rows and columns; the value around a smaller photo."""

ANCHORS = {32: ((81, 82), (135, 169), (344, 319)), 16: ((10, 14), (23, 27), (37, 58))}
"""By stride, pixels: the width and height of each anchor, as the network's configuration gives them."""


@dataclass(frozen=True, slots=True)
class Boxes:
    """One image's boxes, the surest first.

    Attributes
    ----------
    corners
        Left, top, right and bottom in pixels of the network's input, float64[boxes, 4].
    confidence
        Objectness times the class's probability, float64[boxes].
    label
        Class, int64[boxes].
    """

    corners: F64
    confidence: F64
    label: I64

    def __len__(self) -> int:
        return len(self.label)

    def take(self, rows: AnyArray) -> Boxes:
        """Return the boxes of these rows."""
        return Boxes(self.corners[rows], self.confidence[rows], self.label[rows])


def on_canvas(photo: U8) -> F32:
    """Return a photo [rows, columns, 3] of at most 416×416 as the network's input, float32 [3, 416, 416] of 0 … 1.

    It is not enlarged but set on grey: on enlarged photos of 224×224 the network finds next to nothing.
    """
    canvas = np.full((SIDE, SIDE, 3), GREY, np.uint8)
    top, left = (SIDE - photo.shape[0]) // 2, (SIDE - photo.shape[1]) // 2
    canvas[top : top + photo.shape[0], left : left + photo.shape[1]] = photo
    return np.ascontiguousarray(canvas.transpose(2, 0, 1), np.float32) / np.float32(255)


def box_agreement(exact: Sequence[F32], got: Sequence[F32]) -> dict[str, float]:
    """Compare two networks' heads (coarse, fine), [images, channels, rows, columns], on the same images.

    Returns
    -------
    dict
        `images`, `exact_boxes`, `boxes`: how many; `ap50`: average precision of `got`'s boxes where `exact`'s are the
        truth, all classes in one list, NaN without truth; `same_top_class`: share of images whose surest box has the
        same class, or where neither has a box.
    """
    truth, found = detect(exact), detect(got)
    same = [top_class(t) == top_class(f) for t, f in zip(truth, found, strict=True)]
    return {
        "images": len(truth),
        "exact_boxes": sum(map(len, truth)),
        "boxes": sum(map(len, found)),
        "ap50": average_precision(truth, found),
        "same_top_class": float(np.mean(same)),
    }


def detect(heads: Sequence[F32], least: float = CONFIDENCE) -> list[Boxes]:
    """Return each image's boxes of at least this confidence after suppression, from the coarse and the fine head."""
    decoded = [decode(head, stride, least) for head, stride in zip(heads, ANCHORS, strict=True)]
    return [suppress(concatenated(parts)) for parts in zip(*decoded, strict=True)]


def decode(head: F32, stride: int, least: float = CONFIDENCE) -> list[Boxes]:
    """Return each image's boxes of at least this confidence, unordered; each box with its best class alone."""
    count, _, rows, columns = head.shape
    values = head.astype(np.float64).reshape(count, len(ANCHORS[stride]), -1, rows, columns).transpose(0, 3, 4, 1, 2)
    logits = values[..., 5:]
    confidence = _sigmoid(values[..., 4]) * _sigmoid(logits.max(axis=-1))
    cell = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1)[:, :, None]
    centre = (_sigmoid(values[..., :2]) + cell) * stride
    half = np.exp(values[..., 2:4]) * np.array(ANCHORS[stride]) / 2
    corners = np.concatenate([centre - half, centre + half], axis=-1)
    sure = confidence >= least
    label = logits.argmax(axis=-1)
    return [Boxes(corners[i][sure[i]], confidence[i][sure[i]], label[i][sure[i]]) for i in range(count)]


def concatenated(parts: Sequence[Boxes]) -> Boxes:
    """Return the boxes of all parts, the surest first."""
    together = Boxes(
        np.concatenate([part.corners for part in parts]),
        np.concatenate([part.confidence for part in parts]),
        np.concatenate([part.label for part in parts]),
    )
    return together.take(np.argsort(-together.confidence, kind="stable"))


def suppress(boxes: Boxes) -> Boxes:
    """Drop each box that overlaps a surer one of its class by more than `OVERLAP`."""
    kept: list[int] = []
    for row in range(len(boxes)):
        rivals = [k for k in kept if boxes.label[k] == boxes.label[row]]
        if not (iou(boxes.corners[row], boxes.corners[rivals]) > OVERLAP).any():
            kept.append(row)
    return boxes.take(np.array(kept, np.int64))


def iou(box: F64, others: F64) -> F64:
    """Return the area shared with each other box over the area of both together."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=1)
    both = np.prod(box[2:] - box[:2]) + np.prod(others[:, 2:] - others[:, :2], axis=1) - shared
    return np.divide(shared, both, out=np.zeros_like(both), where=both > 0)


def top_class(boxes: Boxes) -> int | None:
    """Return the class of the surest box; None if there is no box."""
    return int(boxes.label[0]) if len(boxes) else None


def average_precision(truth: Sequence[Boxes], found: Sequence[Boxes]) -> float:
    """Return the area under precision over recall, precision being the best at this recall or a greater one.

    The surest boxes choose first: each takes the true box of its image and class that it overlaps most, if by at least
    `SAME_BOX` and if no surer box has taken it. NaN if there is no true box.
    """
    total = sum(map(len, truth))
    if total == 0:
        return float("nan")
    hits = np.concatenate([hit(t, f) for t, f in zip(truth, found, strict=True)])
    order = np.argsort(-np.concatenate([f.confidence for f in found]), kind="stable")
    right = np.cumsum(hits[order])
    precision = right / np.arange(1, len(right) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float(best[hits[order]].sum() / total)


def hit(truth: Boxes, found: Boxes) -> AnyArray:
    """Return which boxes of one image take a true box, bool[boxes]."""
    free = np.ones(len(truth), bool)
    hits = np.zeros(len(found), bool)
    for row in range(len(found)):
        overlap = np.where(free & (truth.label == found.label[row]), iou(found.corners[row], truth.corners), 0.0)
        if len(overlap) and overlap.max() >= SAME_BOX:
            hits[row] = True
            free[overlap.argmax()] = False
    return hits


def _sigmoid(x: F64) -> F64:
    return 1 / (1 + np.exp(-x))
