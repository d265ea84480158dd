"""Every input of the corpora is read again: a value, or one sentence; findings of fuzzing stay among them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.contract import objection
from tests.fuzz.kept import CORPUS, inputs
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_a_corpus_is_read_without_a_traceback(name: str, tmp_path: Path) -> None:
    found = inputs(name)
    assert found
    wrong = {file: objection(TARGETS[name], data, tmp_path / "input") for file, data in found.items()}
    assert not {file: said for file, said in wrong.items() if said}


def test_a_corpus_is_small() -> None:
    assert sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()) < 500_000
