"""The check that fuzzing relies on sees what it is there for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from quantlab.errors import InputError
from tests.fuzz.contract import objection
from tests.fuzz.targets import Target


def refuses(_data: bytes, _folder: Path) -> None:
    raise InputError("«a» is no number: give one.")


def fails(_data: bytes, _folder: Path) -> None:
    raise KeyError("a")


def says_nothing(_data: bytes, _folder: Path) -> None:
    raise InputError("")


def asks_for_memory(_data: bytes, _folder: Path) -> None:
    try:
        raise MemoryError
    except MemoryError as error:
        raise InputError("It is too large.") from error


@pytest.mark.parametrize(
    ("read", "said"),
    [
        (refuses, ""),
        (lambda _data, _folder: None, ""),
        (fails, "KeyError"),
        (says_nothing, "no sentence"),
        (asks_for_memory, "asked for memory"),
    ],
)
def test_only_a_value_or_a_sentence_passes(read: Callable[[bytes, Path], object], said: str, tmp_path: Path) -> None:
    found = objection(Target("odd", read, "bytes", ()), b"", tmp_path / "input")
    assert found.startswith(said)
    assert bool(found) == bool(said)
