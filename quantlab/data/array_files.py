"""The columns of a .npz, .npy or .h5 file, read in blocks of rows; the file may be a stranger's."""

import io
import os
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any, Protocol

import h5py
import numpy as np

from quantlab.data.batch import UNNAMED
from quantlab.data.fingerprint import native
from quantlab.data.hdf5_links import datasets
from quantlab.errors import InputError
from quantlab.hdf5_heaps import check_heaps
from quantlab.numerics.arrays import AnyArray

_NUMBERS = "biuf"
_READ_BYTES = 1 << 20
_LARGEST_HEADER = 1 << 16  # bytes: numbers have short ones
LARGEST_BLOCK = 1 << 30
"""Bytes of the rows that are handed out at once: a few kilobytes, packed, can ask for any number."""


class Column(Protocol):
    """One array of a file, whose first dimension counts the samples."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the whole array."""
        ...

    def blocks(self, rows: int, start: int = 0, stop: int | None = None) -> Iterator[AnyArray]:
        """Yield the rows from `start` to before `stop` in order, so many at a time, as plain arrays."""
        ...


def read_columns(path: Path) -> dict[str, Column]:
    """Return the arrays in a file by key; nothing but their headers is read.

    A .npy file's only array has the key «», the unnamed input.

    Raises
    ------
    InputError
        When the file is missing, damaged or of another kind, holds anything but numbers, or refers to other
        files.
    """
    readers = {".npz": _npz, ".npy": _npy, ".h5": _h5, ".hdf5": _h5}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{path} must be a .npz, .npy, .h5 or .hdf5 file.")
    if not path.is_file():
        raise InputError(f"There is no file {path}.")
    with _damage_named(path):
        columns = reader(path)
    for key, column in columns.items():
        _check_numbers(path, key, column.dtype)
    return columns


@dataclass(frozen=True, slots=True)
class NpzColumn:
    """A member of a .npz archive, unpacked as it is read; an array in Fortran order is read whole."""

    path: Path
    key: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool

    def blocks(self, rows: int, start: int = 0, stop: int | None = None) -> Iterator[AnyArray]:
        """Yield the rows in order; those before `start` are unpacked too, as an archive can only be read from its start."""
        end = self.shape[0] if stop is None else stop
        _check_block(self.path, self.key, self, self.shape[0] if self.fortran else rows)
        with (
            _damage_named(self.path),
            zipfile.ZipFile(self.path) as archive,
            archive.open(f"{self.key}.npy") as file,
        ):
            if _header(file) != (self.shape, self.fortran, self.dtype):
                raise InputError(f"{self.path} changed while it was read.")
            if self.fortran:
                whole = self._read(file, self.shape[::-1]).T
                yield from (native(whole[at : min(at + rows, end)]) for at in range(start, end, rows))
                return
            file.seek(start * prod(self.shape[1:]) * self.dtype.itemsize, os.SEEK_CUR)
            for at in range(start, end, rows):
                yield native(self._read(file, (min(rows, end - at), *self.shape[1:])))

    def _read(self, file: IO[bytes], shape: tuple[int, ...]) -> AnyArray:
        values = np.empty(shape, self.dtype)
        wanted = values.reshape(-1).view(np.uint8)
        done = 0
        while done < wanted.size:
            block = file.read(min(wanted.size - done, _READ_BYTES))
            if not block:
                raise InputError(f"«{self.key}» in {self.path} is cut short.")
            wanted[done : done + len(block)] = np.frombuffer(block, np.uint8)
            done += len(block)
        return values


@dataclass(frozen=True, slots=True)
class NpyColumn:
    """The array of a .npy file, mapped into memory."""

    path: Path
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def blocks(self, rows: int, start: int = 0, stop: int | None = None) -> Iterator[AnyArray]:
        """Yield the rows in order."""
        end = self.shape[0] if stop is None else stop
        _check_block(self.path, UNNAMED, self, rows)
        with _damage_named(self.path):
            for at in range(start, end, rows):
                # Mapped anew for each block: the pages of one mapping would count as this process's memory for ever.
                with _unadvised():
                    values = np.load(self.path, mmap_mode="r", allow_pickle=False)
                yield native(np.array(values[at : min(at + rows, end)], order="C"))


@dataclass(frozen=True, slots=True)
class H5Column:
    """A dataset of an HDF5 file."""

    path: Path
    key: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def blocks(self, rows: int, start: int = 0, stop: int | None = None) -> Iterator[AnyArray]:
        """Yield the rows in order."""
        end = self.shape[0] if stop is None else stop
        _check_block(self.path, self.key, self, rows)
        with _damage_named(self.path), h5py.File(self.path, "r") as file:
            dataset = file[self.key]
            for at in range(start, end, rows):
                yield native(np.asarray(dataset[at : min(at + rows, end)]))


def _npz(path: Path) -> dict[str, Column]:
    columns: dict[str, Column] = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            key = member.filename.removesuffix(".npy")
            if key == member.filename:
                raise InputError(f"{path} holds «{member.filename}», which is no array: it is no .npz file.")
            with archive.open(member) as file:
                shape, fortran, dtype = _header(file)
                _check_numbers(path, key, dtype)
                if prod(shape) * dtype.itemsize != member.file_size - file.tell():
                    raise InputError(f"«{key}» in {path} has another size than its header says: the file is damaged.")
            columns[key] = NpzColumn(path, key, dtype, shape, fortran)
    return columns


def _npy(path: Path) -> dict[str, Column]:
    with path.open("rb") as file:
        shape, _, dtype = _header(file)
        _check_numbers(path, UNNAMED, dtype)
        if prod(shape) * dtype.itemsize > path.stat().st_size - file.tell():
            raise InputError(f"{path} is cut short.")
    return {UNNAMED: NpyColumn(path, dtype, shape)}


def _h5(path: Path) -> dict[str, Column]:
    with path.open("rb") as content:
        check_heaps(content)
    with h5py.File(path, "r") as file:
        return {key: H5Column(path, key, dataset.dtype, dataset.shape) for key, dataset in datasets(file, path).items()}


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read the header of a .npy file: shape, whether in Fortran order, type."""
    with _unadvised():
        return _told(file)


def _told(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        header = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        told = file.read(4)
        length = int.from_bytes(told, "little")
        if length > _LARGEST_HEADER:
            raise ValueError(f"its header claims {length:,} bytes")
        header = np.lib.format.read_array_header_2_0(io.BytesIO(told + file.read(length)))
    else:
        raise ValueError(f"version {version[0]}.{version[1]} of the .npy format is for records, not for numbers")
    if any(type(size) is not int or size < 0 for size in header[0]):
        raise ValueError(f"its shape is {header[0]}")
    return header


def _check_numbers(path: Path, key: str, dtype: np.dtype[Any]) -> None:
    if dtype.kind == "O":
        raise InputError(f"«{key or 'the array'}» in {path} holds Python objects, which are not read: store numbers.")
    if dtype.kind not in _NUMBERS:
        raise InputError(
            f"«{key or 'the array'}» in {path} holds {dtype}; only integers, floats and Booleans are read."
        )


def _check_block(path: Path, key: str, column: Column, rows: int) -> None:
    """Refuse to read more at once than a batch may have, before any of it is there."""
    size = prod(column.shape[1:]) * column.dtype.itemsize * min(rows, column.shape[0])
    if size > LARGEST_BLOCK:
        raise InputError(
            f"«{key or 'the array'}» in {path} would take {size:,} bytes for {min(rows, column.shape[0])} of its rows "
            f"{list(column.shape[1:])}; at most {LARGEST_BLOCK:,} are read at once: give a smaller batch, or store smaller samples."
        )


@contextmanager
def _unadvised() -> Iterator[None]:
    """Keep NumPy's advice on headers of Python 2 back: the file is the user's, as it is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Turn what the readers raise on a damaged or foreign file into a sentence that names it."""
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(f"There is no file {path}.") from error
    # KeyError and RuntimeError: a member or dataset that is gone, encrypted or packed in an unknown way.
    # TypeError: an element type of HDF5 that NumPy lacks. TokenError: NumPy reads a broken .npy header with Python's tokenizer.
    except (
        EOFError,
        KeyError,
        MemoryError,
        OSError,
        OverflowError,
        RuntimeError,
        TypeError,
        ValueError,
        tokenize.TokenError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise InputError(
            f"{path} cannot be read as a {path.suffix.lower()} file: {str(error) or type(error).__name__}."
        ) from error
