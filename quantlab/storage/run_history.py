"""A history of runs: one SQLite file in a folder, appended to by any number of commands at once."""

import json
import os
import sqlite3
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pydantic import TypeAdapter, ValidationError

from quantlab.errors import InputError, MachineError
from quantlab.storage.run_record import LONGEST, History, RunRecord

FILE = "runs.sqlite"
MOST = 100_000
"""Runs that a history holds at most."""

LARGEST = 1 << 28
"""Bytes of the largest file that is opened."""

WAIT_S = 30.0
_LARGEST_CELL = 1 << 20  # bytes
_VERSION = 1
_OURS = 0x716C6869  # «qlhi», in the file's header
_TEXTS = ("name", "label", "place", "model_name", "data_name", "method", "backend", "metric", "unit", "against")
_KINDS = {"samples": "INTEGER", "fp32_bytes": "INTEGER", "int8_bytes": "INTEGER"} | dict.fromkeys(
    ("fp32", "int8", "drop", "low", "high", "agreement", "sqnr_db", "fp32_ms", "int8_ms"), "REAL"
)
_NAMES = tuple(item.name for item in fields(RunRecord) if item.name != "number")
_COLUMNS = ", ".join(f'"{name}" {_KINDS.get(name, "TEXT")}' for name in _NAMES)
_TABLE = f'CREATE TABLE runs (number INTEGER PRIMARY KEY, {_COLUMNS}, UNIQUE ("digest", "label"))'
_QUOTED = ", ".join(f'"{name}"' for name in _NAMES)
_RECORD = TypeAdapter(RunRecord)


def history(folder: str | os.PathLike[str] = "reports/history") -> History:
    """Return the runs in a history's folder, the first added first.

    Raises
    ------
    InputError
        When there is none, or its file is damaged, foreign or of a newer quantlab.
    MachineError
        When it cannot be opened, or another command holds it for half a minute.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        raise InputError(f"There is no history in '{Path(folder)}': `quantlab history add RUN` begins one.")
    with _opened(path, writable=False) as connection:
        rows = connection.execute(f"SELECT number, {_QUOTED} FROM runs ORDER BY number LIMIT {MOST + 1}").fetchall()
    if len(rows) > MOST:
        raise InputError(f"'{path}' holds more than {MOST:,} runs: it was not written by quantlab alone.")
    return History(Path(folder), tuple(_record(path, row) for row in rows))


def add_record(folder: Path, record: RunRecord) -> tuple[RunRecord, bool]:
    """Append a run, and return it with its number, and whether it is new.

    A run of the same comparison and label is not added twice; its verdict takes the place of the former one.

    Raises
    ------
    InputError
        When the file there is damaged, foreign, full or of a newer quantlab.
    MachineError
        No space, no permission, or another command holds it for half a minute.
    """
    path = folder / FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MachineError(f"The history's folder '{folder}' cannot be made: {error.strerror or error}.") from error
    texts: dict[str, Any] = {name: _cut(getattr(record, name)) for name in _TEXTS}
    bounded = replace(record, **texts)
    with _opened(path, writable=True) as connection:
        key = (bounded.digest, bounded.label)
        known = connection.execute("SELECT number FROM runs WHERE digest = ? AND label = ?", key).fetchone()
        if known is not None:
            if bounded.verdict:
                words = (bounded.verdict, bounded.against, known[0])
                connection.execute("UPDATE runs SET verdict = ?, against = ? WHERE number = ?", words)
            return replace(bounded, number=known[0]), False
        if connection.execute("SELECT count(*) FROM runs").fetchone()[0] >= MOST:
            raise InputError(f"'{path}' holds {MOST:,} runs, as many as it takes: begin a history in another folder.")
        marks = ", ".join("?" * len(_NAMES))
        done = connection.execute(f"INSERT INTO runs ({_QUOTED}) VALUES ({marks})", _cells(bounded))
    return replace(bounded, number=done.lastrowid or 0), True


@contextmanager
def _opened(path: Path, *, writable: bool) -> Iterator[sqlite3.Connection]:
    """Give a connection within one transaction, after a look at what the file is."""
    _check_file(path)
    mode = "rwc" if writable else "ro"
    try:
        address = f"file:{quote(str(path.absolute()))}?mode={mode}"
        with closing(sqlite3.connect(address, uri=True, timeout=WAIT_S, isolation_level=None)) as connection:
            if sys.version_info >= (3, 11):  # a damaged length asks for memory up to this
                connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LARGEST_CELL)
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute("BEGIN IMMEDIATE" if writable else "BEGIN")
            _check_ours(path, connection, writable=writable)
            yield connection
            connection.execute("COMMIT")
    except sqlite3.OperationalError as error:
        raise MachineError(_refusal(path, error)) from error
    except (sqlite3.DatabaseError, UnicodeDecodeError, OverflowError) as error:
        raise InputError(
            f"'{path}' is no history, or it is damaged ({error}): move it away, and add runs anew."
        ) from error
    except MemoryError:  # what SQLite says, without asking for any, where a table's definition is cut short
        raise InputError(f"'{path}' is no history, or it is damaged: move it away, and add runs anew.") from None


def _refusal(path: Path, error: sqlite3.OperationalError) -> str:
    if "locked" in str(error):
        return f"Another command has held '{path}' for {WAIT_S:.0f} seconds: try again when it has ended."
    return f"'{path}' cannot be used ({error}): check the disk and its permissions, or give another folder."


def _check_file(path: Path) -> None:
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"'{path}' is no file, so no history: give another folder.")
        size = path.stat().st_size if path.exists() else 0
    except OSError as error:
        raise MachineError(f"'{path}' cannot be used: {error.strerror or error}.") from error
    if size > LARGEST:
        raise InputError(f"'{path}' has {size:,} bytes; a history has at most {LARGEST:,}: it is something else.")


def _check_ours(path: Path, connection: sqlite3.Connection, *, writable: bool) -> None:
    """Refuse another program's file, and one whose table is not ours to the letter; make it in an empty file."""
    (mark,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    held = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL LIMIT 9").fetchall()
    if (mark, version, held) == (0, 0, []) and writable:
        connection.execute(f"PRAGMA application_id = {_OURS}")
        connection.execute(f"PRAGMA user_version = {_VERSION}")
        connection.execute(_TABLE)
    elif mark != _OURS:
        raise InputError(f"'{path}' is another program's file, and no history of quantlab: give another folder.")
    elif version > _VERSION:
        raise InputError(
            f"'{path}' was written by a newer quantlab: it has version {version} of its format, and this one reads "
            f"{_VERSION}. Update quantlab."
        )
    elif held != [(_TABLE,)]:
        raise InputError(f"'{path}' has been changed: its table is not as quantlab makes it. Give another folder.")


def _cells(record: RunRecord) -> tuple[Any, ...]:
    versions = json.dumps(dict(record.versions), sort_keys=True)
    return tuple(versions if name == "versions" else getattr(record, name) for name in _NAMES)


def _record(path: Path, row: tuple[Any, ...]) -> RunRecord:
    """Return a row as a record, every cell checked."""
    found = dict(zip(("number", *_NAMES), row, strict=True))
    try:
        if any(isinstance(value, str) and len(value) > 64 * LONGEST for value in row):
            raise ValueError("a text is too long")
        versions = json.loads(found["versions"])
        return _RECORD.validate_json(json.dumps(found | {"versions": versions}), strict=True)
    except (ValidationError, ValueError, TypeError, RecursionError) as error:
        reason = _first(error) if isinstance(error, ValidationError) else str(error)
        raise InputError(f"'{path}', run {row[0]!r:.20}: {reason}; the file was edited or damaged.") from error


def _first(error: ValidationError) -> str:
    first: Mapping[str, Any] = error.errors(include_url=False)[0]
    return f"the field «{'.'.join(map(str, first['loc']))}» is {first['input']!r:.40}: {first['msg']}"


def _cut(text: str) -> str:
    """Return a text that UTF-8 can hold, at most as long as a record's."""
    plain = text.encode("utf-8", "backslashreplace").decode()
    return plain if len(plain) <= LONGEST else f"{plain[: LONGEST - 1]}…"
