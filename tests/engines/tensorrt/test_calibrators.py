"""TensorRT calibrates full batches in the data's order."""

import tracemalloc
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlab.data.batch import UNNAMED, Batch
from quantlab.engines.tensorrt.calibrators import Fed, fitting, full_batches
from quantlab.errors import InputError
from quantlab.numerics.arrays import AnyArray


@given(st.lists(st.integers(1, 7), max_size=8), st.integers(1, 9))
def test_batches_are_full_in_order_and_what_is_left_is_counted(sizes: list[int], size: int) -> None:
    rows = np.arange(sum(sizes), dtype=np.float32)
    given = [{"x": part, "y": -part} for part in np.split(rows, np.cumsum(sizes)[:-1])] if sizes else []
    counting = SimpleNamespace(dropped=None)
    found = list(full_batches(given, size, ("x", "y"), counting))
    assert all(batch["x"].shape == (size,) and (batch["y"] == -batch["x"]).all() for batch in found)
    assert counting.dropped == len(rows) % size
    taken = np.concatenate([batch["x"] for batch in found]) if found else rows[:0]
    assert (taken == rows[: len(rows) - counting.dropped]).all()


def test_a_data_set_may_fill_the_same_arrays_again() -> None:
    buffer = np.empty((5, 1), np.float32)

    def batches() -> Iterator[dict[str, AnyArray]]:
        for number in range(3):
            buffer[:] = np.arange(5 * number, 5 * number + 5)[:, None]
            yield {"x": buffer}

    counting = SimpleNamespace()
    found = [batch["x"].ravel().tolist() for batch in full_batches(batches(), 4, ("x",), counting)]
    assert found == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert counting.dropped == 3


def test_many_batches_of_one_large_array_take_its_memory_once() -> None:
    rows = np.zeros((4096, 256), np.float32)
    tracemalloc.start()
    try:
        assert sum(1 for _ in full_batches([{"x": rows}], 32, ("x",), SimpleNamespace())) == 128
        assert tracemalloc.get_traced_memory()[1] < rows.nbytes // 8
    finally:
        tracemalloc.stop()


def test_images_without_a_name_are_the_only_input() -> None:
    batch = Batch({UNNAMED: np.zeros((4, 3), np.float32)})
    (found,) = full_batches([batch], 4, ("input",), SimpleNamespace())
    assert set(found) == {"input"}


def test_values_are_handed_over_in_the_inputs_own_type() -> None:
    values = np.arange(6.0).reshape(2, 3)
    found = fitting("x", values.T, Fed(np.dtype(np.float32), (3, 2)))
    assert (found.dtype, found.shape, found.flags.c_contiguous) == (np.dtype(np.float32), (3, 2), True)
    assert (found == values.T).all()
    tokens = fitting("ids", np.array([[7, 8]]), Fed(np.dtype(np.int32), (1, 2)))
    assert tokens.dtype == np.int32
    assert tokens.tolist() == [[7, 8]]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((4, 3), np.float32), r"runs «x» at \[2, 3\], and a batch of the data is \[4, 3\].*--calib-batch"),
        (np.zeros((2, 3), np.float32), "«x» is int32, and the calibration data are float32"),
        (np.full((2, 3), 2**40), "«x» hold integers beyond int32"),
    ],
)
def test_values_that_tensorrt_would_misread_are_refused(values: AnyArray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fitting("x", values, Fed(np.dtype(np.int32), (2, 3)))
