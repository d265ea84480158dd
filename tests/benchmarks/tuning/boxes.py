"""What an INT8 detector keeps of its FP32 twin's boxes: metrics of a YOLO's raw heads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quantlab.numerics.arrays import F64, AnyArray, Tensors
from tests.benchmarks.tuning.metrics import output_of
from tests.gpu.detection import CONFIDENCE, Boxes, detect, hit, top_class

LEAST = 0.05
"""Confidence down to which an INT8 detector's boxes are ranked."""


@dataclass(frozen=True, slots=True)
class BoxPrecision:
    """AP50 of the INT8 detector's boxes, FP32's being the truth; from a YOLO's raw heads (coarse, fine).

    The truth is what FP32 is at least 0.25 sure of. As average precision goes, the INT8 detector's boxes are ranked down
    to a low confidence: with one bar for both, a box that FP32 is 0.26 sure of and INT8 0.24 would count as missed.
    """

    heads: tuple[str, str] = ("coarse", "fine")
    name: str = "AP50 against FP32's boxes"
    higher_is_better: bool = True

    def score(self, fp32: Tensors, int8: Tensors) -> float:
        """Return the area under precision over recall, 0 … 1; NaN where FP32 finds nothing."""
        return self.pooled(self.images(fp32, int8))

    def images(self, fp32: Tensors, int8: Tensors) -> AnyArray:
        """Return what each image adds, object[images] of `Found`: a bootstrap draws them anew."""
        truth, found = boxes_of(fp32, self.heads), boxes_of(int8, self.heads, LEAST)
        rows = np.empty(len(truth), object)
        rows[:] = [Found(hit(t, f), f.confidence, len(t)) for t, f in zip(truth, found, strict=True)]
        return rows

    def pooled(self, images: AnyArray) -> float:
        """Return the score of these images together."""
        total = sum(image.truths for image in images)
        if total == 0:
            return float("nan")
        hits = np.concatenate([image.hits for image in images])
        order = np.argsort(-np.concatenate([image.confidence for image in images]), kind="stable")
        ranked = hits[order]
        precision = np.cumsum(ranked) / np.arange(1, len(ranked) + 1)
        # Precision at a recall is the best at this recall or a greater one, as `average_precision` has it.
        return float(np.maximum.accumulate(precision[::-1])[::-1][ranked].sum() / total)


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What a detector found in one image.

    Attributes
    ----------
    hits
        Whether each box takes a true one, bool[boxes], the surest first.
    confidence
        Of each box, float64[boxes].
    truths
        How many true boxes there are.
    """

    hits: AnyArray
    confidence: F64
    truths: int


@dataclass(frozen=True, slots=True)
class SameTopClass:
    """Whether the surest box has the same class, or neither network has one."""

    heads: tuple[str, str] = ("coarse", "fine")
    name: str = "same surest class as FP32"
    higher_is_better: bool = True

    def per_sample(self, fp32: Tensors, int8: Tensors) -> AnyArray:
        """Return bool[samples]."""
        pairs = zip(boxes_of(fp32, self.heads), boxes_of(int8, self.heads), strict=True)
        return np.array([top_class(a) == top_class(b) for a, b in pairs], bool)


def boxes_of(outputs: Tensors, heads: tuple[str, str], least: float = CONFIDENCE) -> list[Boxes]:
    """Return each image's boxes of at least this confidence after suppression.

    Raises
    ------
    InputError
        When an output is missing.
    """
    return detect([output_of(name, outputs) for name in heads], least)
