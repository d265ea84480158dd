"""Text files: read strictly as UTF-8, written whole or not at all."""

import csv
import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import TypeAlias

from quantlab.atomic import atomic_path
from quantlab.errors import InputError

StrPath: TypeAlias = str | os.PathLike[str]

LARGEST = 1 << 26
"""Bytes of the largest text that is read: as JSON it may take twenty times as much; a table of a million channels has half of it."""


def read_text(path: StrPath, what: str, *, largest: int = LARGEST) -> str:
    """Return a file's text, line ends as they are; `what` says what it should be, as in «a scale table».

    Raises
    ------
    InputError
        When there is no such file, it may not be read, is too large or is not UTF-8.
    """
    source = Path(path)
    check_file(source, what)
    try:
        size = source.stat().st_size
        if size > largest:
            raise InputError(f"'{source}' has {size:,} bytes; {what} has at most {largest:,}: give another file.")
        return source.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"'{source}' is not {what}: it is no UTF-8 text (byte {error.start}); give another file."
        ) from error
    except OSError as error:
        raise InputError(f"'{source}' cannot be read: {error.strerror or error}; it should be {what}.") from error


def read_rows(path: StrPath, what: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the line number and the cells of each row of a CSV file that is not empty, its header first.

    All rows have as many cells as the header, each of at most 131,072 characters (the csv module's limit).

    Raises
    ------
    InputError
        As for `read_text`, and for a row of another length or text that is no CSV; the line is named.
    """
    reader = csv.reader(StringIO(read_text(path, what).removeprefix("\ufeff"), newline=""), strict=True)
    due = 0
    try:
        for row in filter(None, reader):
            due = due or len(row)
            if len(row) != due:
                raise InputError(
                    f"'{path}', line {reader.line_num}: {due} cells are due, as in the header, not {len(row)}."
                )
            yield reader.line_num, row
    except csv.Error as error:
        raise InputError(f"'{path}', line {reader.line_num}, cannot be read as CSV: {error}.") from error


def check_file(path: Path, what: str) -> None:
    """Refuse a path that leads to no regular file.

    Raises
    ------
    InputError
        Naming the path and what should be there.
    """
    try:
        if path.is_file():
            return
        found = path.exists()
    except (OSError, ValueError) as error:  # a name that is too long, or holds a NUL
        raise InputError(f"'{path}' cannot be the path of {what}: {error}.") from error
    if path.is_dir():
        raise InputError(f"'{path}' is a folder: give the path of {what}.")
    if found:
        raise InputError(f"'{path}' is not a regular file: give the path of {what}.")
    raise InputError(f"There is no file '{path}': give the path of {what}.")


def write_text(path: StrPath, text: str) -> None:
    """Write UTF-8, line ends as they are, whole or not at all.

    Raises
    ------
    InputError
        When the text holds half a surrogate pair, which UTF-8 cannot express.
    MachineError
        No space, no permission.
    """
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError as error:
        place = text[max(0, error.start - 30) : error.start]
        raise InputError(
            f"'{path}' cannot be written: half a surrogate pair follows «{place}»; rename that tensor in the model."
        ) from error
    write_bytes(path, data)


def write_bytes(path: StrPath, data: bytes) -> None:
    """Write a file whole or not at all.

    Raises
    ------
    MachineError
        No space, no permission.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


@contextmanager
def located(place: str) -> Iterator[None]:
    """Put the place, such as a file's name, before what is wrong with a value read there."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{place}: {error}") from error
