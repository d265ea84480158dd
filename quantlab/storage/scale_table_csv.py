"""The rows of a scale table as CSV, for spreadsheets; provenance and cache header are not kept."""

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, get_args

from quantlab.calibration.ranges import Range
from quantlab.calibration.scale_table import Role, Scale, ScaleTable
from quantlab.errors import InputError
from quantlab.storage.float_text import nearest_float32
from quantlab.storage.shape_text import parse_shape, render_shape
from quantlab.storage.text import LARGEST, StrPath, located, read_text, write_text


def write_scale_table_csv(path: StrPath, table: ScaleTable) -> None:
    """Write a line a tensor (RFC 4180), every number with all its digits.

    The scales and zero points of a tensor's channels are joined by spaces, a shape is a JSON array, and an empty cell
    is what is not known.

    Raises
    ------
    InputError
        When a name cannot be written as UTF-8, or holds the character NUL.
    MachineError
        No space, no permission.
    """
    text = io.StringIO(newline="")
    # The default line end: with another one, Python 3.10 leaves a carriage return in a name unquoted.
    writer = csv.writer(text)
    writer.writerow(_READERS)
    for row in table.rows:
        if "\0" in row.tensor + row.method:
            raise InputError(f"Tensor {row.tensor!r} has the character NUL in its row, which CSV cannot hold.")
        writer.writerow(_cells(row))
    write_text(path, text.getvalue())


def read_scale_table_csv(path: StrPath) -> ScaleTable:
    """Return the rows in a file, each scale read to the nearest float32; the provenance is None.

    Raises
    ------
    InputError
        When the file is missing or damaged, a column is missing or unknown, or a cell cannot be: naming line and column.
    """
    text = read_text(path, "a scale table in CSV").removeprefix("\ufeff")  # spreadsheets put a byte order mark
    with located(f"'{path}'"), _long_cells():
        lines = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        try:
            _check_columns(lines.fieldnames or ())
            return ScaleTable(tuple(_row(cells, lines.line_num) for cells in lines))
        except csv.Error as error:
            raise InputError(f"line {lines.reader.line_num} is no CSV: {error}.") from error


def _cells(row: Scale) -> tuple[str, ...]:
    bounds = [(known.low, known.high) if known else (None, None) for known in (row.observed, row.chosen)]
    return (
        row.tensor,
        row.role,
        row.dtype,
        row.scheme,
        "" if row.axis is None else str(int(row.axis)),
        " ".join(_float_cell(value) for value in row.scale),
        " ".join(str(int(value)) for value in row.zero_point),
        render_shape(row.shape),
        *(_float_cell(value) for pair in bounds for value in pair),
        _float_cell(row.clipped),
        _float_cell(row.sqnr_db),
        row.method,
    )


def _float_cell(value: float | None) -> str:
    return "" if value is None else repr(float(value))


@contextmanager
def _long_cells() -> Iterator[None]:
    """Let a cell be as long as the file may: a layer with ten thousand channels passes csv's default of 128 KiB."""
    before = csv.field_size_limit(LARGEST)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _check_columns(found: Sequence[str]) -> None:
    missing = [name for name in _READERS if name not in found]
    unknown = [name for name in found if name not in _READERS]
    if missing or len(found) != len(_READERS):
        wrong = f"lacks {', '.join(missing)}" if missing else f"has {', '.join(unknown) or 'a column twice'}"
        raise InputError(f"the first line {wrong}; the columns of a scale table are {', '.join(_READERS)}.")


def _row(cells: Mapping[str | None, Any], line: int) -> Scale:
    with located(f"line {line}"):
        if None in cells or None in cells.values():
            raise InputError(f"the first line has {len(_READERS)} cells, this one more or fewer.")
        values = {column: _value(column, cells) for column in _READERS}
        for name in ("observed", "chosen"):
            values[name] = _range(name, values.pop(f"{name}_low"), values.pop(f"{name}_high"))
        return Scale(**values)


def _value(column: str, cells: Mapping[str | None, Any]) -> Any:
    try:
        return _READERS[column](cells[column])
    except ValueError as error:
        raise InputError(f"«{column}» of «{cells['tensor']}» is «{cells[column][:60]}»: {error}.") from error


def _range(name: str, low: float | None, high: float | None) -> Range | None:
    if low is None or high is None:
        if low is not high:
            raise InputError(f"of {name}_low and {name}_high one is empty; give both or neither.")
        return None
    return Range(low, high)


def _scales(text: str) -> tuple[float, ...]:
    return tuple(nearest_float32(float(part)) for part in text.split(" "))


def _integers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(" "))


def _known_integer(text: str) -> int | None:
    return int(text) if text else None


def _known_float(text: str) -> float | None:
    return float(text) if text else None


def _one_of(*choices: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(f"it must be one of {', '.join(choices)}")
        return text

    return read


_READERS: dict[str, Callable[[str], Any]] = {
    "tensor": str,
    "role": _one_of(*get_args(Role)),
    "dtype": _one_of("int8", "uint8"),
    "scheme": _one_of("symmetric", "affine"),
    "axis": _known_integer,
    "scale": _scales,
    "zero_point": _integers,
    "shape": parse_shape,
    "observed_low": _known_float,
    "observed_high": _known_float,
    "chosen_low": _known_float,
    "chosen_high": _known_float,
    "clipped": _known_float,
    "sqnr_db": _known_float,
    "method": str,
}
"""The columns in order, and how their cells are read; empty is None where a value need not be known."""
