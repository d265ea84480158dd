"""Two commands at once do not write the same output."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from quantlab.atomic import atomic_path
from quantlab.errors import InputError, MachineError, StaleError
from quantlab.jobs.manifest import Recipe, record
from quantlab.jobs.output_lock import RUN_LOCK, Owner, unfinished_in, working_in, writing
from quantlab.jobs.step import PendingError, carry_out

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


def test_the_owner_is_named_to_the_second(tmp_path: Path) -> None:
    with working_in(tmp_path), pytest.raises(StaleError) as caught, working_in(tmp_path):
        pytest.fail("two jobs at once")
    said = str(caught.value)
    assert f"process {os.getpid()} on {socket.gethostname()}, since 20" in said
    assert "Another job works in" in said
    assert list(tmp_path.iterdir()) == []


def test_the_lock_of_a_process_that_died_is_taken_over(tmp_path: Path) -> None:
    program = (
        "import os, sys\nfrom pathlib import Path\nfrom quantlab.jobs.output_lock import working_in\n"
        "with working_in(Path(sys.argv[1])):\n    os._exit(9)\n"
    )
    died = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert died.returncode == 9
    assert (tmp_path / RUN_LOCK).exists()
    with working_in(tmp_path):
        assert json.loads((tmp_path / RUN_LOCK).read_text())["pid"] == os.getpid()
    assert not (tmp_path / RUN_LOCK).exists()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"pid": 1}', '{"host": 1, "pid": "x", "command": 2, "since": []}', "x" * 99]
)
def test_a_lock_file_with_anything_in_it_is_only_a_lock_file(tmp_path: Path, text: str) -> None:
    (tmp_path / RUN_LOCK).write_text(text)
    with working_in(tmp_path):
        assert json.loads((tmp_path / RUN_LOCK).read_text())["pid"] == os.getpid()


def test_what_lay_there_when_a_process_died_is_made_anew_whatever_it_is(tmp_path: Path) -> None:
    output, texts = tmp_path / "out.json", iter(("first", "second"))

    def make() -> Mapping[str, str]:
        output.write_text(next(texts))
        return {}

    assert carry_out(output, recipe, make)
    assert not carry_out(output, recipe, make)
    for left in (recipe(), Recipe("other", {})):
        record(output, left)
        (tmp_path / ".out.json.lock").write_text("")
        with pytest.raises(PendingError, match="was not finished"):
            carry_out(output, recipe, make, remake="ask")
        assert unfinished_in(tmp_path) == (output,)
        texts = iter(("again",))
        assert carry_out(output, recipe, make)
        assert output.read_text() == "again"
        assert unfinished_in(tmp_path) == ()


def test_a_file_that_no_manifest_names_is_ours_if_its_making_was_cut_off(tmp_path: Path) -> None:
    output = tmp_path / "out.json"
    output.write_text("renamed, and then the process died")
    with pytest.raises(InputError, match="was not made by quantlab"):
        carry_out(output, recipe, dict)
    (tmp_path / ".out.json.lock").write_text("")

    def make() -> Mapping[str, str]:
        output.write_text("{}")
        return {}

    assert carry_out(output, recipe, make)


def test_a_lock_that_is_a_link_is_refused_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "run").mkdir()
    for name in (RUN_LOCK, ".out.json.lock"):
        (tmp_path / "run" / name).symlink_to(tmp_path / "victim")
    for held in (working_in(tmp_path / "run"), writing(tmp_path / "run" / "out.json")):
        with pytest.raises(InputError, match="is a symbolic link"), held:
            pytest.fail("the block ran")
    assert (tmp_path / "victim").read_text() == "precious"


def test_only_a_process_that_is_gone_for_certain_is_dead() -> None:
    died = subprocess.Popen([sys.executable, "-c", ""])
    died.wait()
    here = Owner.here()
    assert here.may_live
    assert not replace(here, pid=died.pid).may_live
    assert replace(here, pid=died.pid, host="elsewhere").may_live


def test_temporary_files_of_a_killed_process_are_removed_by_the_next(tmp_path: Path) -> None:
    output, other = tmp_path / "out.json", tmp_path / ".other-0123456789abcdef.json"
    left = [tmp_path / f".{name}-0123456789abcdef.json" for name in ("out", "out.json")]
    for path in (other, *left):
        path.write_text("{")

    def make() -> Mapping[str, str]:
        output.write_text("{}")
        return {}

    assert carry_out(output, recipe, make)
    assert sorted(path.name for path in tmp_path.iterdir()) == [other.name, "manifest.json", "out.json"]


@pytest.mark.parametrize("old", [None, "old"])
def test_a_file_that_the_manifest_did_not_take_is_gone_and_the_next_command_makes_it(
    tmp_path: Path, old: str | None
) -> None:
    output = tmp_path / "out.json"

    def write(text: str) -> Mapping[str, str]:
        with atomic_path(output) as temporary:
            temporary.write_text(text)
        return {}

    if old is not None:
        carry_out(output, recipe, lambda: write(old))

    def full() -> Recipe:
        raise MachineError("Cannot write 'manifest.json': no space is left.")

    with pytest.raises(MachineError):
        carry_out(output, full, lambda: write("new"), remake="always")
    assert not output.exists()
    assert carry_out(output, recipe, lambda: write("new"))
    assert output.read_text() == "new"
