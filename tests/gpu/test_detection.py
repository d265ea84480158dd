"""The detector's measure, on boxes made by hand: nothing here needs a GPU."""

from __future__ import annotations

import math

import numpy as np
import pytest

from quantlab.numerics.arrays import F32, AnyArray
from tests.gpu.detection import (
    Boxes,
    average_precision,
    box_agreement,
    decode,
    detect,
    iou,
    on_canvas,
    suppress,
    top_class,
)


def heads(images: int = 1) -> tuple[F32, F32]:
    """Raw heads in which nothing is found."""
    return np.full((images, 255, 13, 13), -9, np.float32), np.full((images, 255, 26, 26), -9, np.float32)


def put(head: F32, label: int, row: int, column: int, *, anchor: int = 0, sure: float = 8.0, image: int = 0) -> None:
    """Write a box of its anchor's size in the middle of a cell."""
    cell = head.reshape(len(head), 3, 85, *head.shape[2:])[image, anchor, :, row, column]
    cell[:4] = 0
    cell[4] = cell[5 + label] = sure


def boxes(*rows: tuple[float, float, float, float, float, int]) -> Boxes:
    values = np.array(rows, float).reshape(-1, 6)
    return Boxes(values[:, :4], values[:, 4], values[:, 5].astype(np.int64))


def test_a_box_lies_where_its_cell_and_anchor_say() -> None:
    coarse, fine = heads()
    put(coarse, 7, row=2, column=5, anchor=1)
    put(fine, 3, row=20, column=1, anchor=2, sure=4.0)
    (found,) = detect((coarse, fine))
    assert found.label.tolist() == [7, 3]
    assert found.corners[0] == pytest.approx([5.5 * 32 - 67.5, 2.5 * 32 - 84.5, 5.5 * 32 + 67.5, 2.5 * 32 + 84.5])
    assert found.corners[1] == pytest.approx([1.5 * 16 - 18.5, 20.5 * 16 - 29, 1.5 * 16 + 18.5, 20.5 * 16 + 29])
    assert found.confidence[1] == pytest.approx((1 / (1 + math.exp(-4))) ** 2)


def test_unsure_boxes_are_left_out() -> None:
    coarse, _ = heads()
    put(coarse, 0, 0, 0, sure=-0.1)
    assert len(decode(coarse, 32)[0]) == 0
    put(coarse, 0, 0, 0, sure=0.1)
    assert len(decode(coarse, 32)[0]) == 1


def test_suppression_keeps_the_surest_of_a_class_and_spares_other_classes() -> None:
    kept = suppress(boxes((0, 0, 10, 10, 0.9, 1), (0, 0, 10, 9, 0.8, 1), (0, 0, 10, 9, 0.7, 2), (0, 0, 10, 4, 0.6, 1)))
    assert kept.confidence.tolist() == [0.9, 0.7, 0.6]


def test_iou_of_equal_disjoint_and_empty_boxes() -> None:
    others = boxes((0, 0, 2, 2, 1, 0), (2, 2, 3, 3, 1, 0), (1, 0, 3, 2, 1, 0), (1, 1, 1, 1, 1, 0)).corners
    assert iou(others[0], others) == pytest.approx([1, 0, 1 / 3, 0])
    assert iou(others[3], others[3:]).tolist() == [0]


def test_heads_agree_with_themselves() -> None:
    coarse, fine = heads(3)
    put(coarse, 7, 2, 5)
    put(fine, 9, 20, 20, image=1)
    assert box_agreement((coarse, fine), (coarse, fine)) == {
        "images": 3,
        "exact_boxes": 2,
        "boxes": 2,
        "ap50": 1.0,
        "same_top_class": 1.0,
    }


def test_a_changed_class_a_lost_box_and_a_new_one_count_against() -> None:
    exact, got = heads(4), heads(4)
    for image, label in enumerate((1, 2, 3)):
        put(exact[0], label, 3, 3, image=image)
    put(got[0], 1, 3, 3, image=0)
    put(got[0], 9, 3, 3, image=1)
    put(got[0], 4, 9, 9, image=3)
    result = box_agreement(exact, got)
    assert (result["exact_boxes"], result["boxes"], result["same_top_class"]) == (3, 3, 0.25)
    assert result["ap50"] == pytest.approx(1 / 3)


def test_a_true_box_is_taken_once_and_wrong_boxes_cost_precision_only_where_they_are_surer() -> None:
    truth = [boxes((0, 0, 10, 10, 1, 0), (50, 50, 60, 60, 1, 0))]
    twice = [boxes((0, 0, 10, 10, 0.9, 0), (0, 0, 10, 9, 0.8, 0), (50, 50, 60, 60, 0.7, 0))]
    assert average_precision(truth, twice) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(truth, [boxes((0, 0, 10, 10, 0.9, 0), (80, 0, 90, 9, 0.1, 0))]) == 0.5


def test_without_boxes_there_is_no_precision_and_the_top_classes_are_the_same() -> None:
    result = box_agreement(heads(), heads())
    assert math.isnan(result["ap50"])
    assert result["same_top_class"] == 1
    assert average_precision([boxes((0, 0, 9, 9, 1, 0))], [boxes()]) == 0
    assert top_class(boxes()) is None


def test_a_photo_lies_unscaled_in_the_middle_of_grey() -> None:
    photo: AnyArray = np.full((224, 200, 3), 255, np.uint8)
    canvas = on_canvas(photo)
    assert canvas.shape == (3, 416, 416)
    assert canvas.dtype == np.float32
    assert int((canvas == 1).sum()) == photo.size
    assert canvas[:, 96:320, 108:308].min() == 1
    assert canvas[0, 0, 0] == np.float32(127) / np.float32(255)
