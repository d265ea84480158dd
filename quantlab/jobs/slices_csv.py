"""Reads which sample is in which slice, from a CSV file with a header."""

from pathlib import Path

from quantlab.errors import InputError
from quantlab.storage.text import read_rows

SAMPLE = ("sample", "name", "key")
"""What the column of the samples may be called; it holds names, or the 16 hexadecimal digits of their keys."""

SLICE = "slice"
_LONGEST = 200


def read_slices(path: Path, by: str, column: str | None = None) -> dict[str, str]:
    """Return each sample's slice by the sample's name or key; a sample whose slice is empty is left out.

    Parameters
    ----------
    by
        What the slices are called: the column of this name is taken, else the one called «slice».
    column
        The column to take instead.

    Raises
    ------
    InputError
        When the file cannot be read, lacks a column, has a row of another length, or puts a sample into two slices; the
        line is named.
    """
    rows = read_rows(path, "a CSV of slices")
    header = [cell.strip() for cell in next(rows, (0, []))[1]]
    first = next((name for name in SAMPLE if name in header), None)
    taken = column or (by if by in header and by not in SAMPLE else SLICE)
    if first is None or taken not in header or len(set(header)) < len(header):
        raise InputError(
            f"'{path}' needs a header with a column «sample» (or «name», «key») and a column «{taken}», each once; it has "
            f"{', '.join(f'«{name}»' for name in header[:9]) or 'none'}."
        )
    one, two = header.index(first), header.index(taken)
    found: dict[str, str] = {}
    for line, row in rows:
        sample, part = row[one].strip(), row[two].strip()
        if len(part) > _LONGEST:
            raise InputError(f"'{path}', line {line}: a slice's name has at most {_LONGEST} characters.")
        if part and found.setdefault(sample, part) != part:
            raise InputError(
                f"'{path}', line {line}: the sample «{sample}» is in the slices «{found[sample]}» and «{part}»."
            )
    if not found:
        raise InputError(f"'{path}' puts no sample into a slice: «{taken}» is empty in every row.")
    return found
