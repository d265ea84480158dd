"""Which found boxes take a true one, image by image, and their average precision: pycocotools' own evaluation.

Relied upon: `COCOeval.evaluate` fills `evalImgs` category by category, images in the order of `params.imgIds`, None where
there is neither a box nor an object; `COCOeval.accumulate` reads nothing but `evalImgs`, `params` and `_paramsEval`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from typing import Any

import numpy as np

from quantlab.errors import MachineError
from quantlab.metrics.detection.boxes import Found, TrueBoxes
from quantlab.metrics.detection.packed import PackedMatches
from quantlab.numerics.arrays import F64, I64


def matched(found: Sequence[Found], truth: Sequence[TrueBoxes], classes: int, limit: int) -> F64:
    """Return each image's matches, packed, float64[images, …] (`PackedMatches`).

    Boxes are matched as COCO's evaluation does it: all areas, at most `limit` boxes an image.

    Raises
    ------
    MachineError
        When pycocotools is not installed.
    """
    with _evaluation() as evaluation:
        run = evaluation(_coco(truth, classes), _coco(found, classes), "bbox")
        _restrict(run.params, range(len(found)), range(classes), limit)
        run.evaluate()
    rows: list[list[Any]] = [[] for _ in found]
    for each in filter(None, run.evalImgs):
        rows[each["image_id"]].append(each)
    return np.stack([PackedMatches.of(each, classes, limit).row for each in rows])


def precisions(values: F64) -> F64:
    """Return COCO's precision at each IoU threshold, recall and class, [10, 101, classes]; −1 for a class without objects."""
    packed = [PackedMatches(row) for row in values]
    images, classes = [row.by_class() for row in packed], len(packed[0].objects)
    with _evaluation() as evaluation:
        run = evaluation(iouType="bbox")
        _restrict(run.params, range(len(values)), range(classes), packed[0].limit)
        run._paramsEval = run.params
        run.evalImgs = [image.get(label) for label in range(classes) for image in images]
        run.accumulate()
    return np.asarray(run.eval["precision"][:, :, :, 0, 0], np.float64)


def thresholds() -> tuple[F64, F64]:
    """Return the IoU thresholds [10] and the recalls [101]."""
    with _evaluation() as evaluation:
        params = evaluation(iouType="bbox").params
    return np.asarray(params.iouThrs, np.float64), np.asarray(params.recThrs, np.float64)


@contextmanager
def _evaluation() -> Iterator[Any]:
    """Yield the class COCOeval; what it prints is dropped."""
    try:
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise MachineError(
            "mAP is measured by pycocotools, which is not installed: pip install 'quantlab[detection]'."
        ) from error
    with redirect_stdout(StringIO()):
        yield COCOeval


def _restrict(params: Any, images: range, classes: range, limit: int) -> None:
    params.imgIds, params.catIds, params.maxDets = list(images), list(classes), [limit]
    params.areaRng, params.areaRngLbl = [[0, 1e10]], ["all"]


def _coco(images: Sequence[Found | TrueBoxes], classes: int) -> Any:
    from pycocotools.coco import COCO

    listed = COCO()
    annotations = [each for index, boxes in enumerate(images) for each in _annotations(boxes, index)]
    for number, each in enumerate(annotations, 1):  # 0 would stand for «no match»
        each["id"] = number
    listed.dataset = {
        "images": [{"id": index} for index in range(len(images))],
        "categories": [{"id": label} for label in range(classes)],
        "annotations": annotations,
    }
    listed.createIndex()
    return listed


def _annotations(boxes: Found | TrueBoxes, image: int) -> Iterator[dict[str, Any]]:
    corners = boxes.corners
    sizes = corners[:, 2:] - corners[:, :2]
    for row, label in enumerate(boxes.classes):
        yield {
            "image_id": image,
            "category_id": int(label),
            "bbox": [*corners[row, :2].tolist(), *sizes[row].tolist()],
            "area": float(sizes[row].prod()),
            "iscrowd": int(boxes.crowd[row]) if isinstance(boxes, TrueBoxes) else 0,
            "score": float(boxes.scores[row]) if isinstance(boxes, Found) else 1.0,
        }


def classes_within(truth: Sequence[TrueBoxes], classes: int) -> I64:
    """Return the classes of the true boxes that the network does not have, ascending."""
    every = np.concatenate([boxes.classes for boxes in truth]) if truth else np.zeros(0, np.int64)
    return np.unique(every[(every < 0) | (every >= classes)])
