"""First inputs of each target: what quantlab itself writes for a small network, and one file of each further form."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import sqlite3
import zipfile
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnx
from PIL import Image

from quantlab.audit.audit import audit_engine
from quantlab.storage.scale_table_csv import write_scale_table_csv
from quantlab.storage.scale_table_json import read_scale_table
from tests.audit.reports import layer, report
from tests.cli.workplace import DECLARED, done, furnish, network
from tests.fuzz.forged_seeds import forged_seeds
from tests.fuzz.odd_seeds import odd_seeds
from tests.fuzz.targets import SPLIT

GOLDEN = Path(__file__).parents[1] / "golden" / "trt-8.6"
JOB = b"""model: model.onnx
output: run
preprocess: {color: GRAY, scale: 1/255, mean: [0.5], std: 0.25, resize: [8, 8], crop: [8, 8]}
data:
  calibration: {path: calibration.npz, batch: 16, label_pattern: '^(\\d+)_', skip_bad: true}
  tuning: {path: images, preprocess: preprocess.yaml, input: image}
  evaluation: {path: eval.h5, labels: labels.csv}
expose: [a, 'b*']
methods: [minmax, squared-error, 'percentile:99.99']
choose: best
rules: {'conv*': entropy}
overrides: overrides.yaml
target: tensorrt@8.6
weights: qdq
head: int8
cache: {version: 8.6, algorithm: MinMaxCalibration, partial: true}
ort: true
metrics: ['top:1']
max_drop: 0.5
budget: 64MiB
tensorrt_grid: 8
"""
TRAINED_JOB = b"""output: run
preprocess: '{"color": "GRAY"}'
data: {calibration: calibration.npz, evaluation: eval.npz}
methods: [minmax]
max_drop: 0.5
qat: {module: 'net.py:make', train: train.npz, epochs: 2}
"""
POLICY = b"""alpha: 0.05
power: 0.8
metrics: {top-1: 1.0, f1: {maximum: 2.0, resolution: 0.5, level: warn}}
fp32: {top-1: 1.0}
slices: [{by: kind, file: slices.csv, maximum: 3.0, least: 5}, {by: label, level: warn}]
agreement: 0.98
coverage: {value: 0.9, level: warn}
coverage_macs: 0.9
latency: 1.1
size: 1.0
scale: 2.0
drift: warn
output_noise_db: 1.0
"""
OVERRIDES = b"overrides:\n  conv1: {low: -6.0, high: 6.0, reason: by hand}\n  'b*': {low: 0, high: 1.0e+3}\n"
PREPROCESS = b'{"resize": [32, 32], "crop": [28, 28], "layout": "NHWC", "color": "BGR", "scale": "1/255", "mean": [1, 2, 3], "std": 0.5}'
COCO: Mapping[str, Any] = {
    "images": [{"id": 1, "file_name": "a.jpg", "width": 20, "height": 10}, {"id": 2, "file_name": "b.jpg", "width": 9, "height": 9}],
    "annotations": [{"image_id": 1, "category_id": 3, "bbox": [1, 2, 3, 4], "iscrowd": 0}],
    "categories": [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}],
}  # fmt: skip
TRAINING: Mapping[str, Any] = {
    "schema": "quantlab-training", "version": 1, "verdict": "QAT loses 0.20 points.", "standing": "likely", "best": "qat",
    "target": {"max_drop": 0.5, "confidence": 0.95, "fidelity_name": ""},
    "rungs": [{"rung": "ptq", "model": "ptq.onnx", "standing": "misses", "metric": "top-1", "fp32": 0.9, "points_lost": 2.0,
               "interval": {"low": 1.0, "high": 3.0, "level": 0.95}, "agreement": 0.9, "sqnr_db": 20.0, "samples": 100, "seconds": 1.0}],
}  # fmt: skip

AUDITED = report(
    layer("c1", "CaskConvolution", "image INT8", "b INT8", "c1"), layer("c2", "SoftMaxV2", "b INT8", "y FP32", "c2")
)


def write_seeds(corpus: Path, place: Path) -> None:
    """Write a folder a target with its first inputs; `place` is an empty folder to work in."""
    furnished(place)
    usual, odd = seeds(place), odd_seeds(place)
    for target, inputs in forged_seeds(place).items():
        odd[target] = odd.get(target, {}) | {f"forged {name}": data for name, data in inputs.items()}
    for target, inputs in {name: usual.get(name, {}) | odd.get(name, {}) for name in {**usual, **odd}}.items():
        folder = corpus / target
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in inputs.items():
            here = data.replace(str(place).encode(), b"place") if b"\0" not in data else data  # not this machine's
            (folder / f"seed-{name.replace(' ', '-')}").write_bytes(here)


def furnished(place: Path) -> None:
    """Let each command leave its artefacts in the folder."""
    furnish(place)
    done("run", place / "job.yaml")
    model, run = place / "model.onnx", place / "run"
    data = ("-d", place / "evaluation.npz", *DECLARED)
    done("diagnose", model, "-d", place / "calibration.npz", *DECLARED, "-o", place / "diagnosis.json")
    done("compare", model, run / "model.int8.onnx", run / "model.ort.onnx", *data, "-o", place / "lineup.json")
    done(
        "tune",
        model,
        "-d",
        place / "calibration.npz",
        *DECLARED,
        "--tuning",
        place / "tuning.npz",
        "-o",
        place / "tuned",
    )
    write_scale_table_csv(place / "scales.csv", read_scale_table(run / "scales.json"))
    done("history", "add", run, "--history", place / "history")


def seeds(place: Path) -> dict[str, dict[str, bytes]]:
    """Return the inputs of each target by name."""
    run = place / "run"
    cache = (run / "calibration.cache").read_bytes()
    comparison = json.loads((run / "compare.json").read_bytes())
    comparison["samples_file"]["sha256"] = "DIGEST"
    recorded = gzip.decompress((GOLDEN / "lite0_cache.inspector.json.gz").read_bytes())
    return {
        "onnx": _models(place),
        "cache": {
            "ours": cache + SPLIT + (run / "calibration.cache.json").read_bytes(),
            "tensorrt": (GOLDEN / "fashion_net.entropy2.cache").read_bytes(),
            "legacy": b"0 3ff0000000000000 3fefff2e48e8a71e\nconv1: 3c010a14\n",
        },
        "scale_table": {"ours": (run / "scales.json").read_bytes()[:20000], "ort": (run / "scales.ort.json").read_bytes()},
        "scale_csv": {"ours": (place / "scales.csv").read_bytes()},
        "comparison": {"ours": (run / "compare.json").read_bytes()},
        "diagnosis": {"ours": (place / "diagnosis.json").read_bytes()},
        "lineup": {"ours": (place / "lineup.json").read_bytes()},
        "search": {"ours": (place / "tuned" / "tune.json").read_bytes()},
        "training": {"ours": json.dumps(TRAINING).encode()},
        "manifest": {"ours": (run / "manifest.json").read_bytes()},
        "notes": {"ours": (run / "run.json").read_bytes()},
        "inspector": {"tensorrt": _some_layers(recorded)},
        "audit": {"ours": json.dumps(audit_engine(AUDITED).to_json()).encode()},
        "histograms": {"ours": (run / "histograms.h5").read_bytes()},
        "samples": {
            "ours": json.dumps(comparison).encode() + SPLIT + (run / "compare.samples.h5").read_bytes(),
        },
        "history": {"ours": _small_history(place / "history" / "runs.sqlite")},
        "arrays_h5": _hdf5_files(),
        "arrays_npz": _archives(),
        "arrays_npy": {"float": _npy(np.zeros((4, 3), "f4")), "fortran": _npy(np.asfortranarray(np.ones((4, 3), ">i2")))},
        "images": _images(),
        "listing": {"list": b"# images\na.png\nb/c.jpg\n", "manifest": b"path,label\na.png,3\nb.png,4\n"},
        "job": {"whole": JOB + SPLIT + PREPROCESS, "trained": TRAINED_JOB},
        "policy": {"whole": POLICY + SPLIT + b"sample,kind\na.png,day\nb.png,night\n"},
        "overrides": {"two": OVERRIDES},
        "preprocess": {"json": PREPROCESS, "yaml": b"resize: 32\ncolor: GRAY\ndtype: uint8\nscale: 1/255\n"},
        "labels_csv": {
            "text": b"name,text\na.png,abc\nb.png,d\n", "value": b"value\n1.5\n2\n", "label": b"name,label\na,1\nb,2\n",
            "pairs": b"first,second,value\n0,1,0.5\n1,2,0.25\n", "names": b"first,second,value\na,b,1\nb,c,2\n",
        },
        "labels_coco": {"two": json.dumps(COCO).encode()},
    }  # fmt: skip


def _models(place: Path) -> dict[str, bytes]:
    outside = network()
    weight = outside.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", "weights.bin"), ("offset", "64"), ("length", "216")):
        weight.external_data.add(key=key, value=value)
    branches = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[2,"n"] x) => (float[2,"n"] y) <float[1] c = {2.0}, int64[2] s = {-1, 4}> {'
        " k = Constant <value = float[2] {1.0, 2.0}> () r = Reshape (x, s) t = Add (r, c) u = Shape (x)"
        " f = ConstantOfShape <value = float[1] {1.0}> (u) y = Mul (x, f) }"
    )
    return {
        "float": (place / "model.onnx").read_bytes(), "qdq": (place / "run" / "model.int8.onnx").read_bytes(),
        "external": outside.SerializeToString(), "branches": branches.SerializeToString(),
    }  # fmt: skip


def _some_layers(recorded: bytes) -> bytes:
    document = json.loads(recorded, strict=False)
    document["Layers"] = document["Layers"][:4]
    return json.dumps(document).encode()


def _small_history(path: Path) -> bytes:
    """Return the file with pages of 512 bytes: less to keep, and each byte more to the point."""
    copy = path.with_name("small.sqlite")
    shutil.copyfile(path, copy)
    with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("PRAGMA page_size = 512")
        connection.execute("VACUUM")
    return copy.read_bytes()


def _npy(values: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, values, allow_pickle=False)
    return file.getvalue()


def _archives() -> dict[str, bytes]:
    found = {}
    for name, method in (
        ("stored", zipfile.ZIP_STORED),
        ("packed", zipfile.ZIP_DEFLATED),
        ("bzip2", zipfile.ZIP_BZIP2),
    ):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", method) as archive:
            for key, values in (("image", np.zeros((4, 2, 2), np.uint8)), ("label", np.arange(4))):
                archive.writestr(zipfile.ZipInfo(f"{key}.npy"), _npy(values), method)
        found[name] = file.getvalue()
    return found


def _hdf5_files() -> dict[str, bytes]:
    found = {}
    for name, libver in (("old", "earliest"), ("new", "latest")):
        file = io.BytesIO()
        with h5py.File(file, "w", libver=libver) as store:
            store.create_dataset("image", data=np.zeros((4, 3), "f4"), chunks=(2, 3), compression="gzip")
            store.create_dataset("label", data=np.arange(4))
            store.create_group("inner")["more"] = np.ones((4, 2), "i2")
            store["soft"] = h5py.SoftLink("/image")
        found[name] = file.getvalue()
    return found


def _images() -> dict[str, bytes]:
    ramp = np.arange(12 * 10 * 3, dtype=np.uint8).reshape(12, 10, 3)
    colour, gray = Image.fromarray(ramp), Image.fromarray(ramp[..., 0].copy())
    deep = Image.fromarray(ramp[..., 0].astype(np.uint16) * 200)
    made = (
        (colour, "JPEG"), (colour, "PNG"), (colour, "WEBP"), (colour, "BMP"), (colour, "DIB"), (colour, "PPM"), (colour, "TIFF"),
        (colour.quantize(8), "GIF"), (colour, "MPO"), (colour, "JPEG2000"), (colour, "AVIF"), (colour, "TGA"), (colour, "PCX"),
        (gray, "PNG"), (deep, "PNG"), (deep, "TIFF"), (colour.convert("RGBA"), "PNG"), (colour.convert("CMYK"), "TIFF"),
        (gray.convert("1"), "TIFF"), (gray.convert("F"), "TIFF"), (colour.quantize(8), "PNG"), (gray.convert("I"), "TIFF"),
    )  # fmt: skip
    found = {}
    for image, kind in made:
        file = io.BytesIO()
        image.save(file, kind)
        found[f"{kind.lower()}-{image.mode.replace(';', '')}"] = file.getvalue()
    return found
