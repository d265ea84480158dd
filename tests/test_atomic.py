from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from quantlab.atomic import atomic_path, check_place, make_folder
from quantlab.errors import InputError, MachineError


def write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text)


def write_half(path: Path, error: BaseException) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text("half")
        raise error


def test_the_file_appears_with_what_the_block_wrote(tmp_path: Path) -> None:
    write(tmp_path / "scales.json", "{}")
    assert [p.name for p in tmp_path.iterdir()] == ["scales.json"]
    assert (tmp_path / "scales.json").read_text() == "{}"


def test_an_existing_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "scales.json"
    path.write_text("old")
    with atomic_path(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_the_temporary_path_is_in_the_same_folder_and_keeps_the_suffix(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "histograms.h5") as temporary:
        assert (temporary.parent, temporary.suffix, temporary.exists()) == (tmp_path, ".h5", False)
        temporary.touch()


def test_missing_folders_are_made(tmp_path: Path) -> None:
    write(tmp_path / "a" / "b" / "c.csv", "x")
    assert (tmp_path / "a" / "b" / "c.csv").read_text() == "x"


def test_a_file_name_of_the_greatest_length_can_be_written(tmp_path: Path) -> None:
    write(tmp_path / ("n" * 250 + ".json"), "x")
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_any_error_leaves_the_old_file_and_no_temporary_one(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "scales.json"
    path.write_text("old")
    with pytest.raises(error):
        write_half(path, error())
    assert [p.read_text() for p in tmp_path.iterdir()] == ["old"]


@pytest.mark.parametrize(
    ("code", "words"),
    [(errno.ENOSPC, "no space"), (errno.EROFS, "read-only"), (errno.EACCES, "permission")],
)
def test_a_machine_that_falls_short_gives_one_sentence_and_leaves_nothing(
    tmp_path: Path, code: int, words: str
) -> None:
    path = tmp_path / "scales.json"
    with pytest.raises(MachineError, match=words) as caught:
        write_half(path, OSError(code, os.strerror(code)))
    assert str(path) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_device_without_space_is_reported_as_such(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("the system has no /dev/full")
    with (
        pytest.raises(MachineError, match="no space"),
        atomic_path(tmp_path / "a.bin"),
        open("/dev/full", "wb", buffering=0) as full,  # noqa: PTH123
    ):
        full.write(b"x")


def test_an_error_about_a_file_that_the_block_reads_passes_unchanged(tmp_path: Path) -> None:
    with pytest.raises(PermissionError):
        write_half(tmp_path / "a.json", PermissionError(errno.EACCES, "denied", "/elsewhere/input.onnx"))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        write(tmp_path / "out", "x")


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="the system has no folder that takes no folders")
def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="'/proc/none' cannot be created"):
        write(Path("/proc/none/a.json"), "x")
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


def test_a_place_is_looked_at_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_place(tmp_path / "new" / "deep" / "a.json")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    with pytest.raises(MachineError, match=r"Cannot write '.*a\.json': the folder '.*' does not let you write"):
        check_place(tmp_path / "new" / "deep" / "a.json")


def test_a_file_in_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("I am a file")
    with pytest.raises(MachineError, match="not a folder"):
        write(tmp_path / "out" / "a.json", "x")
    with pytest.raises(MachineError, match="not a folder"):
        write(tmp_path / "out" / "deep" / "a.json", "x")
