"""Balanced accuracy, accuracy of a class and F1, against obvious twins."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from quantlab.comparison.metric_score import MetricScore
from quantlab.comparison.paired import PairedValues
from quantlab.errors import InputError, UsageError
from quantlab.metrics.balanced_accuracy import BalancedAccuracy, ClassAccuracy
from quantlab.metrics.f1 import F1
from quantlab.numerics.arrays import AnyArray
from tests.comparison.laws import law

CLASSES = 4
scores = hnp.arrays(
    np.float32, st.tuples(st.integers(1, 12), st.just(CLASSES)), elements=st.sampled_from([0.0, 0.5, 1.0, 2.0, np.nan])
)


def drawn(data: st.DataObject, values: AnyArray, classes: int = CLASSES) -> AnyArray:
    return np.array([data.draw(st.integers(0, classes - 1)) for _ in values])


def choice(row: AnyArray) -> int:
    return -1 if any(np.isnan(row)) else max(range(len(row)), key=lambda i: row[i])


def slow_f1(labels: list[int], choices: list[int], which: list[int]) -> float:
    """2·TP / (2·TP + FP + FN) over these classes together."""
    pairs = list(zip(labels, choices, strict=True))
    right = sum(a == b and a in which for a, b in pairs)
    false = sum(a != b and b in which for a, b in pairs)
    missed = sum(a != b and a in which for a, b in pairs)
    return 2 * right / (2 * right + false + missed)


@law
@given(scores, st.data())
def test_balanced_accuracy_is_the_mean_of_each_class_s_own(values: AnyArray, data: st.DataObject) -> None:
    labels = drawn(data, values)
    right = [choice(row) == label for row, label in zip(values, labels, strict=True)]
    shares = [np.mean([r for r, k in zip(right, labels, strict=True) if k == label]) for label in sorted(set(labels))]
    metric = BalancedAccuracy()
    rows = metric.per_sample({"y": values}, labels)
    assert metric.score(rows) == pytest.approx(np.mean(shares))
    assert metric.by_class(rows)[0].tolist() == sorted(set(labels.tolist()))
    assert metric.by_class(rows)[1].tolist() == pytest.approx(shares)
    one = ClassAccuracy(int(labels[0]))
    assert one.score(one.per_sample({"y": values}, labels)) == pytest.approx(
        shares[sorted(set(labels)).index(labels[0])]
    )


@law
@given(scores, st.data())
def test_f1_is_what_counting_by_hand_gives(values: AnyArray, data: st.DataObject) -> None:
    labels = drawn(data, values)
    choices = [choice(row) for row in values]
    seen = sorted({*labels.tolist(), *choices} - {-1})
    rows = F1("macro").per_sample({"y": values}, labels)
    assert F1("macro").score(rows) == pytest.approx(np.mean([slow_f1(labels.tolist(), choices, [k]) for k in seen]))
    assert F1("micro").score(rows) == pytest.approx(slow_f1(labels.tolist(), choices, seen))


def test_f1_of_numbers_worked_out_on_paper() -> None:
    rows = np.array([[1, 1]] * 6 + [[1, 0]] * 2 + [[0, 1]] * 3 + [[0, 0]] * 9, np.float64)
    assert F1("binary").score(rows) == pytest.approx(12 / 17)
    assert F1("macro").score(rows) == pytest.approx((12 / 17 + 18 / 23) / 2)
    assert F1("micro").score(rows) == pytest.approx(15 / 20)


@law
@given(scores, st.data())
def test_samples_that_are_merged_score_as_samples_together(values: AnyArray, data: st.DataObject) -> None:
    labels, cut = drawn(data, values), data.draw(st.integers(0, len(values)))
    for metric in (BalancedAccuracy(), F1("macro")):
        whole = metric.per_sample({"y": values}, labels)
        parts = [metric.per_sample({"y": values[part]}, labels[part]) for part in (slice(cut), slice(cut, None))]
        assert metric.score(np.concatenate(parts)) == metric.score(whole)


def test_a_share_that_is_no_mean_loses_points() -> None:
    labels = np.array([0] * 30 + [1] * 10)
    fp32 = np.stack([labels, labels], axis=1).astype(float)
    int8 = fp32.copy()
    int8[30:35, 1] = 0
    found = MetricScore.of(BalancedAccuracy(), PairedValues(fp32, int8))
    assert (found.fp32, found.int8, found.drop, found.unit) == (1.0, 0.75, 25.0, "points")
    assert found.interval.low < 25 < found.interval.high
    assert (found.worse, found.p_value) == (None, None)


def test_f1_of_two_classes_refuses_a_third() -> None:
    with pytest.raises(InputError, match="there is a class 3: take macro"):
        F1("binary").per_sample({"y": np.eye(4, dtype=np.float32)}, np.arange(4))


def test_missing_labels_and_unknown_averages_are_refused() -> None:
    with pytest.raises(InputError, match="balanced accuracy needs labels"):
        BalancedAccuracy().per_sample({"y": np.zeros((2, 3))}, None)
    with pytest.raises(UsageError, match="not «weighted»"):
        F1("weighted")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no class -1"):
        ClassAccuracy(-1)


def test_a_class_without_a_sample_has_no_accuracy() -> None:
    assert np.isnan(ClassAccuracy(2).score(np.zeros((3, 2))))
    assert np.isnan(F1("binary").score(np.zeros((3, 2))))
