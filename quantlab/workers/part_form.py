"""How a part is stored: an HDF5 image with the hashes of its samples, and what was found in them beside.

Columns: `about` (one JSON text), `hashes` uint8 [n, 32] and `readable` uint8 [n] of the n samples in order; and the task's own.
"""

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import h5py
import numpy as np

from quantlab.errors import InputError, StaleError
from quantlab.hdf5_heaps import check_heaps
from quantlab.storage.hdf5_columns import count_rows, read_array, read_texts, reading, write_array, write_texts
from quantlab.workers.pool import Facts

MOST_SAMPLES = 1 << 24
"""Of a part that is read."""

_WHAT = "a stored part"
_LIBVER = ("earliest", "v110")
_BYTES = 32


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A sample that no worker could do: its place in the data, its name, and what happened."""

    place: int
    name: str
    reason: str

    def __str__(self) -> str:
        return f"«{self.name}» (sample {self.place}): {self.reason}"


@dataclass(frozen=True, slots=True)
class Head:
    """What every part has.

    Attributes
    ----------
    facts
        Of each kind of worker that had a hand in it.
    hashes
        32 bytes a sample that was read, in order; empty for one that could not be.
    left_out
        Samples that are in the range and in nothing else.
    skipped
        Places of the files that could not be read and may be left out.
    """

    facts: tuple[Facts, ...] = ()
    hashes: tuple[bytes, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    skipped: tuple[int, ...] = ()

    def merge(self, other: "Head") -> "Head":
        """Return the head of both parts, this one's samples first."""
        facts = (*self.facts, *(one for one in other.facts if one not in self.facts))
        return Head(
            facts,
            self.hashes + other.hashes,
            self.left_out + other.left_out,
            self.skipped + other.skipped,
        )


def render(head: Head, about: dict[str, Any], write: Callable[[h5py.File], None]) -> bytes:
    """Return a part's bytes; `write` adds the task's columns."""
    told = {
        "facts": [asdict(facts) for facts in head.facts],
        "left_out": [asdict(sample) for sample in head.left_out],
        "skipped": list(head.skipped),
        **about,
    }
    image = io.BytesIO()
    with h5py.File(image, "w", libver=_LIBVER) as file:
        write_texts(file, "about", [json.dumps(told)])
        joined = b"".join(one.ljust(_BYTES, b"\0") for one in head.hashes)
        write_array(file, "hashes", np.frombuffer(joined, np.uint8).reshape(-1, _BYTES))
        write_array(file, "readable", np.array([bool(one) for one in head.hashes], np.uint8))
        write(file)
    return image.getvalue()


@contextmanager
def opened(data: bytes) -> Iterator[tuple[Head, dict[str, Any], h5py.File]]:
    """Give a part's head, what else its JSON tells, and the file with the task's columns.

    Raises
    ------
    InputError
        When the bytes are no part.
    """
    check_heaps(io.BytesIO(data))
    with reading(_WHAT), h5py.File(io.BytesIO(data), "r") as file:
        told = json.loads(read_texts(file, "about", 1)[0])
        if not isinstance(told, dict):
            raise InputError("The part does not tell what it is; start again.")
        count = count_rows(file, "readable", MOST_SAMPLES)
        hashes = read_array(file, "hashes", "u1", (count, _BYTES))
        readable = read_array(file, "readable", "u1", (count,))
        head = Head(
            tuple(Facts(**facts) for facts in told.pop("facts")),
            tuple(row.tobytes() if known else b"" for row, known in zip(hashes, readable, strict=True)),
            tuple(LeftOut(**sample) for sample in told.pop("left_out")),
            tuple(told.pop("skipped")),
        )
        yield head, told, file


def recipe_digest(fields: dict[str, Any], hashes: Sequence[bytes]) -> str:
    """Return the digest of all that decides what the parts hold: JSON values, and the samples in their order."""
    state = hashlib.sha256(json.dumps(fields, sort_keys=True, default=repr).encode())
    for one in hashes:
        state.update(len(one).to_bytes(1, "big") + one)
    return state.hexdigest()


def check_hashes(expected: Sequence[bytes], head: Head, start: int) -> None:
    """Refuse a part whose worker read other samples than the data's own, from `start` on.

    Raises
    ------
    StaleError
        Naming the first sample.
    """
    left_out = {sample.place for sample in head.left_out}
    wanted = [one for place, one in enumerate(expected, start) if place not in left_out]
    if len(head.hashes) != len(wanted):
        raise StaleError(f"A worker read {len(head.hashes)} samples from {start} on, where there are {len(wanted)}.")
    other = next((i for i, (one, two) in enumerate(zip(wanted, head.hashes, strict=True)) if one != two), None)
    if other is not None:
        raise StaleError(
            f"A worker read another sample {start + other} than was declared: the data changed meanwhile, or the worker's "
            "folder holds others. Start again."
        )
