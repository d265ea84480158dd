"""Class scores, TopK and agreement: against obvious twins, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from quantlab.comparison.agreement import Agreement, Flip
from quantlab.errors import InputError, UsageError
from quantlab.metrics.classes import chosen_classes, find_class_scores
from quantlab.metrics.top_k import TopK
from quantlab.numerics.arrays import AnyArray
from tests.comparison.laws import law

# Few distinct values: ties are common. NaN and infinities occur.
scores = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 6), st.integers(2, 7)),
    elements=st.sampled_from([-np.inf, -1.0, 0.0, 0.5, 1.0, np.inf, np.nan]),
)
classes = hnp.arrays(np.int64, 12, elements=st.integers(-1, 3))


def slow_top(row: AnyArray, label: int, k: int) -> bool:
    """Sort by falling score, equal ones by rising index, and look among the first k."""
    if any(np.isnan(value) for value in row):
        return False
    return label in sorted(range(len(row)), key=lambda i: (-row[i], i))[:k]


@law
@given(scores, st.data(), st.integers(1, 5))
def test_topk_is_what_sorting_gives(values: AnyArray, data: st.DataObject, k: int) -> None:
    labels = np.array([data.draw(st.integers(0, values.shape[1] - 1)) for _ in values])
    found = TopK(k).per_sample({"y": values}, labels)
    assert found.tolist() == [slow_top(row, label, k) for row, label in zip(values, labels, strict=True)]


@law
@given(scores)
def test_the_class_chosen_is_the_one_that_top_1_finds_right(values: AnyArray) -> None:
    chosen = chosen_classes(values)
    decided = chosen >= 0
    assert TopK(1).per_sample({"y": values}, np.maximum(chosen, 0)).tolist() == decided.tolist()


def test_of_equal_scores_the_first_class_is_chosen() -> None:
    assert chosen_classes(np.array([[1.0, 2.0, 2.0]])).tolist() == [1]


def test_a_row_with_nan_chooses_no_class() -> None:
    assert chosen_classes(np.array([[1.0, np.nan], [1.0, 2.0]])).tolist() == [-1, 1]


@pytest.mark.parametrize("shape", [(2, 5), (2, 5, 1, 1), (2, 1, 1, 5)])
def test_class_scores_may_have_dimensions_of_one(shape: tuple[int, ...]) -> None:
    found = find_class_scores({"y": np.arange(10.0).reshape(shape)}, None)
    assert found is not None
    assert found.tolist() == np.arange(10.0).reshape(2, 5).tolist()


def test_the_only_output_that_can_be_class_scores_is_taken() -> None:
    outputs = {"boxes": np.zeros((2, 3, 4)), "count": np.zeros(2), "scores": np.ones((2, 5)), "flag": np.zeros((2, 1))}
    found = find_class_scores(outputs, None)
    assert found is not None
    assert found.shape == (2, 5)


def test_which_of_two_outputs_holds_the_scores_must_be_said() -> None:
    outputs = {"a": np.array([[0.0, 1.0]]), "b": np.array([[1.0, 0.0]])}
    with pytest.raises(InputError, match=r"cannot be told from «a» \[1, 2\], «b» \[1, 2\]: name it"):
        TopK(1).per_sample(outputs, np.array([0]))
    assert TopK(1, output="b").per_sample(outputs, np.array([0])).tolist() == [True]


@pytest.mark.parametrize(
    ("output", "sentence"),
    [("z", "no output «z»; it has «y»"), ("y", r"«y» is \[2, 3, 4\] and no class scores")],
)
def test_a_named_output_that_holds_no_class_scores_is_refused(output: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        TopK(1, output=output).per_sample({"y": np.zeros((2, 3, 4))}, np.zeros(2, np.int64))


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (np.array([0, 3]), "Sample 1 of the batch has the label 3, but the model has the classes 0 … 2"),
        (np.array([-1, 0]), "Sample 0 of the batch has the label -1"),
        (np.array([0]), r"int64\[2\] here, not int64\[1\]"),
        (np.array([0.0, 1.0]), r"not float64\[2\]"),
        (None, "top-1 needs labels"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels: AnyArray | None, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        TopK(1).per_sample({"y": np.zeros((2, 3))}, labels)


def test_top_0_is_refused() -> None:
    with pytest.raises(UsageError, match="at least the first class: k is 0"):
        TopK(0)


@law
@given(classes, classes, st.integers(0, 12))
def test_merging_agreements_equals_counting_together(fp32: AnyArray, int8: AnyArray, cut: int) -> None:
    names = tuple(f"{i}.png" for i in range(12))
    parts = [Agreement.of(fp32[s], int8[s], fp32[s] + 1, names[s]) for s in (slice(0, cut), slice(cut, None))]
    assert parts[0].merge(parts[1]) == Agreement.of(fp32, int8, fp32 + 1, names)


def test_a_flip_names_sample_label_and_both_classes() -> None:
    found = Agreement.of(np.array([1, 2]), np.array([1, 0]), np.array([1, 2]), ("a.png", "b.png"))
    assert found.flips == (Flip(1, "b.png", 2, 2, 0),)
    assert found.score == 0.5


def test_a_sample_for_which_no_class_is_chosen_does_not_agree() -> None:
    assert Agreement.of(np.array([-1]), np.array([-1])).flips == (Flip(0, "", None, -1, -1),)


def test_a_file_name_that_is_no_text_is_spelled_out() -> None:
    assert Agreement.of(np.array([0]), np.array([1]), None, ("a\udcff.png",)).flips[0].name == "a\\udcff.png"
