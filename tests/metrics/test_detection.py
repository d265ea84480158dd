"""Boxes out of heads, suppressed, matched and scored: against slow twins and plain pycocotools."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantlab.comparison.metric_score import MetricScore
from quantlab.comparison.paired import PairedValues
from quantlab.errors import InputError, UsageError
from quantlab.metrics.detection.boxes import Found, TrueBoxes
from quantlab.metrics.detection.matches import matched
from quantlab.metrics.detection.mean_precision import BoxAgreement, MeanPrecision
from quantlab.metrics.detection.plain import Plain
from quantlab.metrics.detection.suppression import Suppression
from quantlab.metrics.detection.yolo_rows import YoloV5, YoloV8
from quantlab.metrics.detection.yolov3 import YoloV3
from quantlab.numerics.arrays import AnyArray, Tensors
from tests.comparison.laws import law
from tests.gpu.detection import decode

CLASSES = 5
COCO = pytest.importorskip("pycocotools.coco", reason="needs pycocotools: pip install 'quantlab[detection]'")


def iou(a: AnyArray, b: AnyArray) -> float:
    width, height = (max(0.0, min(a[i + 2], b[i + 2]) - max(a[i], b[i])) for i in (0, 1))
    areas = [float((c[2] - c[0]) * (c[3] - c[1])) for c in (a, b)]
    return width * height / (sum(areas) - width * height) if sum(areas) else 0.0


def slow_suppression(corners: AnyArray, scores: AnyArray, least: float, overlap: float) -> set[tuple[int, int]]:
    kept: set[tuple[int, int]] = set()
    for label in range(scores.shape[1]):
        own: list[int] = []
        for row in sorted(range(len(corners)), key=lambda r: -scores[r, label]):
            if scores[row, label] > least and all(iou(corners[row], corners[k]) <= overlap for k in own):
                own.append(row)
        kept |= {(row, label) for row in own}
    return kept


def some_boxes(random: np.random.Generator, count: int) -> AnyArray:
    low = random.integers(0, 40, (count, 2)).astype(np.float64)
    return np.hstack([low, low + random.integers(8, 30, (count, 2))])


def truth(random: np.random.Generator, most: int = 6) -> TrueBoxes:
    count = int(random.integers(0, most))
    return TrueBoxes(some_boxes(random, count), random.integers(0, CLASSES, count), random.random(count) < 0.2)


def guessed(true: TrueBoxes, random: np.random.Generator, limit: int) -> Found:
    near = np.repeat(true.corners, 3, axis=0) + random.normal(0, 3, (3 * len(true.classes), 4))
    corners = np.vstack([np.hstack([near[:, :2], np.maximum(near[:, 2:], near[:, :2] + 1)]), some_boxes(random, 3)])
    labels = np.append(np.repeat(true.classes, 3), random.integers(0, CLASSES, 3))
    rows = random.permutation(len(labels))[:limit]
    # Few distinct scores: equal ones are common.
    return Found(corners[rows], np.sort(random.integers(1, 20, len(rows)) / 20)[::-1], labels[rows])


def a_set(seed: int, images: int, limit: int = 100) -> tuple[list[TrueBoxes], list[Found]]:
    random = np.random.default_rng(seed)
    true = [truth(random) for _ in range(images)]
    return true, [guessed(each, random, limit) for each in true]


def plain_coco(true: Sequence[TrueBoxes], found: Sequence[Found], limit: int = 100) -> AnyArray:
    """COCO's own way from annotations and results to precision [10, 101, classes]."""
    from pycocotools.cocoeval import COCOeval

    def rows(boxes: Any, image: int) -> list[dict[str, Any]]:
        crowd = getattr(boxes, "crowd", np.zeros(len(boxes.classes), bool))
        scores = getattr(boxes, "scores", np.ones(len(boxes.classes)))
        sides = np.hstack([boxes.corners[:, :2], boxes.corners[:, 2:] - boxes.corners[:, :2]])
        return [
            {
                "image_id": image,
                "category_id": int(k),
                "bbox": list(b),
                "area": b[2] * b[3],
                "iscrowd": int(c),
                "score": s,
            }
            for b, k, c, s in zip(sides, boxes.classes, crowd, scores, strict=True)
        ]

    with redirect_stdout(StringIO()):
        listed = COCO.COCO()
        every = [row for image, boxes in enumerate(true) for row in rows(boxes, image)]
        for number, row in enumerate(every, 1):
            row["id"] = number
        listed.dataset = {
            "images": [{"id": i} for i in range(len(true))],
            "categories": [{"id": k} for k in range(CLASSES)],
            "annotations": every,
            "info": {},
        }
        listed.createIndex()
        results = listed.loadRes([row for image, boxes in enumerate(found) for row in rows(boxes, image)])
        run = COCOeval(listed, results, "bbox")
        run.params.maxDets = [1, 10, limit]
        run.evaluate()
        run.accumulate()
    return np.asarray(run.eval["precision"][:, :, :, 0, 2])


def mean(precision: AnyArray) -> float:
    known = precision[precision > -1]
    return float(known.mean()) if known.size else float("nan")


@settings(law, max_examples=25)
@given(st.integers(0, 10_000), st.floats(0, 1), st.floats(0, 0.9))
def test_suppression_keeps_what_the_greedy_rule_keeps(seed: int, overlap: float, least: float) -> None:
    random = np.random.default_rng(seed)
    corners = some_boxes(random, 12)
    scores = random.permutation(36).reshape(12, 3) / 36 + 0.01
    apart = [iou(a, b) for a in corners for b in corners]
    if min(abs(each - overlap) for each in apart) < 1e-5 or min(abs(scores.ravel() - least)) < 1e-5:
        return  # float32 decides
    found = Suppression(round(least, 4), round(overlap, 4)).apply(
        corners[None].astype(np.float32), scores[None].astype(np.float32), 99
    )[0]
    kept = slow_suppression(corners, scores, round(least, 4), round(overlap, 4))
    assert {(tuple(c), int(k)) for c, k in zip(found.corners, found.classes, strict=True)} == {
        (tuple(corners[row]), label) for row, label in kept
    }
    assert (np.diff(found.scores) <= 0).all()


def test_boxes_that_are_no_numbers_are_left_out() -> None:
    corners = np.array([[[0, 0, 9, 9], [np.nan, 0, 5, 5], [20, 20, 30, 30]]], np.float32)
    scores = np.array([[[0.9], [0.8], [np.nan]]], np.float32)
    (found,) = Suppression().apply(corners, scores, 10)
    assert found.corners.tolist() == [[0, 0, 9, 9]]
    assert len(Suppression().apply(corners[:, :0], scores[:, :0], 10)[0].scores) == 0


def test_yolov3_decodes_as_a_twin_written_apart() -> None:
    random = np.random.default_rng(0)
    shapes = {"fine": (2, 255, 6, 6), "coarse": (2, 255, 3, 3)}
    heads = {name: random.normal(0, 1.5, shape).astype(np.float32) for name, shape in shapes.items()}
    everything = YoloV3(suppression=Suppression(0.25, overlap=1.0))
    assert everything.classes(heads) == 80
    twins = [decode(heads[name], stride) for name, stride in (("coarse", 32), ("fine", 16))]
    for ours, *twin in zip(everything.boxes(heads, 10_000), *twins, strict=True):
        for boxes in twin:  # each box with its best class alone: ours may have others too
            assert len(boxes) > 3
            for corners, confidence, label in zip(boxes.corners, boxes.confidence, boxes.label, strict=True):
                near = np.isclose(ours.corners, corners, rtol=1e-5, atol=1e-3).all(axis=1) & (ours.classes == label)
                assert ours.scores[near] == pytest.approx([confidence], rel=1e-5)


def test_rows_and_columns_decode_to_the_boxes_they_hold() -> None:
    rows = np.array([[[10, 20, 4, 8, 0.5, 0.8, 0.2], [50, 60, 10, 10, 1.0, 0.0, 0.9]]], np.float32)
    columns = np.concatenate([rows[..., :4], rows[..., 4:5] * rows[..., 5:]], axis=-1).transpose(0, 2, 1)
    for decoder, output in ((YoloV5(), rows), (YoloV8(), columns)):
        assert decoder.classes({"y": output}) == 2
        (found,) = decoder.boxes({"y": np.ascontiguousarray(output)}, 3)
        assert found.corners.tolist() == [[45, 55, 55, 65], [8, 16, 12, 24], [8, 16, 12, 24]]
        assert found.scores == pytest.approx([0.9, 0.4, 0.1])
        assert found.classes.tolist() == [1, 0, 1]


def test_plain_boxes_are_taken_as_they_come() -> None:
    outputs: Tensors = {
        "boxes": np.array([[[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]], np.float32),
        "scores": np.array([[0.5, 0.9, 0.7]], np.float32),
        "classes": np.array([[1, 0, 2]], np.int32),
        "count": np.array([[2]], np.int32),
    }
    (found,) = Plain(3).boxes(outputs, 10)
    assert found.corners.tolist() == [[4, 5, 6, 7], [0, 1, 2, 3]]
    assert found.classes.tolist() == [0, 1]
    (turned,) = Plain(3, by_row=True).boxes(outputs, 1)
    assert turned.corners.tolist() == [[5, 4, 7, 6]]
    floats = {**outputs, "classes": outputs["classes"].astype(np.float32)}
    named = Plain(3, ("boxes", "scores", "classes", "count"))
    assert named.boxes(floats, 10)[0].classes.tolist() == [0, 1]
    with pytest.raises(InputError, match="name them"):
        Plain(3).boxes(floats, 10)
    with pytest.raises(InputError, match="say how many"):
        Plain(1).boxes(outputs, 10)


@settings(law, max_examples=15)
@given(st.integers(0, 10_000))
def test_the_score_is_plain_pycocotools_to_the_last_bit(seed: int) -> None:
    true, found = a_set(seed, 6)
    values = matched(found, true, CLASSES, 100)
    assert MeanPrecision(YoloV3()).score(values) == pytest.approx(mean(plain_coco(true, found)), abs=0, nan_ok=True)
    at_half = MeanPrecision(YoloV3(), at=0.5).score(values)
    assert at_half == pytest.approx(mean(plain_coco(true, found)[:1]), abs=0, nan_ok=True)


@settings(law, max_examples=10)
@given(st.integers(0, 10_000), st.integers(0, 6))
def test_images_matched_apart_and_joined_are_images_matched_together(seed: int, cut: int) -> None:
    true, found = a_set(seed, 6, limit=7)
    parts = [matched(found[p], true[p], CLASSES, 7) for p in (slice(cut), slice(cut, None)) if len(found[p])]
    assert np.array_equal(np.concatenate(parts), matched(found, true, CLASSES, 7))


@settings(law, max_examples=10)
@given(st.integers(0, 10_000))
def test_what_the_bootstrap_adds_up_is_what_pycocotools_says_of_the_images_drawn(seed: int) -> None:
    true, found = a_set(seed, 8)
    distinct = [  # of equal scores in one image, copies of it are ranked in another order
        Found(f.corners, f.scores - np.arange(len(f.scores)) * 1e-4 - image * 1e-6, f.classes)
        for image, f in enumerate(found)
    ]
    metric = MeanPrecision(YoloV3())
    values = matched(distinct, true, CLASSES, 100)
    weigh = metric.weighted(values)
    drawn = np.sort(np.random.default_rng(seed).integers(0, 8, 8))
    for rows in (np.arange(8), drawn):
        assert weigh(np.bincount(rows, minlength=8)) == pytest.approx(
            metric.score(values[rows]), rel=1e-12, nan_ok=True
        )


def test_the_interval_holds_the_drop_and_is_in_points() -> None:
    true, found = a_set(1, 30)
    random = np.random.default_rng(2)
    worse = [Found(f.corners + random.normal(0, 3, f.corners.shape), f.scores, f.classes) for f in found]
    pair = PairedValues(matched(found, true, CLASSES, 100), matched(worse, true, CLASSES, 100))
    score = MetricScore.of(MeanPrecision(YoloV3()), pair)
    assert score.unit == "points"
    assert 0 < score.drop == pytest.approx(100 * (score.fp32 - score.int8))
    assert score.interval.low < score.drop < score.interval.high


def heads(seed: int, images: int = 3) -> Tensors:
    """YOLOv8 columns of a few sure boxes, apart from each other."""
    random = np.random.default_rng(seed)
    boxes = np.zeros((images, 4 + CLASSES, 8), np.float32)
    boxes[:, 0], boxes[:, 1], boxes[:, 2:4] = 60 * np.arange(8), 50, 40
    boxes[:, 4:] = random.uniform(0, 0.05, (images, CLASSES, 8))
    boxes[np.arange(images), 4 + random.integers(0, CLASSES, images), random.integers(0, 8, images)] = 0.9
    return {"y": boxes}


def test_fp32_agrees_with_itself_and_less_with_others() -> None:
    metric = BoxAgreement(YoloV8())
    same = PairedValues.of(metric, heads(0), heads(0), None)
    assert metric.score(same.fp32) == metric.score(same.int8) == 1.0
    other = PairedValues.of(metric, heads(0), heads(1), None)
    assert metric.score(other.int8) < 1
    assert metric.weighted(other.int8)(np.ones(3, np.int64)) == pytest.approx(metric.score(other.int8))
    assert metric.name == "AP50 against FP32's boxes"
    assert not metric.needs_labels


def test_a_detector_is_scored_by_people_s_boxes() -> None:
    outputs = heads(0)
    boxes = YoloV8().boxes(outputs, 100)
    labels = np.empty(3, object)
    labels[:] = [each.as_truth(0.5) for each in boxes]
    metric = MeanPrecision(YoloV8())
    assert metric.score(metric.per_sample(outputs, labels)) == 1.0
    with pytest.raises(InputError, match="needs true boxes"):
        metric.per_sample(outputs, np.arange(3))
    with pytest.raises(InputError, match="boxes of 3 images, but labels of 2"):
        metric.per_sample(outputs, labels[:2])
    labels[0] = TrueBoxes(np.zeros((1, 4)), np.array([CLASSES]), np.zeros(1, bool))
    with pytest.raises(InputError, match="has the class 5, but the model has the classes 0 … 4"):
        metric.per_sample(outputs, labels)


def test_options_that_cannot_be_are_refused() -> None:
    with pytest.raises(UsageError, match=r"not 0\.52"):
        MeanPrecision(YoloV3(), at=0.52)
    with pytest.raises(UsageError, match="At least one box"):
        MeanPrecision(YoloV3(), limit=0)
    with pytest.raises(UsageError, match="overlap of boxes lies between 0 and 1"):
        Suppression(overlap=2)
    with pytest.raises(UsageError, match="not at 0"):
        BoxAgreement(YoloV3(), sure=0)
    with pytest.raises(UsageError, match="Plain boxes"):
        Plain(3, ("boxes",))
    with pytest.raises(InputError, match="two or three raw heads"):
        YoloV3().classes({"y": np.zeros((1, 255, 3, 3), np.float32)})
    with pytest.raises(InputError, match="True boxes are finite"):
        TrueBoxes(np.full((1, 4), np.nan), np.zeros(1, np.int64), np.zeros(1, bool))
