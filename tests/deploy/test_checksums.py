"""Checksums, and paths that stay in their folder."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlab.deploy.checksums import check_sums, file_at, read_sums, safe_path, write_sums
from quantlab.deploy.names import checked_name, sanitized
from quantlab.errors import InputError, StaleError, UsageError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "1").mkdir()
    (tmp_path / "a b.txt").write_text("one")
    (tmp_path / "1" / "ü.bin").write_bytes(bytes(3 << 20))
    write_sums(tmp_path)
    return tmp_path


def test_what_is_written_is_what_sha256sum_checks(folder: Path) -> None:
    assert check_sums(folder) == ("1/ü.bin", "a b.txt")
    done = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_changed_file_is_stale_and_a_missing_one_is_named(folder: Path) -> None:
    (folder / "a b.txt").write_text("two")
    with pytest.raises(StaleError, match=r"a b\.txt.* was changed"):
        check_sums(folder)
    (folder / "a b.txt").unlink()
    with pytest.raises(InputError, match=r"lacks its file 'a b\.txt'"):
        check_sums(folder)


@pytest.mark.parametrize(
    "path", ["../x", "/etc/passwd", "a/../../x", "a\\b", "", ".", "c:/x", "a//b", "./a", "a\nb", "a/"]
)
def test_no_path_leads_out(path: str, folder: Path) -> None:
    with pytest.raises(InputError, match="for safety nothing of it was read"):
        safe_path(path)
    (folder / "SHA256SUMS").write_text(f"{'0' * 64}  {path}\n")
    with pytest.raises(InputError):
        read_sums(folder)


@given(st.text(max_size=40))
def test_a_path_that_passes_lies_below_the_folder(text: str) -> None:
    root = Path("/folder")
    try:
        path = root / safe_path(text)
    except InputError:
        return
    assert path.resolve(strict=False) != root
    assert root in path.parents
    assert ".." not in path.parts


def test_a_symbolic_link_is_not_followed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside") / "secret"
    outside.write_text("one")
    (folder / "a b.txt").unlink()
    (folder / "a b.txt").symlink_to(outside)
    with pytest.raises(InputError, match="symbolic link"):
        check_sums(folder)
    (folder / "link").symlink_to(outside.parent)
    with pytest.raises(InputError, match="symbolic link"):
        file_at(folder, "link/secret")


@pytest.mark.parametrize("line", ["abc  x", f"{'0' * 64}", f"{'0' * 64}  a\n{'0' * 64}  a", f"{'G' * 64}  a"])
def test_damaged_checksums_are_refused(folder: Path, line: str) -> None:
    (folder / "SHA256SUMS").write_text(line)
    with pytest.raises(InputError, match="is no «digest  path»"):
        read_sums(folder)


@given(st.text(max_size=200))
def test_a_sanitized_name_is_one_that_is_taken_and_stays(text: str) -> None:
    name = sanitized(text)
    assert checked_name(name) == name == sanitized(name)


def test_a_name_that_would_change_is_refused_with_one_that_would_not() -> None:
    with pytest.raises(UsageError, match="for instance «a_b»"):
        checked_name("../a b")
