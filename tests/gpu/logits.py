"""Logits as files: float16, exactly, as steps from the reference's, which are small and take less room."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quantlab.atomic import atomic_path
from quantlab.numerics.arrays import AnyArray

F16 = NDArray[np.float16]
REFERENCE = "reference"
_HALF = 1 << 15


def write_logits(
    path: Path, outputs: Mapping[str, AnyArray], images: tuple[str, ...], reference: Mapping[str, AnyArray] | None
) -> None:
    """Write outputs [images, classes] as float16; the reference's own in plain, others as steps from it (None).

    A step is the difference of two float16 in their order, modulo 2¹⁶; `NAME.high` and `NAME.low` are its bytes.
    """
    arrays: dict[str, AnyArray] = {"images": np.array(images)}
    for name, values in outputs.items():
        half = values.astype(np.float16)
        if reference is None:
            arrays[name] = half
            continue
        steps = (_order(half) - _order(reference[name].astype(np.float16))).astype(np.uint16)
        arrays |= {f"{name}.high": (steps >> 8).astype(np.uint8), f"{name}.low": (steps & 255).astype(np.uint8)}
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def read_logits(folder: Path, network: str, engine: str) -> tuple[tuple[str, ...], dict[str, F16]]:
    """Return the images' names, and the float16 outputs that an engine gave for them."""
    with np.load(folder / f"{network}.{REFERENCE}.logits.npz") as file:
        images = tuple(str(name) for name in file["images"])
        exact = {name: file[name] for name in file.files if name != "images"}
    if engine == REFERENCE:
        return images, exact
    found = {}
    with np.load(folder / f"{network}.{engine}.logits.npz") as file:
        if tuple(str(name) for name in file["images"]) != images:
            raise ValueError(f"the logits of {engine} are of other images than the reference's, or in another order")
        for name, reference in exact.items():
            steps = file[f"{name}.high"].astype(np.int64) * 256 + file[f"{name}.low"]
            found[name] = _value(_order(reference) + steps)
    return images, found


def _order(values: F16) -> NDArray[np.int64]:
    """Return each float16's place among all of them in 0 … 65535: monotone, and to and fro without loss."""
    bits = values.view(np.uint16).astype(np.int64)
    return np.where(bits & _HALF, 2 * _HALF - 1 - bits, bits + _HALF)


def _value(order: NDArray[np.int64]) -> F16:
    place = order % (2 * _HALF)
    bits = np.where(place < _HALF, 2 * _HALF - 1 - place, place - _HALF)
    return bits.astype(np.uint16).view(np.float16)
