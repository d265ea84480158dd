"""Reads the four idx files of Fashion-MNIST, as Zalando Research publishes them."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package ``dataset-fashion-mnist`` puts them."""

CLASSES = 10
MEAN, STD = 0.2860, 0.3530
"""Of the 60,000 training images, once their pixels are divided by 255."""

_IMAGES, _LABELS = 0x803, 0x801


@dataclass(frozen=True, slots=True)
class Labelled:
    """Images uint8 [N,28,28] and their labels int64 [N], row by row."""

    image: NDArray[np.uint8]
    label: NDArray[np.int64]


def read_train(folder: Path) -> Labelled:
    """Return the 60,000 training images."""
    return _read(folder, "train")


def read_test(folder: Path) -> Labelled:
    """Return the 10,000 test images."""
    return _read(folder, "t10k")


def _read(folder: Path, part: str) -> Labelled:
    images = _read_idx(folder / f"{part}-images-idx3-ubyte.gz", _IMAGES)
    labels = _read_idx(folder / f"{part}-labels-idx1-ubyte.gz", _LABELS)
    return Labelled(images, labels.astype(np.int64))


def _read_idx(path: Path, magic: int) -> NDArray[np.uint8]:
    """Read one idx file: big-endian magic number, sizes, then the bytes."""
    raw = gzip.decompress(path.read_bytes())
    found = int.from_bytes(raw[:4], "big")
    if found != magic:
        raise ValueError(f"{path} starts with {found:#x}, not {magic:#x}: get the file again")
    rank = magic & 0xFF
    shape = np.frombuffer(raw, ">u4", rank, offset=4).astype(int)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(shape)
