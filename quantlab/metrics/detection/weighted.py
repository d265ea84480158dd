"""Average precision of images that count several times: what a bootstrap draws, thousands of times over."""

from collections.abc import Callable

import numpy as np
from numba import njit

from quantlab.metrics.detection.packed import PackedMatches, unpacked
from quantlab.numerics.arrays import F64, I64, AnyArray

_TINY = float(np.spacing(1))  # what COCOeval adds to a denominator


def weighted_precision(values: F64, *, recalls: F64, chosen: I64) -> Callable[[I64], float]:
    """Return a function from each image's weight, int64[images], to its mean average precision, NaN without objects.

    With weights of 1 it is what COCOeval's `accumulate` says, to the last bits of the mean; an image of weight w counts
    as w copies of it. Of equal scores copies of a box stay together, which among w copies of an image may differ from
    COCO's order.

    Parameters
    ----------
    values
        Packed matches, [images, …].
    recalls
        At which precision is read.
    chosen
        Places of the IoU thresholds to average over.
    """
    rows = [PackedMatches(row) for row in values]
    boxes = np.concatenate([row.boxes for row in rows])
    image = np.repeat(np.arange(len(rows)), [len(row.boxes) for row in rows])
    objects = np.stack([row.objects for row in rows])
    order = np.lexsort((-boxes[:, 0], boxes[:, 1]))
    bits = boxes[order, 2].astype(np.int64)
    ignored = unpacked(bits >> 10)[chosen].T
    hit = unpacked(bits)[chosen].T & ~ignored
    starts = np.searchsorted(boxes[order, 1], np.arange(objects.shape[1] + 1))
    owner = image[order]

    def score(weights: I64) -> float:
        total, terms = _sum(np.asarray(weights, np.int64), owner, hit, ignored, starts, objects, recalls)
        return float(total / terms) if terms else float("nan")

    return score


@njit(nogil=True, cache=True)
def _sum(
    weights: I64, owner: I64, hit: AnyArray, ignored: AnyArray, starts: I64, objects: I64, recalls: F64
) -> tuple[float, int]:
    """Return the sum of precision over classes with objects, thresholds and recalls, and how many terms it has."""
    total, terms = 0.0, 0
    for label in range(len(starts) - 1):
        there = 0
        for i in range(len(weights)):
            there += weights[i] * objects[i, label]
        if there == 0:
            continue
        terms += hit.shape[1] * len(recalls)
        rows = slice(starts[label], starts[label + 1])
        for t in range(hit.shape[1]):
            total += _area(weights[owner[rows]], hit[rows, t], ignored[rows, t], there, recalls)
    return total, terms


@njit(nogil=True, cache=True)
def _area(weights: I64, hit: AnyArray, ignored: AnyArray, there: int, recalls: F64) -> float:
    """Return the sum over the recalls of the best precision at this recall or a greater one; boxes are the surest first."""
    recall, precision = np.empty(len(weights)), np.empty(len(weights))
    right, wrong, count = 0, 0, 0
    for row in range(len(weights)):
        if hit[row] and weights[row] > 0:  # precision only rises at a hit, so its best is found at hits alone
            right += weights[row]
            recall[count], precision[count] = right / there, right / (wrong + right + _TINY)
            count += 1
        elif not ignored[row]:
            wrong += weights[row]
    for k in range(count - 1, 0, -1):
        precision[k - 1] = max(precision[k - 1], precision[k])
    total = 0.0
    for place in np.searchsorted(recall[:count], recalls):
        if place < count:
            total += precision[place]
    return total
