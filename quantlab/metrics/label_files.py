"""Labels out of files: COCO's annotations (.json), texts, numbers, classes and pairs (.csv), masks (.npz, .npy)."""

from collections.abc import Callable, Mapping, Sequence
from math import isfinite, prod
from pathlib import Path
from typing import Any

import numpy as np

from quantlab.data.array_files import read_columns
from quantlab.data.preprocess import Preprocess
from quantlab.errors import InputError
from quantlab.metrics.detection.coco_labels import read_coco
from quantlab.metrics.labels import Labels, NamedLabels, PairLabels, RowLabels, stacked
from quantlab.metrics.pair_correlation import pair_labels
from quantlab.storage.text import read_rows

_LARGEST_ARRAY = 1 << 30
_KEYS = ("label", "labels", "mask", "masks")


def read_labels(path: Path, preprocess: Preprocess | None = None) -> Labels:
    """Return the labels in a file.

    Parameters
    ----------
    path
        A .json file is COCO's annotations. A .csv file has a header: «name,text», «name,value» or «name,label», or one of
        these columns alone for labels in the data's order; «first,second,value» judges pairs of samples, by their names
        or, where all are whole numbers, by their places from 0. A .npz or .npy file has one array of numbers, a row a
        sample, or one called label, labels, mask or masks.
    preprocess
        How images reach the network, which moves boxes too.

    Raises
    ------
    InputError
        When the file is missing, damaged, of another kind or larger than 64 MiB (arrays: 1 GiB), or lists a name twice.
    """
    suffix = path.suffix.lower()
    if suffix == ".json":
        return read_coco(path, preprocess).labels
    if suffix == ".csv":
        return _csv(path)
    if suffix in (".npz", ".npy"):
        return RowLabels(_array(path))
    raise InputError(f"Labels are read from .json (COCO), .csv, .npz and .npy files, not from '{path}'.")


def _csv(path: Path) -> Labels:
    (_, names), *rows = list(read_rows(path, "a table of labels")) or [(1, [])]
    if not rows:
        raise InputError(f"'{path}' holds no labels: write a header and a row a sample.")
    header = [name.strip().lower() for name in names]
    if header == ["first", "second", "value"]:
        return _pairs(rows, path)
    if len(header) not in (1, 2) or header[-1] not in _KINDS or header[:-1] not in ([], ["name"]):
        raise InputError(
            f"'{path}' has the columns {','.join(header) or 'none'}; labels are name,text or name,value or name,label (or the "
            "last alone, in the data's order), or first,second,value."
        )
    read, dtype = _KINDS[header[-1]]
    found = [read(path, number, row[-1]) for number, row in rows]
    if len(header) == 1:
        _check_size(path, len(found) * (4 * max(map(len, found)) if dtype is str else 8))
        return RowLabels(stacked(found, dtype))
    by_name: dict[str, Any] = {}
    for (number, row), label in zip(rows, found, strict=True):
        if row[0] in by_name:
            raise InputError(f"'{path}', line {number}: «{row[0]}» has a label already.")
        by_name[row[0]] = label
    return NamedLabels(by_name, dtype, str(path))


def _text(_path: Path, _line: int, field: str) -> str:
    return field


def _value(path: Path, line: int, field: str) -> float:
    try:
        value = float(field)
    except ValueError:
        value = float("nan")
    if not isfinite(value):
        raise InputError(f"'{path}', line {line}: «{field}» is no finite number.")
    return value


def _label(path: Path, line: int, field: str) -> int:
    if not field.strip().isdecimal() or len(field.strip()) > 18:
        raise InputError(f"'{path}', line {line}: «{field}» is no class, a whole number from 0 on.")
    return int(field)


_KINDS: Mapping[str, tuple[Callable[[Path, int, str], Any], type]] = {
    "text": (_text, str),
    "value": (_value, np.float64),
    "label": (_label, np.int64),
}


def _pairs(rows: Sequence[tuple[int, list[str]]], path: Path) -> Labels:
    judged = [(one, two, _value(path, line, value)) for line, (one, two, value) in rows]
    placed = all(field.strip().isdecimal() for one, two, _ in judged for field in (one, two))
    if placed:
        numbered = [(_label(path, line, row[0]), _label(path, line, row[1])) for line, row in rows]
        count = max(max(pair) for pair in numbered) + 1
        if count > 100 * len(rows) + 1000:
            raise InputError(f"'{path}' judges sample {count - 1}, but has {len(rows)} pairs only: count from 0.")
        places = {}
    else:
        names = dict.fromkeys(name for one, two, _ in judged for name in (one, two))
        places = {name: place for place, name in enumerate(names)}
        numbered, count = [(places[one], places[two]) for one, two, _ in judged], len(places)
    table = pair_labels(count, [(one, two, value) for (one, two), (_, _, value) in zip(numbered, judged, strict=True)])
    return PairLabels(table, NamedLabels(places, int, str(path)) if places else None)


def _array(path: Path) -> Any:
    columns = read_columns(path)
    named = [key for key in columns if key in _KEYS]
    if len(columns) > 1 and len(named) != 1:
        raise InputError(f"'{path}' holds {', '.join(columns)}: call the array of labels one of {', '.join(_KEYS)}.")
    column = columns[named[0]] if named else next(iter(columns.values()), None)
    if column is None or not column.shape or column.shape[0] == 0:
        raise InputError(f"'{path}' holds no labels, a row a sample.")
    _check_size(path, prod(column.shape) * column.dtype.itemsize)
    return np.concatenate(list(column.blocks(column.shape[0])))


def _check_size(path: Path, size: int) -> None:
    """Refuse what takes too much memory; among texts, each takes as much as the longest."""
    if size > _LARGEST_ARRAY:
        raise InputError(f"The labels in '{path}' take {size:,} bytes; at most {_LARGEST_ARRAY:,} are read.")
