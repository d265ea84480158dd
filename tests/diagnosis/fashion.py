"""The network and the images that ship, in any preprocessing."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from quantlab.data.batch import Batch
from quantlab.numerics.arrays import F32, I64

FOLDER = Path(__file__).parents[2] / "calib_data"
NETWORK = FOLDER / "fashion_net.onnx"


def pixels(count: int, start: int = 0, *, part: str = "calibration") -> F32:
    """Return float32 [count,1,28,28] in 0 … 255."""
    with np.load(FOLDER / f"{part}.npz") as arrays:
        return arrays["image"][start : start + count].transpose(0, 3, 1, 2).astype(np.float32)


def labels(count: int, start: int = 0, *, part: str = "calibration") -> I64:
    """Return int64 [count]."""
    with np.load(FOLDER / f"{part}.npz") as arrays:
        return arrays["label"][start : start + count].astype(np.int64)


def prepared(values: F32) -> F32:
    """Return pixels as the network was trained on them."""
    return ((values / np.float32(255) - np.float32(0.2860)) / np.float32(0.3530)).astype(np.float32)


def batches(values: F32, size: int = 16, name: str = "image") -> list[Batch]:
    """Return named batches."""
    starts = range(0, len(values), size)
    parts = [values[start : start + size] for start in starts]
    return [
        Batch({name: part}, names=tuple(f"{start + i}.png" for i in range(len(part))))
        for start, part in zip(starts, parts, strict=True)
    ]
