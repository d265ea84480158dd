"""Random data: seeded, marked, and independent of the batch size."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from quantlab.data import Dataset, random_data
from quantlab.errors import UsageError
from quantlab.numerics.arrays import AnyArray


@dataclass(frozen=True)
class Spec:
    dtype: np.dtype[Any]
    shape: tuple[int | str | None, ...]


def spec(dtype: str, *shape: int | str | None) -> Spec:
    return Spec(np.dtype(dtype), shape)


IMAGE = {"image": spec("float32", "batch", 3, 4, 4)}


def values(batches: Dataset, name: str) -> AnyArray:
    return np.concatenate([batch[name] for batch in batches])


def test_random_data_say_so() -> None:
    data = random_data(IMAGE, samples=5, seed=0)
    assert isinstance(data, Dataset)
    assert data.identity.random
    assert (data.identity.name, data.identity.count, len(data)) == ("random", 5, 5)


def test_samples_do_not_depend_on_the_batch_size() -> None:
    one, four = (random_data(IMAGE, samples=10, seed=3, batch=size) for size in (1, 4))
    np.testing.assert_array_equal(values(one, "image"), values(four, "image"), strict=True)
    assert [batch.samples for batch in four] == [4, 4, 2]
    assert one.identity == four.identity


def test_samples_do_not_depend_on_the_other_inputs() -> None:
    more = random_data({"ids": spec("int64", "n", 7)} | IMAGE, samples=3, seed=3)
    np.testing.assert_array_equal(values(more, "image"), values(random_data(IMAGE, 3, 3), "image"))


def test_the_seed_changes_the_samples() -> None:
    assert random_data(IMAGE, 3, 0).identity.digest != random_data(IMAGE, 3, 1).identity.digest


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [("uint8", 0, 255), ("int8", -128, 127), ("int32", 0, 1), ("int64", 0, 1), ("bool", 0, 1)],
)
def test_integers_have_the_range_of_their_use(dtype: str, low: int, high: int) -> None:
    drawn = values(random_data({"x": spec(dtype, None, 4000)}, 2, 0), "x")
    assert (drawn.dtype, drawn.min(), drawn.max()) == (np.dtype(dtype), low, high)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floats_are_standard_normal(dtype: str) -> None:
    drawn = values(random_data({"x": spec(dtype, None, 4000)}, 2, 0), "x")
    assert drawn.dtype == dtype
    assert abs(drawn.astype(float).mean()) < 0.05
    assert abs(drawn.astype(float).std() - 1) < 0.05


def test_free_dimensions_take_the_given_sizes() -> None:
    inputs = {"x": spec("float32", "n", 3, "height", None)}
    (batch,) = random_data(inputs, 2, 0, sizes={"height": 5, "x:3": 6})
    assert batch["x"].shape == (2, 3, 5, 6)


def test_a_fixed_first_dimension_is_the_batch_size() -> None:
    assert [batch.samples for batch in random_data({"x": spec("float32", 2, 3)}, 6, 0)] == [2, 2, 2]


@pytest.mark.parametrize(
    ("inputs", "options", "sentence"),
    [
        ({}, {}, "at least one input"),
        (IMAGE, {"samples": 0}, "number of samples of random data must be a whole number, at least 1, not 0"),
        (IMAGE, {"samples": True}, "number of samples"),
        (IMAGE, {"seed": -1}, "seed of random data must be a whole number, at least 0, not -1"),
        (IMAGE, {"batch": 0}, "A batch needs"),
        ({"x": spec("float32", "n", "height")}, {}, "Dimension 1 of input «x» is free: give its size as «height»"),
        ({"x": spec("float32", "n", None)}, {}, "give its size as «x:1»"),
        ({"x": spec("float32")}, {}, "Input «x» is a scalar"),
        ({"x": spec("U4", "n")}, {}, "Input «x» holds <U4, for which no random data"),
    ],
)
def test_what_cannot_be_drawn_is_refused(inputs: dict[str, Spec], options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        random_data(inputs, **({"samples": 2, "seed": 0} | options))
