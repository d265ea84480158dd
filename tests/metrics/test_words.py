"""What a text recogniser reads: decoding, words right, characters wrong, words as FP32 has them."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import parser

from quantlab.errors import InputError
from quantlab.graph.model import Model, load_model
from quantlab.metrics.character_error import CharacterError, edits
from quantlab.metrics.characters import characters_of, read_characters
from quantlab.metrics.ctc import space_class
from quantlab.metrics.names import for_model, parse_metric
from quantlab.metrics.word_accuracy import SameWords, WordAccuracy
from quantlab.numerics.arrays import AnyArray
from tests.comparison.laws import law

ABC = ("a", "b", "c")
words = st.text("ab c", max_size=6)


def columns(*rows: list[int], of: int = 4) -> dict[str, AnyArray]:
    """A recogniser's scores [samples, columns, classes] that choose these classes."""
    return {"text": np.eye(of, dtype=np.float32)[np.array(rows)]}


@lru_cache
def slow_edits(one: str, two: str) -> int:
    if not one or not two:
        return len(one) + len(two)
    kept = slow_edits(one[1:], two[1:]) + (one[0] != two[0])
    return min(kept, slow_edits(one[1:], two) + 1, slow_edits(one, two[1:]) + 1)


@law
@given(words, words)
def test_edits_are_those_of_the_definition(one: str, two: str) -> None:
    assert edits(one, two) == slow_edits(one, two)


@law
@given(st.lists(st.integers(0, 3), min_size=1, max_size=10))
def test_reading_merges_repeats_and_drops_blanks(best: list[int]) -> None:
    before = [-1, *best[:-1]]
    read = "".join(ABC[b - 1] for a, b in zip(before, best, strict=True) if b not in (a, 0))
    assert WordAccuracy(ABC).per_sample(columns(best), np.array([read])).tolist() == [True]
    assert CharacterError(ABC).per_sample(columns(best), np.array([read + "d"])).tolist() == [[1, len(read) + 1]]


def test_a_word_is_right_whatever_spaces_are_around_it() -> None:
    metric = WordAccuracy(ABC)  # five classes: the last is the space
    outputs = columns([1, 4, 0, 2], [4, 1, 2, 4], [1, 2, 0, 0], of=5)
    assert metric.per_sample(outputs, np.array(["a b", "ab", "ba"])).tolist() == [True, True, False]


def test_the_blank_may_be_the_last_class() -> None:
    metric = WordAccuracy(ABC, blank=3)
    assert metric.per_sample(columns([0, 3, 0, 2]), np.array(["aac"])).tolist() == [True]


def test_the_error_rate_is_of_all_characters_together() -> None:
    metric = CharacterError(ABC)
    values = metric.per_sample(columns([1, 2, 3, 0], [1, 0, 0, 0]), np.array(["abc", "b"]))
    assert values.tolist() == [[0, 3], [1, 1]]
    assert metric.score(values) == 0.25
    assert np.isnan(metric.score(np.zeros((2, 2))))


def test_the_same_words_need_neither_labels_nor_characters() -> None:
    one, two = columns([1, 0, 2, 0], [1, 2, 3, 0], of=5), columns([1, 2, 4, 0], [1, 2, 2, 0], of=5)
    assert SameWords().per_pair(one, two, None).tolist() == [False, False]
    assert SameWords(space=4).per_pair(one, two, None).tolist() == [True, False]
    assert SameWords().per_sample(one, None).all()
    assert not SameWords().needs_labels


def test_what_does_not_fit_is_refused_in_a_sentence() -> None:
    with pytest.raises(InputError, match="2 characters for a model with 6 classes"):
        WordAccuracy(("a", "b")).per_sample(columns([1], of=6), np.array(["a"]))
    with pytest.raises(InputError, match=r"characters=dict\.txt"):
        WordAccuracy().per_sample(columns([1]), np.array(["a"]))
    with pytest.raises(InputError, match="needs labels, a text a sample"):
        WordAccuracy(ABC).per_sample(columns([1]), None)
    with pytest.raises(InputError, match="needs 1 texts here as labels, not int64"):
        WordAccuracy(ABC).per_sample(columns([1]), np.array([1]))
    with pytest.raises(InputError, match="The blank is class 9"):
        WordAccuracy(ABC, blank=9).per_sample(columns([1]), np.array(["a"]))
    with pytest.raises(InputError, match="text scores"):
        WordAccuracy(ABC).per_sample({"y": np.zeros((2, 3))}, np.array(["a", "b"]))


def test_characters_come_from_a_file_a_line_each(tmp_path: Path) -> None:
    path = tmp_path / "dict.txt"
    path.write_bytes("a\r\n\u2028\r\n \r\nß\r\n".encode())
    assert read_characters(path) == ("a", "\u2028", " ", "ß")
    metric = parse_metric(f"word-accuracy:characters={path}")
    assert isinstance(metric, WordAccuracy)
    assert metric.characters[3] == "ß"
    path.write_text("")
    with pytest.raises(InputError, match="holds no character"):
        read_characters(path)


def test_characters_come_from_the_model_where_it_has_them() -> None:
    model = recogniser("a\nb\nc")
    assert characters_of(model) == ABC
    found = [for_model(parse_metric(name), model) for name in ("word-accuracy", "character-error", "words-as-fp32")]
    assert found == [WordAccuracy(ABC), CharacterError(ABC), SameWords(space=4)]
    assert for_model(WordAccuracy(("x",)), model) == WordAccuracy(("x",))
    assert characters_of(recogniser(None)) == ()
    assert for_model(SameWords(), recogniser(None)) == SameWords()


def test_the_space_is_its_own_class_or_the_one_behind_all_others() -> None:
    assert space_class(("a", " ", "b"), 0) == 2
    assert space_class(ABC, 0) == 4
    assert space_class(("a", " ", "b"), 2) == 1


def recogniser(characters: str | None) -> Model:
    proto = parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[n,2,5] x) => (float[n,2,5] y) { y = Identity(x) }'
    )
    if characters is not None:
        onnx.helper.set_model_props(proto, {"character": characters})
    return load_model(proto)
