"""Boxes a row or a column, as YOLOv5 and YOLOv8 put them out."""

from dataclasses import dataclass, field

import numpy as np

from quantlab.metrics.detection.boxes import Found
from quantlab.metrics.detection.suppression import Suppression
from quantlab.metrics.outputs import the_output
from quantlab.numerics.arrays import F32, AnyArray, Tensors


@dataclass(frozen=True, slots=True)
class YoloV5:
    """Rows [n, boxes, 5 + classes]: centre x and y, width and height in pixels, objectness, then the classes, all 0 … 1.

    The export of Ultralytics' YOLOv5, and of YOLOv7 and YOLOX with their grids decoded; a box's confidence in a class is
    objectness times the class's.

    Attributes
    ----------
    output
        The rows; None takes the only output of three dimensions.
    suppression
        Of overlapping boxes.
    """

    output: str | None = None
    suppression: Suppression = field(default_factory=Suppression)

    def classes(self, outputs: Tensors) -> int:
        """Return how many classes a row has."""
        return int(self._rows(outputs).shape[2]) - 5

    def boxes(self, outputs: Tensors, limit: int) -> list[Found]:
        """Return the boxes of each image after suppression, at most `limit` of the surest."""
        rows = self._rows(outputs).astype(np.float32)
        return self.suppression.apply(corners_of(rows[..., :4]), rows[..., 4:5] * rows[..., 5:], limit)

    def _rows(self, outputs: Tensors) -> AnyArray:
        return the_output(outputs, self.output, lambda v: _wide(v, v.shape[-1], 5), "boxes [n, boxes, 5 + classes]")


@dataclass(frozen=True, slots=True)
class YoloV8:
    """Columns [n, 4 + classes, boxes]: centre x and y, width and height in pixels, then the classes, 0 … 1.

    The export of Ultralytics' YOLOv8 to YOLO11.

    Attributes
    ----------
    output
        The columns; None takes the only output of three dimensions.
    suppression
        Of overlapping boxes.
    """

    output: str | None = None
    suppression: Suppression = field(default_factory=Suppression)

    def classes(self, outputs: Tensors) -> int:
        """Return how many classes a column has."""
        return int(self._columns(outputs).shape[1]) - 4

    def boxes(self, outputs: Tensors, limit: int) -> list[Found]:
        """Return the boxes of each image after suppression, at most `limit` of the surest."""
        rows = self._columns(outputs).astype(np.float32).transpose(0, 2, 1)
        return self.suppression.apply(corners_of(rows[..., :4]), np.ascontiguousarray(rows[..., 4:]), limit)

    def _columns(self, outputs: Tensors) -> AnyArray:
        return the_output(outputs, self.output, lambda v: _wide(v, v.shape[1], 4), "boxes [n, 4 + classes, boxes]")


def corners_of(boxes: AnyArray) -> F32:
    """Return left, top, right, bottom of boxes given by centre x and y, width and height, [..., 4]."""
    half = boxes[..., 2:] / 2
    return np.concatenate([boxes[..., :2] - half, boxes[..., :2] + half], axis=-1).astype(np.float32)


def _wide(values: AnyArray, fields: int, boxed: int) -> bool:
    return values.ndim == 3 and fields > boxed and values.dtype.kind == "f"
