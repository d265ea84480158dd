"""Inputs for the forms that no command writes for a small network, and folders with what should not be there."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnx
from PIL import Image

from quantlab.calibration.histogram_set import HistogramSet
from quantlab.numerics.tensorrt_histogram import TensorRTHistogram
from quantlab.storage.histograms_h5 import read_histograms, write_histograms
from quantlab.workers.part_form import Head, LeftOut, render
from tests.cli.workplace import network
from tests.comparison.test_sample_file import compared, kept
from tests.fuzz.folders import wish
from tests.fuzz.targets import SPLIT

PIPE: Mapping[str, Any] = {"pipe": 1}
FOLDER: Mapping[str, Any] = {"folder": 1}


def odd_seeds(place: Path) -> dict[str, dict[str, bytes]]:
    """Return inputs by target and name; the place has been furnished."""
    left_out = (LeftOut(1, "b.png", "it is no image"),)
    part = render(
        Head((), (b"a" * 32, b""), left_out, (3,)), {"more": 1}, lambda file: file.create_dataset("x", data=[1.0])
    )
    bundle = {
        "schema": "quantlab-bundle", "version": 1, "kind": "embedded", "name": "net", "target": "8.6.1", "model": "sha256:0",
        "model_name": "net.onnx", "files": {"model": "model.onnx"}, "settings": {}, "chosen_on": [], "versions": {}, "notes": [],
    }  # fmt: skip
    return {
        "part": {"ours": part},
        "bundle": {"ours": json.dumps(bundle).encode()},
        "histograms": _tensorrt_grid(place),
        "samples": _pictured(place),
        "folders": folders(),
        "images": _odd_images(),
    }


def folders() -> dict[str, bytes]:
    """Return folders by name."""
    picture, array = _png(), _npy(np.zeros((3, 8, 8, 1), np.uint8))
    text = b"text"
    return {
        "classes": wish("images", "s", {"s/cat/a.png": picture, "s/dog/b.png": picture, "s/dog/.hidden.png": text}),
        "numbers": wish("images", "s", {"s/3/a.png": picture, "s/7/b.png": picture}),
        "one": wish("images", "s", {"s/1_a.png": picture, "s/2_b.png": _png(16)}, label_pattern=r"^(\d+)_"),
        "unlabelled": wish("images", "s", {"s/a.png": picture}, label_pattern=r"^(\d+)_"),
        "pattern": wish("images", "s", {"s/a.png": picture}, label_pattern="(a+)+$"),
        "groups": wish("images", "s", {"s/a.png": picture}, label_pattern="a"),
        "branches": wish("images", "s", {"s/a.png": picture}, label_pattern="((a|ab)*)"),
        "broken": wish("images", "s", {"s/a.png": picture}, label_pattern="("),
        "long label": wish("images", "s", {f"s/{'9' * 30}_.png": picture}, label_pattern=r"^(\d+)_"),
        "labelled twice": wish("images", "l.csv", {"l.csv": b"path,label\na.png,1\n"}, label_pattern=r"(\d)"),
        "bad": wish("images", "s", {"s/a.png": picture, "s/b.png": text}, skip_bad=True),
        "all bad": wish("images", "s", {"s/a.png": text}, skip_bad=True),
        "picture pipe": wish("images", "l.txt", {"l.txt": b"p\na.png", "p": PIPE, "a.png": picture}, skip_bad=True),
        "pipe": wish("images", "p", {"p": PIPE}),
        "huge list": wish("images", "l.txt", {"l.txt": {"size": 2**30}}),
        "empty": wish("images", "s", {"s": FOLDER}),
        "single": wish("images", "a.png", {"a.png": picture}),
        "circle": wish("images", "s", {"s/a/b.png": picture, "s/a/up": {"link": ".."}}),
        "latin": wish("images", "l.txt", {"l.txt": b"\xff"}),
        "manifest": wish("images", "l.csv", {"l.csv": b"path,label\na.png,1\n", "a.png": picture}),
        "no path": wish("images", "l.csv", {"l.csv": b"path,label\n,1\n"}),
        "float label": wish("images", "l.csv", {"l.csv": b"path,label\na,1.5\n"}),
        "gone": wish("images", "none", {}),
        "rows": wish("arrays", "a.npy", {"a.npy": array}, preprocess={"resize": 4, "color": "RGB", "dtype": "int8"}),
        "gray": wish("arrays", "a.npy", {"a.npy": _npy(np.ones((2, 6, 5, 3), "f8"))}, preprocess={"color": "GRAY", "crop": [2, 2], "dtype": "float16"}),
        "gray bytes": wish("arrays", "a.npy", {"a.npy": _npy(np.ones((2, 5, 6, 3), "u1"))}, preprocess={"color": "GRAY", "resize": 3}),
        "small": wish("arrays", "a.npy", {"a.npy": array}, preprocess={"crop": [99, 99]}),
        "scalars": wish("arrays", "a.npy", {"a.npy": _npy(np.ones((2, 3), "f4"))}, preprocess={}),
        "resize": wish("arrays", "a.npy", {"a.npy": array}, preprocess={"resize": [10**6, 10**6]}),
        "short side": wish("arrays", "a.npy", {"a.npy": array}, preprocess={"resize": 10**9}),
        "huge row": wish("arrays", "a.npy", {"a.npy": _npy_header((1, 2**34))}),
        "other": wish("arrays", "a.txt", {"a.txt": text}),
        "no file": wish("arrays", "a.npy", {}),
        "no label": wish("arrays", "a.npy", {"a.npy": array}, label="class"),
        "fortran": wish("columns", "a.npz", {"a.npz": _npz({"x": np.asfortranarray(np.ones((4, 3)))})}),
        "columns": wish("columns", "a.npz", {"a.npz": _npz({"x": np.ones((4, 3))})}),
        "version 2": wish("columns", "a.npy", {"a.npy": _npy(np.ones(2), (2, 0))}),
        "version 3": wish("columns", "a.npy", {"a.npy": _npy(np.ones(2), (3, 0))}),
        "objects": wish("columns", "a.npy", {"a.npy": _objects()}),
        "texts": wish("columns", "a.npy", {"a.npy": _npy(np.array(["a"]))}),
        "members": wish("columns", "a.npz", {"a.npz": _zip({"a.txt": text})}),
        "views": wish("columns", "a.h5", {"a.h5": _views()}),
        "model folder": wish("model", "m", {"m": FOLDER}),
        "model pipe": wish("model", "m.onnx", {"m.onnx": PIPE}),
        "model gone": wish("model", "m.onnx", {}),
        "model huge": wish("model", "m.onnx", {"m.onnx": {"size": 2**32}}),
        "lfs": wish("model", "m.onnx", {"m.onnx": b"version https://git-lfs.github.com/spec/v1\n"}),
        "weights out": wish("model", "m.onnx", {"m.onnx": _external("w.bin"), "w.bin": {"link": "/etc/hostname"}}),
        "weights up": wish("model", "a/m.onnx", {"a/m.onnx": _external("../w.bin"), "w.bin": bytes(4096)}),
        "weights gone": wish("model", "m.onnx", {"m.onnx": _external("w.bin")}),
        "weights folder": wish("model", "m.onnx", {"m.onnx": _external("w"), "w": FOLDER}),
        "weights circle": wish("model", "m.onnx", {"m.onnx": _external("w"), "w": {"link": "w"}}),
        "weights short": wish("model", "m.onnx", {"m.onnx": _external("w"), "w": b"1"}),
        "weights sparse": wish("model", "m.onnx", {"m.onnx": _external("w", [2**32, 16]), "w": {"size": 2**38}}),
        "weights shared": wish("model", "m.onnx", {"m.onnx": _external("w", tensors=9), "w": bytes(1944)}),
        "weights": wish("model", "m.onnx", {"m.onnx": _external("w"), "w": bytes(4096)}),
        "yaml gone": wish("yaml", "a.yaml", {}),
        "yaml folder": wish("yaml", "a", {"a": FOLDER}),
        "yaml pipe": wish("yaml", "a", {"a": PIPE}),
        "yaml large": wish("yaml", "a", {"a": {"size": 2**20}}),
        "yaml latin": wish("yaml", "a", {"a": b"\xff\xfe"}),
        "labels": wish("labels", "a.npz", {"a.npz": _npz({"label": np.arange(3), "x": np.ones(3)})}),
        "labels of two": wish("labels", "a.npz", {"a.npz": _npz({"a": np.arange(3), "b": np.ones(3)})}),
        "labels huge": wish("labels", "a.npy", {"a.npy": _npy_header((2**31, 1))}),
        "labels none": wish("labels", "a.npy", {"a.npy": _npy(np.ones(()))}),
        "labels other": wish("labels", "a.txt", {"a.txt": text}),
        "artefact other": wish("artefact", "a.txt", {"a.txt": text}),
        "artefact folder": wish("artefact", "a.json", {"a.json": FOLDER}),
        "artefact pipe": wish("artefact", "a.csv", {"a.csv": PIPE}),
        "artefact huge": wish("artefact", "a.csv", {"a.csv": {"size": 2**30}}),
        "artefact latin": wish("artefact", "a.cache", {"a.cache": b"\xff"}),
        "artefact gone": wish("artefact", "a.h5", {}),
        "artefact name": wish("artefact", "a" * 200, {}),
        "no sidecar": wish("sidecar", "a.cache", {}),
        "history none": wish("history", "h", {"h": FOLDER}),
        "history huge": wish("history", "h", {"h/runs.sqlite": {"size": 2**30}}),
        "history link": wish("history", "h", {"h/runs.sqlite": {"link": "runs.sqlite"}}),
        "no manifest": wish("manifest", "h", {"h": FOLDER}),
        "manifest huge": wish("manifest", "h", {"h/manifest.json": {"size": 2**34}}),
        "manifest pipe": wish("manifest", "h", {"h/manifest.json": PIPE}),
    }  # fmt: skip


def _tensorrt_grid(place: Path) -> dict[str, bytes]:
    path = place / "grid.h5"
    counts = np.zeros(2048, np.int64)
    counts[3] = 7
    one = TensorRTHistogram(counts, 0.5, 3.0, False, 4)
    provenance = read_histograms(place / "run" / "histograms.h5").provenance
    write_histograms(path, HistogramSet({"a": one}, provenance, {"a": ("n", 3)}, {"a": "b"}))
    tensorrt = path.read_bytes()
    (place / "tensorrt.h5").write_bytes(tensorrt)
    write_histograms(path, HistogramSet({}, provenance, {}, {}))
    return {"tensorrt": tensorrt, "none": path.read_bytes()}


def _pictured(place: Path) -> dict[str, bytes]:
    found = compared()
    comparison = json.loads(kept(place / "compare.json", found).read_text(encoding="utf-8"))
    comparison["samples_file"]["sha256"] = "DIGEST"
    table = (place / "compare.samples.h5").read_bytes()
    none = json.dumps(replace(found, samples_table=None, samples_file=None).to_json()).encode()
    return {"pictured": json.dumps(comparison).encode() + SPLIT + table, "without": none + SPLIT + b"x"}


def _odd_images() -> dict[str, bytes]:
    turned = Image.new("RGB", (9, 5), "red")
    exif = turned.getexif()
    exif[0x0112] = 6
    file = io.BytesIO()
    turned.save(file, "JPEG", exif=exif)
    clear = io.BytesIO()
    Image.new("P", (4, 4)).save(clear, "PNG", transparency=0)
    wide = io.BytesIO()
    Image.new("1", (10000, 10000)).save(wide, "PNG")
    deep = io.BytesIO()
    Image.fromarray(np.full((4, 4), 2**20, np.int32)).save(deep, "TIFF")
    return {"turned": file.getvalue(), "clear": clear.getvalue(), "bomb": wide.getvalue(), "deep": deep.getvalue()}


def _png(side: int = 9) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (side, 10), "blue").save(file, "PNG")
    return file.getvalue()


def _npy(values: np.ndarray[Any, Any], version: tuple[int, int] | None = None) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, values, version, allow_pickle=False)
    return file.getvalue()


def _npy_header(shape: tuple[int, ...]) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return file.getvalue()


def _objects() -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": (1,)})
    return file.getvalue() + b"cos\nsystem\n(S'false'\ntR."


def _npz(arrays: Mapping[str, np.ndarray[Any, Any]]) -> bytes:
    return _zip({f"{name}.npy": _npy(values) for name, values in arrays.items()})


def _zip(members: Mapping[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return file.getvalue()


def _views() -> bytes:
    file = io.BytesIO()
    with h5py.File(file, "w") as store:
        store["x"] = np.ones((4, 3))
        for name, source in (("view", "x"), ("itself", "itself")):
            layout = h5py.VirtualLayout((4, 3), "f8")
            layout[:] = h5py.VirtualSource(".", source, (4, 3))
            store.create_virtual_dataset(name, layout)
    return file.getvalue()


def _external(location: str, dims: list[int] | None = None, tensors: int = 1) -> bytes:
    proto = network()
    weight = next(tensor for tensor in proto.graph.initializer if tensor.name == "w1")
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=location)
    if dims:
        weight.dims[:] = dims
    for _ in range(tensors - 1):
        proto.graph.initializer.add().CopyFrom(weight)
        proto.graph.initializer[-1].name = f"w{len(proto.graph.initializer)}"
    return bytes(proto.SerializeToString())
