"""Mean IoU against counting pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from quantlab.errors import InputError, UsageError
from quantlab.metrics.mean_iou import MeanIoU
from quantlab.numerics.arrays import AnyArray
from tests.comparison.laws import law

CLASSES = 3
shapes = st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4))
pixels = shapes.flatmap(
    lambda shape: st.tuples(
        hnp.arrays(np.int64, shape, elements=st.sampled_from([0, 1, 2, 255])),
        hnp.arrays(np.float32, (shape[0], CLASSES, *shape[1:]), elements=st.sampled_from([0.0, 1.0, 2.0, np.nan])),
    )
)


def slow(masks: AnyArray, scores: AnyArray) -> float:
    shared, union = [0] * CLASSES, [0] * CLASSES
    for n, y, x in np.ndindex(masks.shape):
        label, row = masks[n, y, x], scores[n, :, y, x]
        if label == 255:
            continue
        chosen = None if np.isnan(row).any() else int(row.argmax())
        for k in range(CLASSES):
            shared[k] += label == k and chosen == k
            union[k] += k in (label, chosen)
    known = [s / u for s, u in zip(shared, union, strict=True) if u]
    return float(np.mean(known)) if known else float("nan")


@law
@given(pixels)
def test_it_is_what_counting_every_pixel_gives(both: tuple[AnyArray, AnyArray]) -> None:
    masks, scores = both
    values = MeanIoU().per_sample({"y": scores}, masks)
    assert values.shape == (len(masks), CLASSES, 2)
    assert MeanIoU().score(values) == pytest.approx(slow(masks, scores), nan_ok=True)


@law
@given(pixels)
def test_chosen_classes_score_as_the_scores_that_choose_them(both: tuple[AnyArray, AnyArray]) -> None:
    masks, scores = both
    sure = np.nan_to_num(scores, nan=0.5)
    one = MeanIoU().per_sample({"y": sure}, masks)
    two = MeanIoU(classes=CLASSES).per_sample({"y": sure.argmax(axis=1)}, masks)
    assert np.array_equal(one, two)


def test_all_pixels_right_is_1_and_a_class_that_is_nowhere_does_not_count() -> None:
    masks = np.array([[[0, 0], [1, 255]]])
    scores = np.eye(3)[np.where(masks == 255, 2, masks)].transpose(0, 3, 1, 2).astype(np.float32)
    assert MeanIoU().score(MeanIoU().per_sample({"y": scores}, masks)) == 1.0


def test_what_does_not_fit_is_refused_in_a_sentence() -> None:
    scores = np.zeros((1, 3, 2, 2), np.float32)
    with pytest.raises(InputError, match="a mask a sample"):
        MeanIoU().per_sample({"y": scores}, None)
    with pytest.raises(InputError, match=r"of the output's own size, not int64\[1, 4, 4\]"):
        MeanIoU().per_sample({"y": scores}, np.zeros((1, 4, 4), np.int64))
    with pytest.raises(InputError, match="has the class 7, but the model has the classes 0 … 2"):
        MeanIoU().per_sample({"y": scores}, np.full((1, 2, 2), 7))
    with pytest.raises(InputError, match="cannot be told"):
        MeanIoU().per_sample({"a": scores, "b": scores}, np.zeros((1, 2, 2), np.int64))
    with pytest.raises(UsageError, match="at least one class"):
        MeanIoU(classes=0)
