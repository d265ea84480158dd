"""Text files: what is refused at the door, and that nothing is half-written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from quantlab.errors import InputError
from quantlab.storage.text import read_text, write_text


def test_text_comes_back_with_its_line_ends(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "text", "é\r\n\u2028\n\r")
    assert read_text(tmp_path / "a" / "text", "a text") == "é\r\n\u2028\n\r"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"There is no file '.*none\.json': give the path of a scale table"):
        read_text(tmp_path / "none.json", "a scale table")


def test_a_folder_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        read_text(tmp_path, "a scale table")


@pytest.mark.skipif(os.name == "nt", reason="named pipes are Unix's")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="not a regular file"):
        read_text(tmp_path / "pipe", "a scale table")


@pytest.mark.parametrize("path", ["nul\0byte", "x" * 5000])
def test_an_impossible_path_is_refused(path: str) -> None:
    with pytest.raises(InputError):
        read_text(path, "a scale table")


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("12345")
    with pytest.raises(InputError, match="5 bytes; a text has at most 4"):
        read_text(tmp_path / "text", "a text", largest=4)


def test_bytes_that_are_no_utf8_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"abc\xff")
    with pytest.raises(InputError, match=r"no UTF-8 text \(byte 3\)"):
        read_text(tmp_path / "text", "a text")


def test_a_text_that_utf8_cannot_express_leaves_the_old_file(tmp_path: Path) -> None:
    write_text(tmp_path / "text", "old")
    with pytest.raises(InputError, match="half a surrogate pair follows «tensor »"):
        write_text(tmp_path / "text", "tensor \ud800")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]
