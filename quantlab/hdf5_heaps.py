"""Looks through an HDF5 file for what its library never returns from: a «global heap» that holds an object of no size.

The library (HDF5 2.0, H5HG__cache_heap_deserialize) walks a heap from object to object by their sizes, and does so as soon as a
view of other datasets is opened. Layouts are those of the HDF5 File Format Specification 3.0, II.A (superblock) and III.E.
"""

from collections.abc import Iterator
from typing import IO

from quantlab.errors import InputError

_SUPERBLOCK = b"\x89HDF\r\n\x1a\n"
_LAST_SUPERBLOCK = 1 << 20  # it may lie at 0, 512, 1024, …: behind what another program put first
_HEAP = b"GCOL\x01"
_HEADER = 16  # bytes before the first object, and before each object's own
_BLOCK = 1 << 24


def check_heaps(file: IO[bytes]) -> None:
    """Refuse a file with such a heap; what is no HDF5 at all is left to the library.

    Raises
    ------
    InputError
        Saying where the heap lies, or that the file's sizes are not of eight bytes, as all libraries write them.
    """
    _check_sizes(file)
    for place in _places(file):
        file.seek(place)
        size = int.from_bytes(file.read(_HEADER)[8:], "little")
        file.seek(0, 2)
        if size <= file.tell() - place:
            file.seek(place)
            _check_objects(file.read(size), place)
    file.seek(0)


def _check_sizes(file: IO[bytes]) -> None:
    place = 0
    while place <= _LAST_SUPERBLOCK:
        file.seek(place)
        head = file.read(16)
        if head.startswith(_SUPERBLOCK):
            at = 13 if head[8] < 2 else 9
            sizes = set(head[at : at + 2])
            if sizes <= {2, 4, 8, 16, 32} and sizes != {8}:  # any other is no HDF5
                raise InputError("The sizes in this HDF5 file are not of eight bytes: write it with h5py.")
            return
        place = place * 2 or 512


def _places(file: IO[bytes]) -> Iterator[int]:
    """Yield where a heap may begin."""
    start, kept = 0, b""
    while True:
        file.seek(start + len(kept))
        block = file.read(_BLOCK)
        if not block:
            return
        text = kept + block
        at = text.find(_HEAP)
        while at >= 0:
            yield start + at
            at = text.find(_HEAP, at + 1)
        kept = text[-len(_HEAP) + 1 :]
        start += len(text) - len(kept)


def _check_objects(heap: bytes, place: int) -> None:
    at = _HEADER
    while at + _HEADER <= len(heap):
        number = int.from_bytes(heap[at : at + 2], "little")
        size = int.from_bytes(heap[at + 8 : at + 16], "little")
        step = size if number == 0 else _HEADER + (size + 7) // 8 * 8  # object 0 is the free space, header included
        if step % 2**64 == 0:
            raise InputError(f"The HDF5 file is damaged: the heap at byte {place:,} holds an object of no size.")
        at += step
