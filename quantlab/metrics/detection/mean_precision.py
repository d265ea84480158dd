"""Mean average precision of a detector (COCO), against people's boxes or FP32's own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from quantlab.errors import InputError, UsageError
from quantlab.metrics.detection.boxes import Decoder, TrueBoxes
from quantlab.metrics.detection.matches import classes_within, matched, precisions, thresholds
from quantlab.metrics.detection.weighted import weighted_precision
from quantlab.numerics.arrays import F64, I64, AnyArray, Tensors

AGAINST_FP32 = " against FP32's boxes"


@dataclass(frozen=True, slots=True)
class MeanPrecision:
    """Mean average precision as COCO has it: over classes with objects, 101 recalls and IoU 0.50 … 0.95 by 0.05.

    Lin et al., «Microsoft COCO: common objects in context», ECCV 2014, and pycocotools, which matches the boxes and
    gives the score: boxes of all areas, at most `limit` an image. Images are packed one a row (`PackedMatches`), so that
    merging is joining rows. Only a bootstrap's draws are added up here (`weighted_precision`), to the same number.

    Attributes
    ----------
    decoder
        Turns outputs into boxes.
    at
        The only IoU threshold to average over, 0.50, 0.55 … 0.95; None for all ten.
    limit
        Boxes an image.
    """

    decoder: Decoder
    at: float | None = None
    limit: int = 100
    in_points: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.limit < 1:
            raise UsageError(f"At least one box an image is judged, not {self.limit}.")
        if self.at is not None and not any(abs(self.at - (0.5 + 0.05 * t)) < 1e-9 for t in range(10)):
            raise UsageError(f"COCO's IoU thresholds are 0.50, 0.55 … 0.95, not {self.at}.")

    @property
    def name(self) -> str:
        """«mAP» over all thresholds; «AP50» at one."""
        return "mAP" if self.at is None else f"AP{round(100 * self.at)}"

    @property
    def higher_is_better(self) -> bool:
        """True."""
        return True

    def per_sample(self, outputs: Tensors, labels: AnyArray | None) -> F64:
        """Return the packed matches of each image, float64[images, 1 + 3 · limit + classes].

        Parameters
        ----------
        labels
            `TrueBoxes` of each image, object[images].

        Raises
        ------
        InputError
            When labels are missing or no boxes, or the decoder does not fit the outputs.
        MachineError
            When pycocotools is not installed.
        """
        return self.matched(outputs, _truth(labels, self.name))

    def matched(self, outputs: Tensors, truth: Sequence[TrueBoxes]) -> F64:
        """Return the packed matches with these true boxes; see `per_sample`."""
        classes, found = self.decoder.classes(outputs), self.decoder.boxes(outputs, self.limit)
        if len(found) != len(truth):
            raise InputError(f"There are boxes of {len(found)} images, but labels of {len(truth)}.")
        unknown = classes_within(truth, classes)
        if unknown.size:
            raise InputError(f"A label has the class {unknown[-1]}, but the model has the classes 0 … {classes - 1}.")
        return matched(found, truth, classes, self.limit)

    def score(self, values: AnyArray) -> float:
        """Return the mean average precision, 0 … 1, by pycocotools; NaN where there is no object."""
        found = precisions(values)[self._chosen()]
        known = found[found > -1]
        return float(np.mean(known)) if known.size else float("nan")

    def weighted(self, values: AnyArray) -> Callable[[I64], float]:
        """Return a function from how often each image counts, int64[images], to the score."""
        recalls = thresholds()[1]
        return weighted_precision(values, recalls=recalls, chosen=self._chosen())

    def _chosen(self) -> I64:
        every = thresholds()[0]
        return np.arange(len(every)) if self.at is None else np.flatnonzero(np.isclose(every, self.at))


@dataclass(frozen=True, slots=True)
class BoxAgreement:
    """Mean average precision of INT8's boxes where those that FP32 is sure of are the truth; no labels are needed.

    INT8's boxes are ranked down to the decoder's least confidence: with one bar for both, a box that FP32 is 0.26 sure of
    and INT8 0.24 would count as missed. FP32's own score is 1 where no two of its sure boxes overlap as much as a match.

    Attributes
    ----------
    decoder, at, limit
        As for `MeanPrecision`.
    sure
        Confidence from which on a box of FP32 is true.
    """

    decoder: Decoder
    at: float | None = 0.5
    limit: int = 100
    sure: float = 0.25
    in_points: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self._measured()
        if not 0 < self.sure <= 1:
            raise UsageError(
                f"The confidence from which on a box is true lies above 0 and up to 1, not at {self.sure}."
            )

    @property
    def name(self) -> str:
        """«AP50 against FP32's boxes»."""
        return f"{self._measured().name}{AGAINST_FP32}"

    @property
    def higher_is_better(self) -> bool:
        """True."""
        return True

    @property
    def needs_labels(self) -> bool:
        """False."""
        return False

    def per_sample(self, outputs: Tensors, labels: Any) -> F64:
        """Return the values of one engine against itself."""
        return self.per_pair(outputs, outputs, labels)

    def per_pair(self, fp32: Tensors, int8: Tensors, _labels: Any) -> F64:
        """Return the packed matches of each image, float64[images, 1 + 3 · limit + classes]; errors as of `MeanPrecision`."""
        truth = [found.as_truth(self.sure) for found in self.decoder.boxes(fp32, self.limit)]
        return self._measured().matched(int8, truth)

    def score(self, values: AnyArray) -> float:
        """Return the mean average precision, 0 … 1; NaN where FP32 is sure of no box."""
        return self._measured().score(values)

    def weighted(self, values: AnyArray) -> Callable[[I64], float]:
        """Return a function from how often each image counts, int64[images], to the score."""
        return self._measured().weighted(values)

    def _measured(self) -> MeanPrecision:
        return MeanPrecision(self.decoder, self.at, self.limit)


def _truth(labels: AnyArray | None, name: str) -> list[TrueBoxes]:
    boxes = [] if labels is None else list(labels)
    if labels is None or not all(isinstance(each, TrueBoxes) for each in boxes):
        raise InputError(f"{name} needs true boxes as labels: COCO's annotations, or TrueBoxes of each image.")
    return boxes
