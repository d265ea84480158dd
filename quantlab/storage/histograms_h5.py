"""The histogram store: one HDF5 group, a column a property, a row a tensor.

Attributes: `schema`, `version`, `grid` («log-linear» or «tensorrt»), `digest` («blake2b:…» over those and the columns).
Columns of T tensors, in graph order:

| column | type | grid |
|---|---|---|
| provenance (one JSON text) | UTF-8 [1] | both |
| name; shape (JSON array, «» if not known); source (the tensor it was derived from, «» if counted) | UTF-8 [T] | both |
| counts | int64 [T, 2, 2817] or [T, 2048] | both |
| top, zeros, nan, negative_infinite, positive_infinite | int64 | log-linear |
| low, high (NaN for a tensor without a finite value) | float64 | log-linear |
| width, amax | float64 | tensorrt |
| batch; negative (0 or 1) | int64; uint8 | tensorrt |
"""

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeAlias

import h5py
import numpy as np

from quantlab.calibration.histogram_set import HistogramSet
from quantlab.calibration.provenance import Provenance
from quantlab.errors import InputError
from quantlab.hdf5_heaps import check_heaps
from quantlab.numerics import histogram, tensorrt_histogram
from quantlab.numerics.arrays import AnyArray
from quantlab.numerics.histogram import Histogram
from quantlab.numerics.tensorrt_histogram import TensorRTHistogram
from quantlab.storage.hdf5_columns import (
    count_rows,
    read_array,
    read_integer_attribute,
    read_text_attribute,
    read_texts,
    reading,
    write_array,
    write_attribute,
    write_texts,
)
from quantlab.storage.shape_text import parse_shape, render_shape
from quantlab.storage.text import StrPath, check_file, located, write_bytes

SCHEMA = "quantlab-histograms"
VERSION = 1
MOST_TENSORS = 1 << 14
"""Rows that are read: a file with more is hostile, as it would fill 740 MB."""

_WHAT = "a histogram store"
_LIBVER = ("earliest", "v110")  # fixed, so that every h5py writes the same layout
_TEXTS = ("name", "shape", "source")

Grid: TypeAlias = Literal["log-linear", "tensorrt"]
Head: TypeAlias = dict[str, str | int]
Columns: TypeAlias = dict[str, AnyArray | list[str]]

_ARRAYS: dict[Grid, dict[str, tuple[str, tuple[int, ...]]]] = {
    "log-linear": {
        "counts": ("<i8", (2, histogram.BINS)),
        "top": ("<i8", ()),
        "zeros": ("<i8", ()),
        "nan": ("<i8", ()),
        "negative_infinite": ("<i8", ()),
        "positive_infinite": ("<i8", ()),
        "low": ("<f8", ()),
        "high": ("<f8", ()),
    },
    "tensorrt": {
        "counts": ("<i8", (tensorrt_histogram.BINS,)),
        "width": ("<f8", ()),
        "amax": ("<f8", ()),
        "negative": ("u1", ()),
        "batch": ("<i8", ()),
    },
}


def write_histograms(path: StrPath, histograms: HistogramSet) -> None:
    """Write a store, whole or not at all; equal sets make equal bytes with one version of HDF5.

    Raises
    ------
    InputError
        When a tensor's name cannot be stored, or the histograms are of two grids.
    MachineError
        No space, no permission.
    """
    # In memory first: HDF5 reports a full disk in words of its own, and the store is small beside its histograms.
    image = io.BytesIO()
    with h5py.File(image, "w", libver=_LIBVER) as file:
        write(file, histograms)
    write_bytes(path, image.getvalue())


def read_histograms(path: StrPath) -> HistogramSet:
    """Return the histograms in a store, having checked that every count is as it was written.

    Raises
    ------
    InputError
        When the file is missing, truncated, edited, foreign or of a newer version, or refers to other files.
    """
    source = Path(path)
    check_file(source, _WHAT)
    with located(f"'{source}'"):
        with reading(_WHAT):
            with source.open("rb") as content:
                check_heaps(content)
            file = h5py.File(source, "r")
        with file:
            return read(file)


def write(group: h5py.Group, histograms: HistogramSet) -> None:
    """Write a store into an open group.

    Raises
    ------
    InputError
        When a tensor's name cannot be stored, the histograms are of two grids, or the group has such columns already.
    """
    grid = _grid(histograms)
    columns = _columns(histograms, grid)
    head: Head = {"schema": SCHEMA, "version": VERSION, "grid": grid}
    taken = [name for name in columns if name in group]
    if taken:
        raise InputError(f"The HDF5 group «{group.name}» has a «{taken[0]}» already: write into an empty group.")
    for name, column in columns.items():
        if isinstance(column, list):
            write_texts(group, name, column)
        else:
            write_array(group, name, column)
    for name, value in (head | {"digest": _digest(head, columns)}).items():
        write_attribute(group, name, value)


def read(group: h5py.Group) -> HistogramSet:
    """Return the histograms of an open group.

    Raises
    ------
    InputError
        When the group holds no store, one of a newer version, or one that was changed; without the file's name.
    """
    with reading(_WHAT):
        grid = _checked_grid(group)
        head: Head = {"schema": SCHEMA, "version": VERSION, "grid": grid}
        tensors = count_rows(group, "name", MOST_TENSORS)
        columns: Columns = {"provenance": read_texts(group, "provenance", 1)}
        columns |= {name: read_texts(group, name, tensors) for name in _TEXTS}
        for name, (dtype, shape) in _ARRAYS[grid].items():
            columns[name] = read_array(group, name, dtype, (tensors, *shape))
        if read_text_attribute(group, "digest") != _digest(head, columns):
            raise InputError(
                "The histograms are not as they were written: the file was damaged or edited; collect again."
            )
        return _histograms(columns, grid, Provenance.from_json(columns["provenance"][0]))


def _grid(histograms: Mapping[str, Histogram | TensorRTHistogram]) -> Grid:
    grids: set[Grid] = {"log-linear" if isinstance(one, Histogram) else "tensorrt" for one in histograms.values()}
    if len(grids) > 1:
        raise InputError("Histograms of two grids cannot be stored together: collect all on one grid.")
    return grids.pop() if grids else "log-linear"


def _columns(histograms: HistogramSet, grid: Grid) -> Columns:
    names = list(histograms)
    columns: Columns = {
        "provenance": [json.dumps(histograms.provenance.to_json(), sort_keys=True)],
        "name": names,
        "shape": [render_shape(histograms.shapes.get(name)) for name in names],
        "source": [histograms.derived.get(name, "") for name in names],
    }
    for column, (dtype, shape) in _ARRAYS[grid].items():
        values = [getattr(one, column) for one in histograms.values()]
        array = np.array(values, dtype).reshape(len(names), *shape)
        columns[column] = np.where(np.isnan(array), np.nan, array) if array.dtype.kind == "f" else array
    return columns


def _digest(head: Head, columns: Columns) -> str:
    """Hash names, types, shapes and bytes; texts with their lengths, so that none can pass for another split."""
    state = hashlib.blake2b(digest_size=32)
    state.update(json.dumps(head).encode())
    for name, column in columns.items():
        if isinstance(column, list):
            state.update(json.dumps([name, column]).encode())
        else:
            state.update(json.dumps([name, column.dtype.str, column.shape]).encode())
            state.update(np.ascontiguousarray(column).data)
    return f"blake2b:{state.hexdigest()}"


def _checked_grid(group: h5py.Group) -> Grid:
    """Return the grid of a store that this version reads."""
    if read_text_attribute(group, "schema") != SCHEMA:
        raise InputError(f"This is HDF5, but not {_WHAT} of quantlab: it lacks the attribute schema = «{SCHEMA}».")
    version = read_integer_attribute(group, "version")
    if version > VERSION:
        raise InputError(
            f"This was made by a newer quantlab: it has version {version} of its format, and this one reads up to "
            f"{VERSION}. Update quantlab, or collect again."
        )
    named = read_text_attribute(group, "grid")
    grid = next((known for known in _ARRAYS if known == named), None)
    if version < 1 or grid is None:
        raise InputError(f"The store has version {version} and grid «{named}»; quantlab never wrote such a one.")
    return grid


def _histograms(columns: Columns, grid: Grid, provenance: Provenance) -> HistogramSet:
    names, shapes, sources = ([str(text) for text in columns[column]] for column in _TEXTS)
    found: dict[str, Histogram | TensorRTHistogram] = {}
    for row, name in enumerate(names):
        if name in found:
            raise InputError(f"Tensor «{name}» has two histograms.")
        values = {column: np.asarray(columns[column])[row] for column in _ARRAYS[grid]}
        with located(f"tensor «{name}»"):
            found[name] = _log_linear(values) if grid == "log-linear" else _tensorrt(values)
    return HistogramSet(
        found,
        provenance,
        {name: shape for name, text in zip(names, shapes, strict=True) if (shape := parse_shape(text)) is not None},
        {name: source for name, source in zip(names, sources, strict=True) if source},
    )


def _log_linear(values: Mapping[str, AnyArray]) -> Histogram:
    numbers = {name: value.item() for name, value in values.items() if name != "counts"}
    counted = [numbers[name] for name in ("zeros", "nan", "negative_infinite", "positive_infinite")]
    if min(counted) < 0 or values["counts"].min() < 0:
        raise InputError("A count is negative.")
    if not (numbers["low"] <= numbers["high"] or (np.isnan(numbers["low"]) and np.isnan(numbers["high"]))):
        raise InputError(
            f"The smallest value {numbers['low']} and the largest {numbers['high']} contradict each other."
        )
    return Histogram(values["counts"], **numbers)


def _tensorrt(values: Mapping[str, AnyArray]) -> TensorRTHistogram:
    width, amax, batch = (values[name].item() for name in ("width", "amax", "batch"))
    if values["counts"].min() < 0 or batch < 1:
        raise InputError("A count or the batch size is negative.")
    if not (0 <= width < np.inf and 0 <= amax < np.inf):
        raise InputError(f"The bin width {width} and the maximum {amax} must be finite and not negative.")
    return TensorRTHistogram(values["counts"], width, amax, bool(values["negative"]), batch)
