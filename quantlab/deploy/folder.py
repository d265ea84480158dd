"""Writes a bundle's folder whole or not at all, having checked it; and as one archive."""

from __future__ import annotations

import gzip
import os
import secrets
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

from quantlab.atomic import atomic_path
from quantlab.deploy.bundle import NAME as BUNDLE
from quantlab.deploy.bundle import read_bundle
from quantlab.deploy.checksums import NAME as SUMS
from quantlab.deploy.checksums import check_sums, files_in, read_sums, write_sums
from quantlab.deploy.names import folder_name
from quantlab.errors import InputError, QuantlabError, StaleError, UsageError

_PROGRAMS = (".sh", ".py")


def put(
    folder: Path,
    fill: Callable[[Path], None],
    check: Callable[[Path], None],
    *,
    force: bool = False,
    workshop: Path | None = None,
) -> bool:
    """Make a bundle's folder, unless it is there with these bytes; tell whether it was made.

    It is filled, given its checksums and checked elsewhere, and renamed to its place: nobody sees a part of it.

    Parameters
    ----------
    folder
        Where it goes; where that is a link, what it leads to.
    fill
        Writes the files into the folder that it is given.
    check
        Refuses a folder that is no working bundle.
    force
        Replace a bundle that differs, with all that lies in its folder.
    workshop
        The folder on the same disk in which it is made; by default the one around it.

    Raises
    ------
    StaleError
        When another bundle, or an edited one, is there and `force` is not given.
    InputError
        When something is there that is no bundle; it is never deleted.
    UsageError
        For the current folder.
    """
    shown, folder = folder, folder.resolve()
    if folder == Path.cwd():
        raise UsageError(f"'{shown}' is the current folder, which would be replaced: go elsewhere and name it.")
    if folder.exists():
        _check_ours(shown)
    temporary = (workshop or folder.parent) / f".{folder.name[:64]}-{secrets.token_hex(8)}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        temporary.mkdir()
        fill(temporary)
        write_sums(temporary)
        _make_executable(temporary)
        check(temporary)
        if folder.exists() and _is_same(folder, temporary):
            return False
        if folder.exists() and any(folder.iterdir()) and not force:
            raise StaleError(
                f"'{shown}' is another bundle, or was changed since it was made: give --force to make it anew, or another "
                "output."
            )
        _exchange(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return True


def archive(folder: Path, target: Path) -> None:
    """Write a bundle as .tar.gz: equal folders make equal bytes (with the same zlib), as no owner and no time is in it.

    What lies in the folder and is not in `SHA256SUMS`, for instance a plan built there, is left out.

    Raises
    ------
    UsageError
        For another suffix.
    MachineError
        No space, no permission.
    """
    if not target.name.endswith(".tar.gz"):
        raise UsageError(f"The archive '{target}' must end in .tar.gz.")
    with (
        atomic_path(target) as temporary,
        temporary.open("wb") as raw,
        gzip.GzipFile("", "wb", compresslevel=9, fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        top = folder_name(folder)
        for name in sorted((SUMS, *read_sums(folder))):
            entry = tarfile.TarInfo(f"{top}/{name}")
            entry.size = (folder / name).stat().st_size
            entry.mode = 0o755 if name.endswith(_PROGRAMS) else 0o644
            with (folder / name).open("rb") as file:
                tar.addfile(entry, file)


def _check_ours(folder: Path) -> None:
    if not folder.is_dir():
        raise InputError(f"'{folder}' is a file: name a folder to write.")
    if not any(folder.iterdir()):
        return
    try:
        read_bundle(folder)
    except QuantlabError as error:
        raise InputError(
            f"'{folder}' exists and is no bundle of quantlab (no readable {BUNDLE}): it stays as it is; give another output."
        ) from error


def _make_executable(folder: Path) -> None:
    for name in files_in(folder):
        (folder / name).chmod(0o755 if name.endswith(_PROGRAMS) else 0o644)


def _is_same(folder: Path, other: Path) -> bool:
    try:
        check_sums(folder)
        return read_sums(folder) == read_sums(other)
    except QuantlabError:
        return False


def _exchange(temporary: Path, folder: Path) -> None:
    """Rename the new folder to its place; an old one is set aside first and comes back if that fails."""
    for path in (temporary, *temporary.rglob("*")):
        _flush(path)
    aside = temporary.with_name(f"{temporary.name}-old")
    had = folder.exists()
    if had:
        folder.rename(aside)
    try:
        temporary.rename(folder)
    except OSError:
        if had:
            aside.rename(folder)
        raise
    _flush(folder.parent)
    shutil.rmtree(aside, ignore_errors=True)


def _flush(path: Path) -> None:
    if os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:
        return  # some network file systems have no fsync
    finally:
        os.close(handle)
