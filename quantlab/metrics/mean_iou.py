"""Mean IoU of a segmentation."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from quantlab.errors import InputError, UsageError
from quantlab.metrics.outputs import the_output
from quantlab.numerics.arrays import F64, I64, AnyArray, Tensors


@dataclass(frozen=True, slots=True)
class MeanIoU:
    """Mean over the classes of intersection over union, in pixels of the whole set.

    Everingham et al., «The Pascal Visual Object Classes challenge: a retrospective», IJCV 111, 2015, section 2.3. The
    pixels of all samples are added up before dividing. Classes that are nowhere, neither in labels nor choices, do not
    count. Of equal scores the first class is chosen; a pixel with NaN among its scores chooses none.

    Attributes
    ----------
    classes
        How many; needed where the output holds chosen classes [samples, height, width]. None takes them from scores
        [samples, classes, height, width].
    ignore
        Label of pixels that nobody judged, left out; None for none.
    output
        The output to read; None takes the only one that can be.
    """

    classes: int | None = None
    ignore: int | None = 255
    output: str | None = None
    in_points: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.classes is not None and self.classes < 1:
            raise UsageError(f"A segmentation has at least one class, not {self.classes}.")

    @property
    def name(self) -> str:
        """«mIoU»."""
        return "mIoU"

    @property
    def higher_is_better(self) -> bool:
        """True."""
        return True

    def per_sample(self, outputs: Tensors, labels: AnyArray | None) -> F64:
        """Return each sample's pixels in the intersection and the union of each class, float64[samples, classes, 2].

        Parameters
        ----------
        outputs
            Scores [n, classes, height, width], or chosen classes [n, height, width] of integers.
        labels
            Integers [n, height, width], of the output's own size.

        Raises
        ------
        InputError
            When labels are missing, of another shape or no classes, or no output can be told to be a segmentation.
        """
        if labels is None:
            raise InputError(f"{self.name} needs labels, a mask a sample.")
        found = the_output(outputs, self.output, self._fits, "segmentation [samples, classes, height, width]")
        classes = found.shape[1] if found.ndim == 4 else self.classes or 0
        choice = _choice(found, classes)
        masks = _masks(np.asarray(labels), choice, classes, self.ignore)
        return np.stack([_areas(c, m, classes) for c, m in zip(choice, masks, strict=True)]).astype(np.float64)

    def score(self, values: AnyArray) -> float:
        """Return the mean IoU, 0 … 1; NaN where no pixel is judged."""
        shared, union = values.sum(axis=0).T
        known = union > 0
        return float(np.mean(shared[known] / union[known])) if known.any() else float("nan")

    def _fits(self, values: AnyArray) -> bool:
        scores = values.ndim == 4 and self.classes in (None, values.shape[1]) and values.dtype.kind in "fiu"
        return scores or (values.ndim == 3 and self.classes is not None and values.dtype.kind in "iu")


def _choice(found: AnyArray, classes: int) -> I64:
    """Return the class of each pixel, −1 for none, [n, height, width]."""
    if found.ndim == 3:
        return np.where((found >= 0) & (found < classes), found, -1).astype(np.int64)
    if found.dtype.kind == "f":
        return np.where(np.isnan(found).any(axis=1), -1, found.argmax(axis=1)).astype(np.int64)
    return found.argmax(axis=1).astype(np.int64)


def _masks(labels: AnyArray, choice: I64, classes: int, ignore: int | None) -> I64:
    """Return the labels with −1 where nobody judged."""
    if labels.shape != choice.shape or labels.dtype.kind not in "iu":
        raise InputError(
            f"Masks are integers {list(choice.shape)} here, of the output's own size, not {labels.dtype}{list(labels.shape)}."
        )
    known = np.ones(labels.shape, bool) if ignore is None else labels != ignore
    outside = known & ((labels < 0) | (labels >= classes))
    if outside.any():
        raise InputError(f"A mask has the class {labels[outside][0]}, but the model has the classes 0 … {classes - 1}.")
    return np.where(known, labels, -1).astype(np.int64)


def _areas(choice: I64, mask: I64, classes: int) -> I64:
    judged = mask >= 0
    label, chosen = mask[judged], choice[judged]
    shared = np.bincount(label[label == chosen], minlength=classes)
    either = np.bincount(label, minlength=classes) + np.bincount(chosen[chosen >= 0], minlength=classes) - shared
    return np.stack([shared, either], axis=1)
