"""Hashes of samples, and the identity of a set of them."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from quantlab.calibration.provenance import SKETCH, DataIdentity
from quantlab.data.batch import Batch
from quantlab.errors import InputError
from quantlab.numerics.arrays import AnyArray

_BYTES = 32
_SKETCH_DIGITS = 16


def hash_arrays(inputs: Mapping[str, AnyArray]) -> bytes:
    """Hash one sample: of each array its type, its shape and its bytes in C order.

    Several inputs are taken in the order of their names, which count; a single input's name does not, so that
    the same rows are the same data in a .npy, a .npz and a .h5 file.
    """
    state = hashlib.blake2b(digest_size=_BYTES)
    for name in sorted(inputs):
        values = native(inputs[name])
        label = name if len(inputs) > 1 else ""
        state.update(f"{label!r} {values.dtype} {values.shape}\n".encode(errors="backslashreplace"))
        state.update(values.tobytes())
    return state.digest()


def hash_batch(batch: Batch) -> Iterator[bytes]:
    """Hash every sample of a batch: its rows, or all of it where it has none."""
    if batch.rows is None:
        yield hash_arrays(batch)
        return
    for row in range(batch.rows):
        yield hash_arrays({name: values[row] for name, values in batch.items()})


def hash_file(path: Path) -> bytes:
    """Hash a file's bytes.

    Raises
    ------
    InputError
        When the file cannot be read.
    """
    state = hashlib.blake2b(digest_size=_BYTES)
    try:
        if path.exists() and not path.is_file():  # a pipe or a device may never end
            raise InputError(f"{path} is no regular file.")
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                state.update(block)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error
    return state.digest()


def short(digest: bytes) -> str:
    """Return a hash as it stands in the sketch of an identity: its first 16 hexadecimal digits."""
    return digest.hex()[:_SKETCH_DIGITS]


def identify(
    name: str, hashes: Iterable[bytes], *, preprocess: dict[str, Any] | None = None, random: bool = False
) -> DataIdentity:
    """Return the identity of the samples with these hashes, in whatever order they come."""
    ordered = sorted(hashes)
    distinct = sorted({short(digest) for digest in ordered})
    whole = hashlib.blake2b(b"".join(ordered), digest_size=_BYTES)
    return DataIdentity(
        name=name,
        digest=f"blake2b:{whole.hexdigest()}",
        count=len(ordered),
        preprocess=preprocess or {},
        random=random,
        sketch=tuple(distinct[:SKETCH]),
    )


def native(values: AnyArray) -> AnyArray:
    """Return a plain array in the machine's byte order and C order, copied only where needed."""
    return np.asarray(values, dtype=values.dtype.newbyteorder("="), order="C")
