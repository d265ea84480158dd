"""Box suppression (NMS): of boxes of one class that overlap, the surest stays."""

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from quantlab.errors import UsageError
from quantlab.metrics.detection.boxes import Found
from quantlab.numerics.arrays import F32, AnyArray

if TYPE_CHECKING:
    from quantlab.engines.onnx_runtime import OrtEngine


@dataclass(frozen=True, slots=True)
class Suppression:
    """How boxes are suppressed, class by class, by ONNX's operator NonMaxSuppression in ONNX Runtime.

    Attributes
    ----------
    least
        Confidence that a box has to exceed. Average precision ranks boxes down to a low one: 0.001, as Ultralytics' and
        Darknet's own evaluations have it.
    overlap
        IoU above which the less sure of two boxes goes.
    """

    least: float = 0.001
    overlap: float = 0.45

    def __post_init__(self) -> None:
        for name, value in (("least confidence", self.least), ("overlap", self.overlap)):
            if not 0 <= value <= 1:
                raise UsageError(f"The {name} of boxes lies between 0 and 1, not at {value}.")

    def apply(self, corners: F32, scores: F32, limit: int) -> list[Found]:
        """Return each image's boxes that stay, at most `limit`, the surest first; of equals the lower class, then the earlier box.

        Parameters
        ----------
        corners
            Left, top, right, bottom: float32[images, boxes, 4]. A box that is not finite is no box.
        scores
            Confidence in each class, float32[images, boxes, classes], 0 … 1; NaN is none.
        limit
            Boxes an image, and a class.
        """
        known = np.asarray(np.isfinite(corners).all(axis=2))
        placed = np.where(known[:, :, np.newaxis], corners, 0).astype(np.float32)
        sure = np.where(known[:, :, np.newaxis] & (scores > self.least), scores, 0).astype(np.float32)
        found = []
        for box, score in zip(placed, sure, strict=True):
            kept = _operator(self.least, self.overlap, limit).run({"boxes": box[None], "scores": score.T[None].copy()})
            _, classes, rows = np.asarray(kept["kept"]).T
            found.append(_surest(box[rows], score[rows, classes], classes, limit))
        return found


def surest(found: Found, limit: int) -> Found:
    """Return the boxes, the surest first, at most so many; equal ones keep their order."""
    return found.take(np.argsort(-found.scores, kind="stable")[:limit])


def _surest(corners: AnyArray, scores: AnyArray, classes: AnyArray, limit: int) -> Found:
    return surest(Found(corners.astype(np.float64), scores.astype(np.float64), classes.astype(np.int64)), limit)


@lru_cache(maxsize=8)
def _operator(least: float, overlap: float, limit: int) -> "OrtEngine":
    """Return an engine that runs the operator alone."""
    from onnx import TensorProto, helper

    from quantlab import engines

    constants = [
        helper.make_tensor("limit", TensorProto.INT64, [], [limit]),
        helper.make_tensor("overlap", TensorProto.FLOAT, [], [overlap]),
        helper.make_tensor("least", TensorProto.FLOAT, [], [least]),
    ]
    node = helper.make_node("NonMaxSuppression", ["boxes", "scores", "limit", "overlap", "least"], ["kept"])
    graph = helper.make_graph(
        [node],
        "suppression",
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, "boxes", 4]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, "classes", "boxes"]),
        ],
        [helper.make_tensor_value_info("kept", TensorProto.INT64, ["kept", 3])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return engines.ort(model, threads=1)
