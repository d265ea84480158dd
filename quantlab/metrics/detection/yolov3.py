"""YOLOv3's raw heads."""

from dataclasses import dataclass, field

import numpy as np

from quantlab.errors import InputError
from quantlab.metrics.detection.boxes import Found
from quantlab.metrics.detection.suppression import Suppression
from quantlab.metrics.outputs import listed
from quantlab.numerics.arrays import F32, AnyArray, Tensors

_TINY = (((81, 82), (135, 169), (344, 319)), ((10, 14), (23, 27), (37, 58)))
_FULL = (
    ((116, 90), (156, 198), (373, 326)),
    ((30, 61), (62, 45), (59, 119)),
    ((10, 13), (16, 30), (33, 23)),
)
_COARSEST = 32
_FIELDS = 5


@dataclass(frozen=True, slots=True)
class YoloV3:
    """Heads [n, anchors·(5 + classes), rows, columns], coarse to fine, of YOLOv3 (three) and YOLOv3-tiny (two).

    Redmon and Farhadi, «YOLOv3: an incremental improvement», 2018, section 2.1: a box has its centre at
    (sigmoid(x) + column) · stride, its size is anchor · exp(w), its confidence in a class is sigmoid(objectness) ·
    sigmoid(class). The coarsest head has stride 32, each further one half of that.

    Attributes
    ----------
    anchors
        Of each head, coarse to fine: (width, height) in pixels. None takes Darknet's for two or three heads.
    suppression
        Of overlapping boxes.
    """

    anchors: tuple[tuple[tuple[int, int], ...], ...] | None = None
    suppression: Suppression = field(default_factory=Suppression)

    def classes(self, outputs: Tensors) -> int:
        """Return how many classes the heads have."""
        heads, anchors = self._heads(outputs)
        return int(heads[0].shape[1]) // len(anchors[0]) - _FIELDS

    def boxes(self, outputs: Tensors, limit: int) -> list[Found]:
        """Return the boxes of each image after suppression, at most `limit` of the surest."""
        heads, anchors = self._heads(outputs)
        parts = [_decoded(h, a, _COARSEST >> place) for place, (h, a) in enumerate(zip(heads, anchors, strict=True))]
        corners, scores = (np.concatenate(side, axis=1) for side in zip(*parts, strict=True))
        return self.suppression.apply(corners, scores, limit)

    def _heads(self, outputs: Tensors) -> tuple[list[AnyArray], tuple[tuple[tuple[int, int], ...], ...]]:
        heads = sorted((v for v in outputs.values() if v.ndim == 4), key=lambda head: head.shape[2] * head.shape[3])
        anchors = self.anchors or {2: _TINY, 3: _FULL}.get(len(heads))
        if (
            anchors is None
            or len(anchors) != len(heads)
            or not all(_fits(h, a) for h, a in zip(heads, anchors, strict=True))
        ):
            raise InputError(
                "yolov3 takes two or three raw heads [n, 3·(5 + classes), rows, columns], each of twice the rows of the one "
                f"before, not {listed(outputs)}."
            )
        return heads, anchors


def _fits(head: AnyArray, anchors: tuple[tuple[int, int], ...]) -> bool:
    return head.shape[1] % len(anchors) == 0 and head.shape[1] // len(anchors) > _FIELDS and head.dtype.kind == "f"


def _decoded(head: AnyArray, anchors: tuple[tuple[int, int], ...], stride: int) -> tuple[F32, F32]:
    """Return corners [n, boxes, 4] and confidences [n, boxes, classes]."""
    count, channels, rows, columns = head.shape
    shape = (count, len(anchors), channels // len(anchors), rows, columns)
    values = head.astype(np.float64).reshape(shape).transpose(0, 1, 3, 4, 2)
    cell = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1)
    centre = (_sigmoid(values[..., :2]) + cell) * stride
    with np.errstate(over="ignore"):
        half = np.exp(values[..., 2:4]) * np.array(anchors, np.float64)[:, None, None] / 2
    corners = np.concatenate([centre - half, centre + half], axis=-1).reshape(count, -1, 4)
    scores = _sigmoid(values[..., 4:5]) * _sigmoid(values[..., 5:])
    with np.errstate(over="ignore"):
        return corners.astype(np.float32), scores.reshape(count, corners.shape[1], -1).astype(np.float32)


def _sigmoid(x: AnyArray) -> AnyArray:
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-x)))
