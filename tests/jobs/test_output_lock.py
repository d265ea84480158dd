"""Two commands at once do not write the same output."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from quantlab.errors import StaleError
from quantlab.jobs.manifest import Recipe
from quantlab.jobs.output_lock import writing
from quantlab.jobs.step import carry_out

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such locks")


def recipe() -> Recipe:
    return Recipe("test", {"data": "sha256:1"})


def test_the_second_of_two_commands_is_refused_and_the_first_ends(tmp_path: Path) -> None:
    output = tmp_path / "new" / "out.json"

    def second() -> Mapping[str, str]:
        pytest.fail("the second command worked in vain")

    def first() -> Mapping[str, str]:
        with pytest.raises(StaleError, match="Another command is writing"):
            carry_out(output, recipe, second, remake="always")
        output.write_text("first")
        return {}

    assert carry_out(output, recipe, first)
    assert sorted(path.name for path in output.parent.iterdir()) == ["manifest.json", "out.json"]
    assert not carry_out(output, recipe, second)


def test_a_failure_leaves_neither_lock_nor_folder(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), writing(tmp_path / "new" / "out.json"):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
