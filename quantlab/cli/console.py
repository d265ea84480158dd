"""What the command line prints: results on stdout, everything else on stderr."""

import json
import math
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from quantlab.errors import LONGEST

if TYPE_CHECKING:
    from quantlab.jobs.step import Made

MOST_ROWS = 10_000
"""Rows of a table that are printed: laying out more takes minutes, and nobody reads them."""


@dataclass(frozen=True, slots=True)
class Output:
    """Where a command's words go.

    Attributes
    ----------
    as_json
        One JSON object on stdout instead of text and tables.
    quiet
        No text, no progress: errors only.
    """

    as_json: bool = False
    quiet: bool = False

    def say(self, text: str) -> None:
        """Print a line of the result; paths and names are kept whole."""
        if not (self.as_json or self.quiet):
            _stdout().print(printable(text), soft_wrap=True, markup=False, highlight=False)

    def made(self, made: "Made", summary: str = "") -> None:
        """Print what became of an artefact, and the notes on it."""
        self.remarks(made.notes)
        if made.fresh:
            self.say(f"{made.path} written" + (f": {summary}." if summary else "."))
        else:
            self.say(f"{made.path} is current: nothing changed, nothing done" + (f" ({summary})." if summary else "."))

    def note(self, text: str) -> None:
        """Print a remark on stderr."""
        if not self.quiet:
            stderr().print(printable(text), soft_wrap=True, markup=False, highlight=False)

    def remarks(self, notes: Iterable[str]) -> None:
        """Print the sentences that the user should read, on stderr."""
        for text in notes:
            self.note(f"Note: {text}")

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Print a table: the first column is text, numbers stand on the right; units are in the headers."""
        if self.as_json or self.quiet:
            return
        table = Table(show_edge=False, pad_edge=False)
        every = iter(rows)
        body = [[cell(value) for value in row] for row in islice(every, MOST_ROWS)]
        left = sum(1 for _ in every)
        for index, name in enumerate(columns):
            text = index == 0 or any(not _is_number(row[index]) for row in body)
            table.add_column(Text(name), justify="left" if text else "right", overflow="fold")
        for row in body:
            table.add_row(*(Text(value) for value in row))
        if left:
            table.add_row(f"… {left:,} more; --json has them all")
        screen = _stdout()
        if screen.is_terminal:
            screen.print(table)
            return
        with screen.capture() as drawn:
            screen.print(table)
        sys.stdout.writelines(f"{line.rstrip()}\n" for line in drawn.get().splitlines())

    def result(self, fields: Mapping[str, Any]) -> None:
        """Print the JSON object, if one was asked for."""
        if self.as_json:
            sys.stdout.write(json.dumps(_plain(fields), allow_nan=False, indent=1) + "\n")


def stderr() -> Console:
    """Return a console for stderr, whatever it is at the moment."""
    return Console(stderr=True)


def print_error(text: str, *, label: str = "Error: ") -> None:
    """Print what went wrong on stderr, on one line."""
    line = Text.assemble((label, "bold red"), printable(" ".join(text.split())))
    stderr().print(line, soft_wrap=True, highlight=False)


def print_error_json(text: str, code: int) -> None:
    """Print what went wrong as the one JSON object on stdout; a stdout that takes nothing has no say any more."""
    with suppress(OSError):
        sys.stdout.write(json.dumps({"error": " ".join(text.split()), "exit_code": code}, indent=1) + "\n")


def cell(value: object) -> str:
    """Return a value as a table shows it; a number as it was rounded by the caller."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else str(value)
    return (
        f"{value:,}"
        if isinstance(value, int) and not isinstance(value, bool)
        else printable(str(value)[:LONGEST]).replace("\n", r"\n")
    )


def printable(text: str) -> str:
    """Return a text that changes nothing in a terminal but what it shows: names come from strangers' models."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def _stdout() -> Console:
    # Piped, rich would assume 80 columns and break lines; a file takes them whole, unless its reader names a width.
    if sys.stdout.isatty() or re.fullmatch("[1-9][0-9]{1,4}", os.environ.get("COLUMNS", "")):
        return Console()
    return Console(width=200)


def _is_number(text: str) -> bool:
    return text in ("–", "inf", "-inf", "nan") or text[:1].isdigit() or (text[:1] in "+−-" and text[1:2].isdigit())


def _plain(value: Any) -> Any:
    """Return a value that JSON can hold: infinities and NaN become text, as everywhere in quantlab's files."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    return value if isinstance(value, str | int | float | bool | None) else str(value)
