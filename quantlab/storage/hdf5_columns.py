"""Columns and attributes of an HDF5 group: written the same way every time, read as a stranger's.

Texts have a fixed length, padded with NUL. HDF5 keeps texts of variable length in a «global heap», and its reader
(HDF5 2.0) never returns from a heap in which one wrong byte makes an object's size 0.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import Any

import h5py
import numpy as np

from quantlab.errors import InputError
from quantlab.numerics.arrays import AnyArray

_CHUNK = 1 << 18  # bytes: a few histograms
_LARGEST = 1 << 26  # bytes of a chunk or of a column of texts
_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}


def write_array(group: h5py.Group, name: str, values: AnyArray) -> None:
    """Write one column of numbers or padded texts; compressed if it is long, without a time stamp."""
    packing: dict[str, Any] = {}
    if len(values) > 1 and values.nbytes > 4096:
        rows = max(1, _CHUNK * len(values) // values.nbytes)
        packing = {"chunks": (min(rows, len(values)), *values.shape[1:]), "compression": "gzip", "shuffle": True}
    group.create_dataset(name, data=values, track_times=False, **packing)


def write_texts(group: h5py.Group, name: str, texts: list[str]) -> None:
    """Write one column of UTF-8 texts.

    Raises
    ------
    InputError
        For a text with the character NUL or half a surrogate pair, or one so long that the column passes 64 MiB.
    """
    for text in texts:
        if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
            raise InputError(f"The name {text!r} cannot be stored: it has the character NUL or half a surrogate pair.")
    encoded = [text.encode() for text in texts]
    width = max([1, *map(len, encoded)])
    if width * len(texts) > _LARGEST:
        longest = max(texts, key=len)
        raise InputError(f"A text of {width:,} bytes is too long to be stored: «{longest[:40]}…».")
    write_array(group, name, np.array(encoded, h5py.string_dtype("utf-8", width)))


def write_attribute(group: h5py.Group, name: str, value: str | int) -> None:
    """Write an attribute; a text must not be empty."""
    if isinstance(value, str):
        encoded = value.encode()
        group.attrs.create(name, np.array(encoded, h5py.string_dtype("utf-8", len(encoded))))
    else:
        group.attrs.create(name, value, dtype="<i8")


def count_rows(group: h5py.Group, name: str, most: int) -> int:
    """Return the length of a column.

    Raises
    ------
    InputError
        When it has another number of dimensions, more rows than `most`, or lies in another file.
    """
    shape: tuple[int, ...] = _dataset(group, name).shape
    if len(shape) != 1 or shape[0] > most:
        raise InputError(f"The column «{name}» must have one dimension of at most {most}, not {_sizes(shape)}.")
    return shape[0]


def read_array(group: h5py.Group, name: str, dtype: str, shape: tuple[int, ...]) -> AnyArray:
    """Return a column of numbers that has exactly this type and shape.

    Raises
    ------
    InputError
        When it has not, or lies in another file.
    """
    dataset = _dataset(group, name)
    if dataset.dtype != np.dtype(dtype) or dataset.shape != shape:
        raise InputError(
            f"The column «{name}» is {dataset.dtype}{_sizes(dataset.shape)}; {np.dtype(dtype)}{_sizes(shape)} is due."
        )
    return np.asarray(dataset[()])


def read_texts(group: h5py.Group, name: str, count: int) -> list[str]:
    """Return a column of so many UTF-8 texts.

    Raises
    ------
    InputError
        When it is none, or lies in another file.
    ValueError
        When a text is not UTF-8.
    """
    dataset = _dataset(group, name)
    if dataset.dtype.kind != "S" or dataset.shape != (count,):
        raise InputError(
            f"The column «{name}» must hold {count} texts of fixed length, not {dataset.dtype}{_sizes(dataset.shape)}."
        )
    if dataset.dtype.itemsize * count > _LARGEST:
        raise InputError(f"The column «{name}» has texts of {dataset.dtype.itemsize:,} bytes, longer than quantlab's.")
    return [text.decode("utf-8") for text in dataset[()].tolist()]


def read_text_attribute(group: h5py.Group, name: str) -> str:
    """Return a text; empty if the attribute is not there or is none.

    Raises
    ------
    ValueError
        When it is not UTF-8.
    """
    value = _attribute(group, name, "S")
    return "" if value is None else bytes(value).decode("utf-8")


def read_integer_attribute(group: h5py.Group, name: str) -> int:
    """Return an integer; 0 if the attribute is not there or is none."""
    value = _attribute(group, name, "iu")
    return 0 if value is None else int(value)


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Turn what h5py raises on a damaged file into a sentence."""
    try:
        yield
    except (KeyError, MemoryError, OSError, OverflowError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(
            f"This cannot be read as {what}: it is damaged, cut short or no HDF5 file ({error})."
        ) from error


def _attribute(group: h5py.Group, name: str, kinds: str) -> Any:
    """Return a scalar attribute if its type is of these kinds; any other is not even read."""
    if name not in group.attrs:
        return None
    attribute = group.attrs.get_id(name)
    return group.attrs[name] if attribute.shape == () and attribute.dtype.kind in kinds else None


def _dataset(group: h5py.Group, name: str) -> h5py.Dataset:
    link = group.get(name, getlink=True)
    if link is None:
        raise InputError(f"The column «{name}» is missing.")
    if not isinstance(link, h5py.HardLink):
        raise InputError(f"The column «{name}» is a link to elsewhere, which is not followed.")
    dataset = group[name]
    if not isinstance(dataset, h5py.Dataset) or dataset.shape is None:
        raise InputError(f"«{name}» is no column of values.")
    if dataset.external or dataset.is_virtual:
        raise InputError(f"The column «{name}» takes its values from elsewhere, which is not read.")
    _check_packing(dataset, name)
    return dataset


def _check_packing(dataset: h5py.Dataset, name: str) -> None:
    """Refuse filters that HDF5 would load as plug-ins, and chunks that unpack to more than anyone writes."""
    packing = dataset.id.get_create_plist()
    filters = {packing.get_filter(index)[0] for index in range(packing.get_nfilters())}
    if filters - _FILTERS:
        raise InputError(f"The column «{name}» is packed in a way that quantlab does not use.")
    if dataset.chunks and prod(dataset.chunks) * dataset.dtype.itemsize > _LARGEST:
        raise InputError(f"The column «{name}» is stored in chunks of {dataset.chunks}, larger than quantlab's.")


def _sizes(shape: tuple[int, ...]) -> str:
    return str(list(shape))
