"""Batches: dicts that know their labels and names."""

import copy

import numpy as np
import pytest

from quantlab.data.batch import UNNAMED, Batch, checked_batch_size
from quantlab.errors import InputError, UsageError

ROWS = np.zeros((3, 2), np.float32)


def test_a_batch_is_a_dict() -> None:
    batch = Batch({"x": ROWS})
    assert dict(batch) == {"x": ROWS}
    assert batch.labels is None
    assert batch.names == ()


def test_labels_become_int64() -> None:
    labels = Batch({"x": ROWS}, labels=np.array([1, 2, 3], np.uint8)).labels
    assert labels is not None
    np.testing.assert_array_equal(labels, np.array([1, 2, 3], np.int64), strict=True)


@pytest.mark.parametrize("labels", [np.arange(2), np.arange(3.0), np.zeros((3, 1), int)], ids=["few", "float", "2-D"])
def test_labels_that_do_not_fit_are_refused(labels: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"A batch of 3 samples has the labels .*: give one integer a sample"):
        Batch({"x": ROWS}, labels=labels)


def test_names_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="has 1 names: give one a sample"):
        Batch({"x": ROWS}, names=("a",))


def test_inputs_that_do_not_share_their_first_dimension_are_one_sample() -> None:
    assert Batch({"x": ROWS, "rate": np.array(16000)}).samples == 1
    assert Batch({"x": ROWS, "state": np.zeros((2, 3))}).samples == 1
    assert Batch({"x": ROWS, "y": np.zeros(3)}).samples == 3


def test_the_unnamed_input_takes_the_models_only_name() -> None:
    bound = Batch({UNNAMED: ROWS}, labels=np.arange(3), names=("a", "b", "c")).bind(["pixel values"])
    assert list(bound) == ["pixel values"]
    assert bound.labels is not None
    assert bound.names == ("a", "b", "c")


def test_named_inputs_keep_their_names() -> None:
    batch = Batch({"x": ROWS})
    assert batch.bind(["a", "b"]) is batch


def test_an_unnamed_input_for_a_model_with_several_is_refused() -> None:
    with pytest.raises(InputError, match=r"the model has 2 \(ids, mask\): name it with `input`"):
        Batch({UNNAMED: ROWS}).bind(["ids", "mask"])


def test_a_copy_keeps_labels_and_names() -> None:
    copied = copy.deepcopy(Batch({"x": ROWS}, labels=np.arange(3), names=("a", "b", "c")))
    assert copied.labels is not None
    assert copied.names == ("a", "b", "c")


@pytest.mark.parametrize("size", [0, -1, 1.5, True, "8"])
def test_a_batch_size_that_means_nothing_is_refused(size: int) -> None:
    with pytest.raises(UsageError, match="whole number of samples, at least 1"):
        checked_batch_size(size)
