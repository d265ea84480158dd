"""Write a file whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from quantlab.errors import InputError, MachineError

_REASONS = {
    errno.ENOSPC: "no space is left on the device; free some or write elsewhere",
    errno.EDQUOT: "the disk quota is used up; free some space or write elsewhere",
    errno.EFBIG: "the file system does not take a file of this size; write elsewhere",
    errno.EROFS: "the file system is read-only; write elsewhere",
    errno.EACCES: "permission is denied; change the folder's permissions or write elsewhere",
    errno.EPERM: "permission is denied; change the folder's permissions or write elsewhere",
    errno.ENOTDIR: "a part of the path is a file, not a folder; choose another path",
    errno.EEXIST: "a part of the path is a file, not a folder; choose another path",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
    errno.EIO: "the device reports an input/output error; check the disk or write elsewhere",
}
_LONGEST_STEM = 64  # a file name may have 255 bytes; 64 characters and the random part stay below that


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, where they are not there yet.

    Raises
    ------
    MachineError
        When it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = _REASONS.get(error.errno or 0, "the file system takes no folder there; write elsewhere")
        raise MachineError(f"The folder '{folder}' cannot be created: {reason}.") from error


def check_place(path: Path) -> None:
    """Refuse a file that could not be written, before the work for it is done.

    Raises
    ------
    MachineError
        When its folder, or the one in which that is to be made, takes no files.
    """
    there = next(folder for folder in path.absolute().parents if folder.exists())
    if there.is_dir() and not os.access(there, os.W_OK | os.X_OK):
        said = "does not let you write (its permissions, or a read-only file system); write elsewhere"
        raise MachineError(f"Cannot write '{path}': the folder '{there}' {said}.")


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside `path`; what is written there takes the place of `path` on success.

    Missing parent folders are made. The temporary path keeps the suffix of `path`, does not exist yet, and the
    block must create it. After the block the file is flushed to the disk and renamed over `path` in one step:
    a reader sees the old file or the new one, never a part. If the block raises (Ctrl-C too), the temporary file
    is removed and `path` stays as it was.

    Raises
    ------
    InputError
        `path` is a folder.
    MachineError
        No space, no permission, a read-only or failing device.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.stem[:_LONGEST_STEM]}-{secrets.token_hex(8)}{target.suffix}")
    try:
        if target.is_dir():
            raise InputError(f"Cannot write '{target}': it is a folder; give the name of a file.")
        if not target.parent.is_dir():
            make_folder(target.parent)
        yield temporary
        _flush(temporary)
        temporary.replace(target)
        _flush(target.parent)
    except OSError as error:
        _remove(temporary)
        if error.errno not in _REASONS or not _concerns(error, temporary, target):
            raise
        raise MachineError(f"Cannot write '{target}': {_REASONS[error.errno]}.") from error
    except BaseException:
        _remove(temporary)
        raise


def remove_unfinished(path: Path) -> None:
    """Delete temporary files of `atomic_path(path)`, and of a sidecar «name.ending» of it, that a killed process left.

    Only for whoever holds `path`, so that no other process is writing it.
    """
    names = "|".join(re.escape(text[:_LONGEST_STEM]) for text in (path.stem, path.name))
    pattern = re.compile(rf"\.(?:{names})-[0-9a-f]{{16}}(?:{re.escape(path.suffix)}|\.[a-z0-9]+)")
    try:
        found = [entry for entry in path.parent.iterdir() if pattern.fullmatch(entry.name)]
    except OSError:
        return  # there is no folder, so nothing in it
    for entry in found:
        _remove(entry)


def _flush(path: Path) -> None:
    """Wait until the contents of a file, or the entries of a folder, are on the disk."""
    if path.is_dir() and os.name == "nt":
        return  # Windows cannot open folders; its rename is durable without
    handle = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems have no fsync
            raise
    finally:
        os.close(handle)


def _concerns(error: OSError, temporary: Path, target: Path) -> bool:
    """Tell whether an error is about writing here; the block may also have read files of its own."""
    if error.filename is None:
        return True
    named = Path(os.fsdecode(error.filename)) if not isinstance(error.filename, int) else target
    return named in (temporary, target, *target.parents)


def _remove(temporary: Path) -> None:
    try:
        temporary.unlink(missing_ok=True)
    except OSError:
        return  # the folder itself is gone or unreachable: there is nothing left to clean, and an error to report
