"""TensorRT calibrates full batches in the data's order."""

from types import SimpleNamespace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from quantlab.data.batch import UNNAMED, Batch
from quantlab.engines.tensorrt.calibrators import full_batches


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


def test_images_without_a_name_are_the_only_input() -> None:
    batch = Batch({UNNAMED: np.zeros((4, 3), np.float32)})
    (found,) = full_batches([batch], 4, ("input",), SimpleNamespace())
    assert set(found) == {"input"}
