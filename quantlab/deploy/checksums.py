"""`SHA256SUMS` of a folder, as `sha256sum -c` reads it: a line a file, «digest  path», sorted by path."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from quantlab.errors import InputError, StaleError
from quantlab.storage.file_digest import file_digest
from quantlab.storage.text import read_text, write_text

NAME = "SHA256SUMS"
_MOST_FILES = 10_000
_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")
_LARGEST = 1 << 22


def safe_path(text: str) -> str:
    r"""Return a path of a bundle's file: relative, with «/», below the folder.

    Raises
    ------
    InputError
        For any other, such as «../x», «/x» or «a\\b».
    """
    path = PurePosixPath(text)
    hidden = "\\" in text or not text.isprintable() or ":" in text
    if not text or hidden or path.is_absolute() or ".." in path.parts or path.as_posix() != text or text == ".":
        raise InputError(f"«{text[:80]}» is no path below a bundle's folder: for safety nothing of it was read.")
    return text


def file_at(folder: Path, path: str) -> Path:
    """Return a bundle's file, which is a regular one in its folder.

    Raises
    ------
    InputError
        When the path leads elsewhere, also by a symbolic link, or there is no file.
    """
    file = folder / safe_path(path)
    links = [part for part in (file, *file.parents) if part != folder and folder in part.parents and part.is_symlink()]
    if links:
        raise InputError(
            f"'{links[0]}' is a symbolic link, and a bundle's files lie in its folder: copy the file there."
        )
    if not file.is_file():
        raise InputError(f"The bundle '{folder}' lacks its file '{path}': copy the whole folder, or deploy again.")
    return file


def sha256(path: Path) -> str:
    """Return the 64 hex digits of a file's SHA-256."""
    return file_digest(path).partition(":")[2]


def files_in(folder: Path) -> Iterator[str]:
    """Yield every file below a folder but `SHA256SUMS` itself, as a relative path with «/», sorted."""
    found = (path for path in folder.rglob("*") if not path.is_dir() or path.is_symlink())
    yield from sorted(name for path in found if (name := path.relative_to(folder).as_posix()) != NAME)


def write_sums(folder: Path) -> None:
    """Write the checksums of all that lies in a folder.

    Raises
    ------
    MachineError
        No space, no permission.
    """
    write_text(folder / NAME, "".join(f"{sha256(folder / name)}  {name}\n" for name in files_in(folder)))


def read_sums(folder: Path) -> Mapping[str, str]:
    """Return the digests by path that a folder's `SHA256SUMS` lists.

    Raises
    ------
    InputError
        When it is missing or damaged, or names a path twice or outside the folder.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(
        read_text(folder / NAME, "a bundle's checksums", largest=_LARGEST).split("\n"), start=1
    ):
        if not line:
            continue
        match = _LINE.fullmatch(line)
        if match is None or match[2] in found or len(found) >= _MOST_FILES:
            raise InputError(f"Line {number} of '{folder / NAME}' is no «digest  path» of another file: «{line[:80]}».")
        found[safe_path(match[2])] = match[1]
    return found


def check_sums(folder: Path) -> tuple[str, ...]:
    """Refuse a folder whose files are not those that its `SHA256SUMS` lists; return the paths of these.

    Raises
    ------
    InputError
        When a file is missing, or `SHA256SUMS` is missing or damaged.
    StaleError
        When a file was changed.
    """
    sums = read_sums(folder)
    for name, digest in sums.items():
        if sha256(file_at(folder, name)) != digest:
            raise StaleError(
                f"'{folder / name}' was changed after the bundle was made ({NAME} has another digest): deploy again, or copy "
                "the folder again."
            )
    return tuple(sums)
