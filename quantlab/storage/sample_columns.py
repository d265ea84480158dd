"""The store of a table of samples: one HDF5 file, a column a property, and a head that says which columns there are.

Attributes: `schema`, `version`, `digest` («blake2b:…» over the head and the columns). The column «head» is one JSON text:
`{"about": …, "columns": [[name, type, shape], …]}`; the columns are called «0», «1», … in this order, as their names may
be a stranger's. A text is a row of bytes, its length in another column: one long name makes no wide table.
"""

import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any, TypeAlias

import h5py
import numpy as np

from quantlab.errors import InputError
from quantlab.hdf5_heaps import check_heaps
from quantlab.numerics.arrays import AnyArray
from quantlab.storage.hdf5_columns import (
    read_array,
    read_integer_attribute,
    read_text_attribute,
    read_texts,
    reading,
    write_array,
    write_attribute,
    write_texts,
)
from quantlab.storage.text import StrPath, check_file, located, write_bytes

SCHEMA = "quantlab-samples"
VERSION = 1
LARGEST = 1 << 29
"""Bytes of all columns together; the two values of 50,000 samples in ten metrics are 8 MB."""

_WHAT = "a table of samples"
_LIBVER = ("earliest", "v110")  # fixed, so that every h5py writes the same layout
_TYPES = ("<f8", "<i8", "<u8", "|u1")
_MOST_COLUMNS = 1000

Columns: TypeAlias = Mapping[str, AnyArray]
"""float64, int64, uint64 or uint8 by name."""


def write_sample_columns(path: StrPath, about: Mapping[str, Any], columns: Columns) -> None:
    """Write a store, whole or not at all; equal columns make equal bytes with one version of HDF5.

    Parameters
    ----------
    path
        The .h5 file.
    about
        JSON values that say what the columns mean.
    columns
        See `Columns`.

    Raises
    ------
    InputError
        When the columns are more than 512 MiB, more than 1000 or of other types.
    MachineError
        No space, no permission.
    """
    little = {name: column.astype(column.dtype.newbyteorder("<"), copy=False) for name, column in columns.items()}
    head = {"about": dict(about), "columns": [[name, one.dtype.str, [*one.shape]] for name, one in little.items()]}
    _check_columns(head["columns"])
    text = json.dumps(head, sort_keys=True)
    image = io.BytesIO()  # in memory first: HDF5 reports a full disk in words of its own
    with h5py.File(image, "w", libver=_LIBVER) as file:
        write_texts(file, "head", [text])
        for place, column in enumerate(little.values()):
            write_array(file, str(place), column)
        write_attribute(file, "schema", SCHEMA)
        write_attribute(file, "version", VERSION)
        write_attribute(file, "digest", _digest(text, little))
    write_bytes(path, image.getvalue())


def read_sample_columns(path: StrPath) -> tuple[dict[str, Any], dict[str, AnyArray]]:
    """Return what the columns mean, and the columns, having checked that every value is as it was written.

    The head is held against limits before any column is read.

    Raises
    ------
    InputError
        When the file is missing, truncated, edited, foreign, of a newer version or larger than any of quantlab's, or
        refers to other files.
    """
    source = Path(path)
    check_file(source, _WHAT)
    with located(f"'{source}'"):
        with reading(_WHAT):
            with source.open("rb") as content:
                check_heaps(content)
            file = h5py.File(source, "r")
        with file, reading(_WHAT):
            return _read(file)


def join_texts(texts: tuple[str, ...]) -> tuple[AnyArray, AnyArray]:
    """Return texts as uint8 [bytes] of UTF-8 and int64 [texts], the bytes of each."""
    encoded = [text.encode("utf-8", "backslashreplace") for text in texts]
    lengths = np.array([len(one) for one in encoded], "<i8")
    return np.frombuffer(b"".join(encoded), np.uint8), lengths


def split_bytes(joined: AnyArray, lengths: AnyArray) -> Iterator[bytes]:
    """Yield the parts that were joined, by their lengths.

    Raises
    ------
    InputError
        When the lengths are not those of the parts.
    """
    if (lengths < 0).any() or (lengths > len(joined)).any() or int(lengths.sum()) != len(joined):
        raise InputError("The lengths of the texts or pictures are not those of what is stored.")
    whole, start = joined.tobytes(), 0
    for length in lengths.tolist():
        yield whole[start : start + length]
        start += length


def _read(file: h5py.File) -> tuple[dict[str, Any], dict[str, AnyArray]]:
    _check_schema(file)
    (text,) = read_texts(file, "head", 1)
    head = _head(text)
    columns = {
        name: read_array(file, str(place), kind, tuple(shape))
        for place, (name, kind, shape) in enumerate(head["columns"])
    }
    if read_text_attribute(file, "digest") != _digest(text, columns):
        raise InputError("The samples are not as they were written: the file was damaged or edited; compare again.")
    return head["about"], columns


def _check_schema(file: h5py.File) -> None:
    if read_text_attribute(file, "schema") != SCHEMA:
        raise InputError(f"This is HDF5, but not {_WHAT} of quantlab: it lacks the attribute schema = «{SCHEMA}».")
    version = read_integer_attribute(file, "version")
    if version != VERSION:
        raise InputError(
            f"This has version {version} of its format, and this quantlab reads {VERSION}: update quantlab, or compare again."
        )


def _head(text: str) -> dict[str, Any]:
    try:
        head = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"The head of the table is no JSON: {error}.") from error
    if not isinstance(head, dict) or set(head) != {"about", "columns"} or not isinstance(head["about"], dict):
        raise InputError("The head of the table does not say what the columns mean; quantlab never wrote such a one.")
    _check_columns(head["columns"])
    return head


def _check_columns(listed: object) -> None:
    """Refuse a list of columns of which one could not be quantlab's, or that are too large together."""
    if not isinstance(listed, list) or len(listed) > _MOST_COLUMNS or not all(map(_is_column, listed)):
        raise InputError("The table lists columns that quantlab does not store.")
    if len({name for name, _, _ in listed}) != len(listed):
        raise InputError("The table lists two columns of one name.")
    size = sum(prod(shape) * np.dtype(kind).itemsize for _, kind, shape in listed)
    if size > LARGEST:
        raise InputError(f"The columns of the samples have {size:,} bytes; at most {LARGEST:,} are stored.")


def _is_column(listed: object) -> bool:
    if not isinstance(listed, list) or len(listed) != 3:
        return False
    name, kind, shape = listed
    return (
        isinstance(name, str)
        and isinstance(kind, str)
        and kind in _TYPES
        and isinstance(shape, list)
        and 1 <= len(shape) <= 8
        and all(type(size) is int and 0 <= size <= LARGEST for size in shape)
    )


def _digest(head: str, columns: Columns) -> str:
    """Hash the head, which has names, types and shapes, and the bytes of the columns."""
    state = hashlib.blake2b(head.encode(), digest_size=32)
    for column in columns.values():
        state.update(b"\n")
        state.update(np.ascontiguousarray(column).tobytes())
    return f"blake2b:{state.hexdigest()}"
