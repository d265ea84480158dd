"""Streams: whatever a user can iterate over."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlab.data import Batch, Dataset, stream
from quantlab.errors import InputError, UsageError
from quantlab.numerics.arrays import AnyArray

IDS = np.arange(12, dtype=np.int64).reshape(6, 2)
MASK = np.ones((6, 2), np.int32)


def cut(size: int, order: list[int]) -> list[dict[str, AnyArray]]:
    """The six samples in this order, so many a batch."""
    return [{"ids": IDS[order[i : i + size]], "mask": MASK[order[i : i + size]]} for i in range(0, 6, size)]


def two_batches() -> Iterator[dict[str, AnyArray]]:
    yield {"x": IDS[:4]}
    yield {"x": IDS[4:]}


@pytest.mark.parametrize("source", [list(two_batches()), two_batches, lambda: list(two_batches())])
def test_lists_and_functions_can_be_read_again(source: Any) -> None:
    data = stream(source)
    first, second = list(data), list(data)
    assert [batch["x"].tolist() for batch in first] == [batch["x"].tolist() for batch in second]
    assert len(data) == 6
    assert isinstance(data, Dataset)


def test_a_generator_can_be_read_once() -> None:
    data = stream(two_batches())
    assert len(list(data)) == 2
    with pytest.raises(InputError, match="come from a generator, which can be read only once: give the function"):
        list(data)


def test_a_generator_left_in_the_middle_cannot_be_read_again() -> None:
    data = stream(two_batches())
    next(iter(data))
    with pytest.raises(InputError, match="only once"):
        next(iter(data))


def test_identity_and_length_are_known_after_a_full_pass_only() -> None:
    data = stream(two_batches)
    next(iter(data))
    with pytest.raises(InputError, match="known only after one full pass: iterate over it first"):
        _ = data.identity
    with pytest.raises(InputError, match="known only after one full pass"):
        len(data)
    assert len(list(data)) == 2
    assert (data.identity.name, data.identity.count, len(data)) == ("two_batches", 6, 6)


@given(st.integers(1, 7), st.permutations(range(6)))
def test_identity_depends_neither_on_the_batch_size_nor_on_the_order(size: int, order: list[int]) -> None:
    whole, parts = stream(cut(6, list(range(6)))), stream(cut(size, order))
    assert sum(batch.samples for batch in whole) == sum(batch.samples for batch in parts)
    assert whole.identity == parts.identity


def test_another_type_shape_value_or_input_is_other_data() -> None:
    variants: list[dict[str, AnyArray]] = [
        {"x": IDS},
        {"x": IDS.astype(np.int32)},
        {"x": IDS.reshape(6, 2, 1)},
        {"x": IDS + 1},
        {"x": IDS, "y": MASK},
        {"y": IDS, "x": MASK},
    ]
    digests = set()
    for variant in variants:
        data = stream([variant])
        list(data)
        digests.add(data.identity.digest)
    assert len(digests) == len(variants)


def test_memory_order_and_byte_order_do_not_count() -> None:
    plain, odd = stream([{"x": IDS}]), stream([{"x": np.asfortranarray(IDS).astype(">i8")}])
    assert list(plain)
    assert list(odd)
    assert plain.identity == odd.identity


def test_inputs_without_common_rows_are_one_sample() -> None:
    data = stream([{"sound": np.zeros((1, 512), np.float32), "rate": np.array(16000)}] * 3)
    assert [batch["rate"].shape for batch in data] == [(), (), ()]
    assert len(data) == 3


def test_labels_and_names_of_a_batch_are_kept() -> None:
    (batch,) = stream([Batch({"x": IDS}, labels=np.arange(6), names=tuple("abcdef"))])
    assert batch.labels is not None
    assert batch.names == tuple("abcdef")


def test_a_stream_is_true_before_its_length_is_known() -> None:
    assert stream(two_batches)


def test_a_name_can_be_given() -> None:
    assert len(list(named := stream(two_batches, name="night"))) == 2
    assert named.identity.name == "night"
    assert len(list(unnamed := stream(lambda: list(two_batches())))) == 2
    assert unnamed.identity.name == "stream"


def test_other_samples_in_the_next_pass_are_refused() -> None:
    rng = np.random.default_rng(0)
    data = stream(lambda: [{"x": rng.random((2, 3))}])
    list(data)
    with pytest.raises(InputError, match="yielded other samples in this pass than before"):
        list(data)


@pytest.mark.parametrize(
    ("items", "sentence"),
    [
        ([], "«stream» yielded no sample"),
        ([IDS], "Batch 0 of «stream» is a value of type ndarray; it must be {input name: array}"),
        ([{}], "is an empty dict"),
        ([{3: IDS}], r"is a dict with the keys \[3\]"),
        ([None], "Batch 0 of «stream» is None"),
        ([{"x": IDS}, {"y": IDS}], "Batch 1 of «stream» has the inputs «y», but the first one had «x»"),
        ([{"x": ["a", "b"]}], "input «x», holds <U1 and no numbers"),
        ([{"x": [object()]}], "holds object and no numbers"),
        ([{"x": [[1], [1, 2]]}], "input «x», cannot be read as an array"),
    ],
)
def test_what_is_no_batch_is_refused(items: list[Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        list(stream(items))


def test_a_function_that_returns_nothing_is_refused() -> None:
    nothing: Any = lambda: None  # noqa: E731
    with pytest.raises(InputError, match="returned None; it must return or yield batches"):
        list(stream(nothing))


def test_what_is_neither_iterable_nor_a_function_is_refused() -> None:
    wrong: Any = 3
    with pytest.raises(
        UsageError, match=r"needs an iterable of \{input name: array\} or a function, not a value of type int"
    ):
        stream(wrong)
