"""Stores and texts that are whole but for one lie, and tell it with a fitting digest."""

from __future__ import annotations

import io
import json
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tests.fuzz.mutations_hdf5 import fit_digest
from tests.fuzz.targets import SPLIT

Change = Callable[[h5py.File], object]

_SETS = b"data: {calibration: a.npz, evaluation: b.npz}\n"
JOB_WITH_CHANGES = (
    b"model: m.onnx\noutput: r\nmax_drop: a\n" + _SETS + SPLIT + SPLIT + b"max_drop=1\ndata.tuning=c.npz\nbudget=9"
)
JOBS: Mapping[str, bytes] = {
    "no change": b"model: m.onnx\noutput: r\n" + _SETS + SPLIT + SPLIT + b"a",
    "no section": b"model: m.onnx\noutput: r\n" + _SETS + SPLIT + SPLIT + b"model.a=1",
    "list": b"[1]",
    "no choice": b"model: m.onnx\noutput: r\nmethods: [minmax, entropy]\n" + _SETS,
    "grid": b"model: m.onnx\noutput: r\nmethods: [tensorrt-entropy]\n" + _SETS,
    "history": b"model: m.onnx\noutput: r\nhistory: h\ndata: {calibration: a.npz}\n",
    "qat": b"output: r\nqat: {module: 'n.py:m', train: t.npz}\nmetrics: ['top:1']\n" + _SETS,
    "ort": b"model: m.onnx\noutput: r\ntarget: ort\nort: true\ncache: {}\n" + _SETS,
    "points": b"model: m.onnx\noutput: r\nmetrics: [spearman]\nmax_drop: 1\n" + _SETS,
    "matrix": b"model: m.onnx\noutput: r\nmatrix: {target: [ort]}\n" + _SETS,
    "nothing": b"model: m.onnx\noutput: r\noverrides: null\nhistory: null\n" + _SETS,
    "outside": b"model: ../m.onnx\noutput: /r\npreprocess: ../p.yaml\n" + _SETS,
    "infinite": b"model: m.onnx\noutput: r\nbudget: .inf\n" + _SETS,
    "digits": b"model: m.onnx\noutput: r\nbudget: " + b"9" * 400 + b"\n" + _SETS,
    "surrogate": b'model: "\\ud800"\noutput: r\n' + _SETS,
    "nul": b'model: "\\0"\noutput: r\n' + _SETS,
    "changes": JOB_WITH_CHANGES,
    "workers": b"model: m.onnx\noutput: r\nworkers: 1000000000\n" + _SETS,
}
TEXTS: Mapping[str, Mapping[str, bytes]] = {
    "job": JOBS,
    "policy": {
        "long": b"slices: [{by: a, file: slices.csv}]\n" + SPLIT + b"sample,a\nx," + b"y" * 300,
        "two": b"slices: [{by: a, file: slices.csv}]\n" + SPLIT + b"sample,a\nx,y\nx,z\n",
        "none": b"slices: [{by: a, file: slices.csv}]\n" + SPLIT + b"sample,a\nx,\n",
        "quote": b"slices: [{by: a, file: slices.csv}]\n" + SPLIT + b'sample,a\nx,"y"z\n',
    },
    "overrides": {"number": b"overrides: {1: {low: 0, high: 1}}\n"},
    "preprocess": {"bgr": b"{color: BGR, crop: [0, 1]}", "infinite": b"{scale: .inf}", "tag": b"!!map a"},
    "labels_csv": {
        "long": b"text\n" + b"x" * 70_000, "quote": b'name,text\n"a"b,c\n', "far": b"first,second,value\n0,999999999,1\n",
    },
    "labels_coco": {
        "negative": b'{"images": [{"id": 1, "file_name": "a", "width": 1, "height": 1}], "categories": [{"id": 1}], '
        b'"annotations": [{"image_id": 1, "category_id": 1, "bbox": [0, 0, -1, 1]}]}',
    },
    "inspector": {"profiles": b'{"Layers": [{"Name": "a [profile 1]", "LayerType": "b", "Inputs": [], "Outputs": []}]}'},
    "cache": {"version": b"TRT-100300-EntropyCalibration2\na: 3c010a14\n", "digits": b"TRT-" + b"9" * 5000 + b"-E\n"},
    "lineup": {"nested": b"[" * 5000},
    "diagnosis": {"nested": b"[" * 5000},
}  # fmt: skip


def forged_seeds(place: Path) -> dict[str, dict[str, bytes]]:
    """Return inputs by target and name; the place has been furnished, `compare.json` with pictures written into it."""
    histograms = (place / "run" / "histograms.h5").read_bytes()
    tensorrt = (place / "tensorrt.h5").read_bytes()
    table = (place / "compare.samples.h5").read_bytes()
    head = json.loads((place / "compare.json").read_text(encoding="utf-8"))
    head["samples_file"]["sha256"] = "DIGEST"
    told = json.dumps(head).encode() + SPLIT
    found: dict[str, dict[str, bytes]] = {name: dict(texts) for name, texts in TEXTS.items()}
    found["histograms"] = {name: forged(histograms, change) for name, change in _HISTOGRAMS.items()}
    found["histograms"] |= {f"grid {name}": forged(tensorrt, change) for name, change in _TENSORRT.items()}
    found["samples"] = {name: told + forged(table, change) for name, change in _samples().items()}
    found["samples"] |= {
        "digest": told.replace(b"DIGEST", b"sha256:0") + table,
        "name": told.replace(b"compare.samples.h5", b"../compare.h5") + table,
        "count": json.dumps(head | {"samples": 7}).encode() + SPLIT + table,
        "flips": json.dumps(head | {"flips": []}).encode() + SPLIT + table,
    }
    found["history"] = {name: _edited(place / "history" / "small.sqlite", sql) for name, sql in _HISTORY.items()}
    found["scale_csv"] = _tables((place / "scales.csv").read_bytes())
    return found


def forged(data: bytes, change: Change) -> bytes:
    """Return a store changed, with the digest that it has then."""
    image = io.BytesIO(data)
    with h5py.File(image, "r+") as file:
        change(file)
        with suppress(KeyError, ValueError, AttributeError, TypeError):  # there may be nothing left to fit
            fit_digest(file)
    return image.getvalue()


def _at(name: str, place: tuple[int, ...], value: Any) -> Change:
    return lambda file: file[name].__setitem__(place, value)


def _as(name: str, values: Any, **more: Any) -> Change:
    def change(file: h5py.File) -> None:
        del file[name]
        file.create_dataset(name, data=values, **more)

    return change


def _attribute(name: str, value: Any) -> Change:
    return lambda file: file.attrs.__setitem__(name, value)


def _group(file: h5py.File) -> None:
    del file["low"]
    file.create_group("low")


def _same_names(file: h5py.File) -> None:
    file["name"][1] = file["name"][0]


_HISTOGRAMS: Mapping[str, Change] = {
    "negative": _at("zeros", (0,), -1),
    "crossed": _at("low", (0,), 1e9),
    "twice": _same_names,
    "schema": _attribute("schema", np.bytes_(b"other")),
    "newer": _attribute("version", 99),
    "grid": _attribute("grid", np.bytes_(b"other")),
    "version": _attribute("version", "one"),
    "missing": lambda file: file.__delitem__("low"),
    "group": _group,
    "types": _as("zeros", np.zeros(3, "f4")),
    "rows": _as("name", np.zeros((2, 2), "S1")),
    "wide": _as("name", None, shape=(16000,), dtype="S5000"),
    "packed": _as("low", np.zeros(9), chunks=(9,), compression="lzf"),
    "provenance": _as("provenance", np.array([b"[" * 9000])),
}
_TENSORRT: Mapping[str, Change] = {"batch": _at("batch", (0,), 0), "width": _at("width", (0,), np.inf)}


def _samples() -> Mapping[str, Change]:
    def heads(edit: Callable[[Any], object]) -> Change:
        def change(file: h5py.File) -> None:
            head = json.loads(file["head"][0].decode())
            head = edit(head) or head
            del file["head"]
            text = json.dumps(head).encode() if not isinstance(head, bytes) else head
            file.create_dataset("head", data=np.array([text]))

        return change

    def column(name: str, value: Any) -> Change:
        def change(file: h5py.File) -> None:
            names = [one for one, _, _ in json.loads(file["head"][0].decode())["columns"]]
            values = file[str(names.index(name))]
            values[0] = value

        return change

    return {
        "schema": _attribute("schema", np.bytes_(b"other")),
        "version": _attribute("version", 9),
        "json": heads(lambda _head: b"[" * 9000),
        "about": heads(lambda _head: {"about": 1}),
        "metrics": heads(lambda head: head["about"].update(metrics=3)),
        "two metrics": heads(lambda head: head["about"]["metrics"].append(head["about"]["metrics"][0])),
        "columns": heads(lambda head: head["columns"].append([1, 2])),
        "two columns": heads(lambda head: head["columns"].append(head["columns"][0])),
        "huge": heads(lambda head: head["columns"].append(["x", "<f8", [2**29]])),
        "kind": heads(lambda head: head["columns"].append(["x", "O", [1]])),
        "renamed": heads(lambda head: head["columns"][0].__setitem__(0, "other")),
        "infinite": column("fp32 0", np.nan),
        "text": column("names", 255),
        "lengths": column("name_bytes", 9),
        "picture": column("pictures", 0),
        "picture rows": column("picture_bytes", 1),
        "damaged": lambda file: (
            file["0"].__setitem__(0, 7.5) or file.attrs.__setitem__("digest", np.bytes_(b"blake2b:0"))
        ),
    }


_HISTORY: Mapping[str, str] = {
    "kind": "UPDATE runs SET samples = 'many'",
    "versions": "UPDATE runs SET versions = '[[['",
    "long": f"UPDATE runs SET name = '{'x' * 70_000}'",
    "blob": "UPDATE runs SET name = x'ff'",
    "newer": "PRAGMA user_version = 9",
    "other": "PRAGMA application_id = 9",
    "trigger": "CREATE TRIGGER t AFTER INSERT ON runs BEGIN SELECT 1; END",
}


def _edited(path: Path, sql: str) -> bytes:
    copy = path.with_name("edited.sqlite")
    copy.write_bytes(path.read_bytes())
    with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
        connection.execute(sql)
    return copy.read_bytes()


def _tables(table: bytes) -> dict[str, bytes]:
    header, first, *_ = table.split(b"\r\n")
    cells = first.split(b",")
    names = header.split(b",")

    def changed(**values: bytes) -> bytes:
        return b"\r\n".join(
            (header, b",".join(values.get(name.decode(), cell) for name, cell in zip(names, cells, strict=False)))
        )

    return {
        "empty": changed(observed_low=b"", observed_high=b"", chosen_low=b"", chosen_high=b"", shape=b""),
        "half": changed(observed_low=b""), "role": changed(role=b"other"), "shape": changed(shape=b"[" * 3000),
    }  # fmt: skip
