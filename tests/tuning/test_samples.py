from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from quantlab.engines.engine import TensorSpec
from quantlab.errors import InputError
from quantlab.numerics.arrays import AnyArray
from quantlab.tuning.samples import sample_batches, samples_of
from tests.tuning.nets import Rows

FREE: Mapping[str, TensorSpec] = {"x": TensorSpec("x", np.dtype(np.float32), ("N", 2))}
FIXED: Mapping[str, TensorSpec] = {"x": TensorSpec("x", np.dtype(np.float32), (4, 2))}


def counted(count: int) -> dict[str, AnyArray]:
    return {"x": np.repeat(np.arange(count, dtype=np.float32)[:, None], 2, axis=1)}


def taken(count: int, samples: int, specs: Mapping[str, TensorSpec] = FREE) -> list[list[int]]:
    batches = sample_batches(Rows(counted(count)), specs, samples=samples, batch=3)
    return [batch["x"][:, 0].astype(int).tolist() for batch in batches]


def test_samples_are_spread_evenly_however_the_data_are_batched() -> None:
    assert taken(20, 5) == [[0, 4, 8], [12, 16]]
    assert taken(4, 100) == [[0, 1, 2], [3]]


def test_of_a_huge_set_only_the_beginning_is_read() -> None:
    assert taken(1000, 5) == [[0, 4, 8], [12, 16]]


def test_a_fixed_batch_is_filled_or_left_out() -> None:
    assert taken(11, 11, FIXED) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    with pytest.raises(InputError, match="no full batch of 4"):
        taken(3, 3, FIXED)


def test_an_empty_set_is_refused() -> None:
    with pytest.raises(InputError, match="no full batch of 1"):
        taken(0, 8)


def test_inputs_without_common_rows_are_a_sample_as_they_come() -> None:
    inputs = {"x": np.ones((4, 2), np.float32), "size": np.asarray(3.0, np.float32)}

    class Whole(Rows):
        def __len__(self) -> int:
            return 1

        def __iter__(self):  # type: ignore[no-untyped-def]
            from quantlab.data.batch import Batch

            yield Batch(inputs)

    specs = dict(FREE) | {"size": TensorSpec("size", np.dtype(np.float32), ())}
    batches = sample_batches(Whole(inputs), specs, samples=8, batch=3)
    assert len(batches) == 1
    assert samples_of(batches) == 1
    assert set(batches[0]) == {"x", "size"}


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_sample_that_is_no_number_is_named(bad: float) -> None:
    inputs = counted(6)
    inputs["x"][4, 1] = bad
    with pytest.raises(InputError, match="«sample 4»"):
        sample_batches(Rows(inputs), FREE, samples=6, batch=3)
