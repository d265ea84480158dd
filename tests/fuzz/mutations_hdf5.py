"""HDF5 files that are whole and hostile: a good one changed by the library itself, its digest made to fit again."""

from __future__ import annotations

import io
import random
from typing import Any

import h5py
import numpy as np

from quantlab.storage import histograms_h5, sample_columns
from tests.fuzz.mutations import FLOATS, NUMBERS, TEXTS

_TYPES = ("f2", "f4", "f8", "i1", "i4", "i8", "u1", "u8", ">i8", ">f8", "S3", "c8", "?", "O", "V4")


def rewritten(data: bytes, draw: random.Random) -> bytes:
    """Return a store with a few attributes, columns or links changed."""
    image = io.BytesIO(data)
    with h5py.File(image, "r+") as file:
        for _ in range(draw.choice((1, 1, 2))):
            _change(file, draw)
        if draw.random() < 0.7:
            fit_digest(file)
    return image.getvalue()


def _change(file: h5py.File, draw: random.Random) -> None:
    names = [name for name, item in file.items() if isinstance(item, h5py.Dataset)]
    name = draw.choice(names)
    action = draw.randrange(9)
    if action == 0 and len(file.attrs):
        file.attrs[draw.choice(list(file.attrs))] = draw.choice((*TEXTS[:4], *NUMBERS[:15], 1.5, np.zeros(3)))
    elif action == 1:
        _edit(file[name], draw)
    elif action == 2:
        values = file[name][()]
        _replace(file, name, values[: draw.randrange(4)] if values.ndim else np.zeros(2))
    elif action == 3:
        kind = draw.choice(_TYPES)
        shape = draw.choice(((), (0,), (1,), (3, 2), (2**40,), (2**31, 2**31), (2**62,), (4, 0)))
        packed = {"chunks": True, "compression": draw.choice(("gzip", None))} if shape and 0 not in shape else {}
        _replace(file, name, None, dtype=kind if kind != "O" else h5py.string_dtype(), shape=shape, **packed)
    elif action == 4:
        del file[name]
        link = draw.choice(
            (h5py.ExternalLink("other.h5", "/x"), h5py.SoftLink("/gone"), h5py.SoftLink("/"), h5py.SoftLink(f"/{name}"))
        )
        file[name] = link
    elif action == 5:
        del file[name]
        file.create_dataset(name, (4,), "i4", external=[("/etc/passwd", 0, 16)])
    elif action == 6:
        del file[name]
        layout = h5py.VirtualLayout((4,), "i4")
        layout[:] = h5py.VirtualSource(draw.choice(("other.h5", ".")), "/x", (4,))
        file.create_virtual_dataset(name, layout)
    elif action == 7:
        file[draw.choice(TEXTS[2:5])] = np.zeros(2) if draw.random() < 0.5 else h5py.Empty("f4")
    else:
        _replace(file, name, None, dtype="f4", shape=(2**34,), chunks=draw.choice(((2**28,), (2**10,))), fillvalue=1.0)


def _edit(dataset: h5py.Dataset, draw: random.Random) -> None:
    """Write a hostile value into one place."""
    if dataset.is_virtual:  # reading a view of itself ends the process
        return
    values = dataset[()]
    if not values.size:
        return
    flat = values.reshape(-1)
    at = draw.randrange(flat.size)
    if values.dtype.kind == "S":
        text = draw.choice(
            (b"\xff\xfe", b"[1,2", b"[]", b"{}", b"null", b"[true]", b"a", b"", flat[draw.randrange(flat.size)])
        )
        flat[at] = text
    elif values.dtype.kind == "f":
        flat[at] = draw.choice(FLOATS)
    else:
        info = np.iinfo(values.dtype)
        flat[at] = draw.choice([n for n in (*NUMBERS, info.max, info.min) if info.min <= n <= info.max])
    dataset[...] = flat.reshape(values.shape)


def _replace(file: h5py.File, name: str, values: Any, **more: Any) -> None:
    del file[name]
    file.create_dataset(name, data=values, **more)


def fit_digest(file: h5py.File) -> None:
    """Write the digest that the columns have now, as a forger would."""
    small = all(item.size is not None and item.size < 2**20 for item in file.values() if isinstance(item, h5py.Dataset))
    if "digest" not in file.attrs or not small:
        return
    if "grid" in file.attrs:
        columns: dict[str, Any] = {}
        for name in ("provenance", "name", "shape", "source"):
            columns[name] = [text.decode() for text in file[name][()].tolist()]
        grid = bytes(file.attrs["grid"]).decode()
        for name in histograms_h5._ARRAYS[grid]:  # type: ignore[index]
            columns[name] = file[name][()]
        head: dict[str, str | int] = {"schema": "quantlab-histograms", "version": 1, "grid": grid}
        digest = histograms_h5._digest(head, columns)
    else:
        text = file["head"][()].tolist()[0].decode()
        arrays = {name: file[name][()] for name in sorted((n for n in file if n != "head"), key=int)}
        digest = sample_columns._digest(text, arrays)
    file.attrs.create("digest", np.array(digest.encode(), h5py.string_dtype("utf-8", len(digest))))
