"""A bundle's folder: whole or not at all, the same bytes again, never in a stranger's place."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from quantlab.deploy.bundle import Bundle, read_bundle, write_bundle
from quantlab.deploy.checksums import check_sums
from quantlab.deploy.folder import archive, put
from quantlab.errors import InputError, StaleError, UsageError
from tests.cli.workplace import tree


def filling(text: str) -> Callable[[Path], None]:
    def fill(folder: Path) -> None:
        (folder / "1").mkdir()
        (folder / "1" / "model").write_text(text)
        (folder / "run.py").write_text("")
        files = {"model": "1/model"}
        write_bundle(folder, Bundle(kind="embedded", name="n", target="t", model="m", model_name="m.onnx", files=files))

    return fill


def refuse(_folder: Path) -> None:
    raise InputError("it does not load")


def keep(_folder: Path) -> None:
    return


def test_a_folder_is_made_once_and_then_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "bundle"
    assert put(folder, filling("one"), keep)
    before = tree(folder)
    assert not put(folder, filling("one"), keep)
    assert tree(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == ["bundle"]


def test_another_content_or_an_edited_file_needs_force(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    put(folder, filling("one"), keep)
    with pytest.raises(StaleError, match="give --force"):
        put(folder, filling("two"), keep)
    (folder / "1" / "model").write_text("edited")
    with pytest.raises(StaleError, match="give --force"):
        put(folder, filling("one"), keep)
    assert put(folder, filling("two"), keep, force=True)
    assert (folder / "1" / "model").read_text() == "two"
    check_sums(folder)


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    assert put(tmp_path / "bundle", filling("one"), keep)
    check_sums(tmp_path / "bundle")


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_and_what_it_leads_to_is_written(tmp_path: Path, there: bool) -> None:
    if there:
        put(tmp_path / "bundle", filling("one"), keep)
    (tmp_path / "link").symlink_to("bundle")
    assert put(tmp_path / "link", filling("two"), keep, force=True)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "bundle" / "1" / "model").read_text() == "two"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "link"]


def test_the_current_folder_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever stands in it would stand in a deleted one."""
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner")
    for name in (".", "../inner"):
        with pytest.raises(UsageError, match="current folder"):
            put(Path(name), filling("one"), keep)
    assert list(tmp_path.rglob("*")) == [tmp_path / "inner"]


@pytest.mark.parametrize("name", [".", "..", "../bundle"])
def test_an_archive_is_called_as_the_folder_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    put(tmp_path / "bundle", filling("one"), keep)
    monkeypatch.chdir(tmp_path / "bundle" / "1" if name == ".." else tmp_path / "bundle")
    archive(Path(name), tmp_path / "a.tar.gz")
    with tarfile.open(tmp_path / "a.tar.gz") as packed:
        assert {entry.split("/")[0] for entry in packed.getnames()} == {"bundle"}


def test_what_is_no_bundle_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_text("dear")
    (tmp_path / "file").write_text("dear")
    for name in ("photos", "file"):
        with pytest.raises(InputError):
            put(tmp_path / name, filling("one"), keep, force=True)
    assert (tmp_path / "photos" / "a.jpg").read_text() == (tmp_path / "file").read_text() == "dear"


def test_a_check_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    with pytest.raises(InputError, match="does not load"):
        put(folder, filling("one"), refuse)
    assert list(tmp_path.iterdir()) == []
    put(folder, filling("one"), keep)
    before = tree(tmp_path)
    with pytest.raises(InputError, match="does not load"):
        put(folder, filling("two"), refuse, force=True)
    assert tree(tmp_path) == before


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    def interrupted(folder: Path) -> None:
        filling("one")(folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        put(tmp_path / "bundle", interrupted, keep)
    assert list(tmp_path.iterdir()) == []


def test_archives_of_equal_folders_are_equal_bytes_and_unpack_to_the_bundle(tmp_path: Path) -> None:
    first, second = tmp_path / "a" / "bundle", tmp_path / "b" / "bundle"
    for folder in (first, second):
        put(folder, filling("one"), keep)
        archive(folder, folder.with_name("x.tar.gz"))
    (second / "1" / "model").touch()
    (second / "model.plan").write_text("built there")  # not the bundle's
    archive(second, second.with_name("x.tar.gz"))
    packed = first.with_name("x.tar.gz")
    assert packed.read_bytes() == second.with_name("x.tar.gz").read_bytes()
    shutil.rmtree(first)
    with tarfile.open(packed) as tar:
        assert {member.mode for member in tar if member.name.endswith("run.py")} == {0o755}
        tar.extractall(first.parent, filter="data")
    check_sums(first)
    assert read_bundle(first).name == "n"
    with pytest.raises(UsageError, match=r"must end in \.tar\.gz"):
        archive(first, tmp_path / "x.zip")


def test_a_bundle_that_names_a_file_elsewhere_is_refused(tmp_path: Path) -> None:
    files = {"model": "../../model.onnx"}
    write_bundle(tmp_path, Bundle(kind="triton", name="n", target="t", model="m", model_name="m", files=files))
    with pytest.raises(InputError, match="is no path below"):
        read_bundle(tmp_path)
