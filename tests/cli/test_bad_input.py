"""Bad input: one clear sentence, an exit code, nothing printed on stdout, nothing lost or half-written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image

from tests.cli.workplace import DECLARED, network, quantlab, refused, tree

Spoil = Callable[[Path], object]


def collecting(data: str, *more: str, model: str = "model.onnx") -> tuple[str, ...]:
    return ("collect", f"@{model}", "-d", f"@{data}", *more, "-o", "@new.h5")


def empty_folder(place: Path) -> None:
    (place / "images").mkdir()


def bad_image(place: Path) -> None:
    empty_folder(place)
    Image.new("L", (8, 8)).save(place / "images" / "1.png")
    (place / "images" / "2.png").write_bytes(b"\x89PNG but no more")


def unlabelled_name(place: Path) -> None:
    empty_folder(place)
    Image.new("L", (8, 8)).save(place / "images" / "cat.png")


def arrays(**values: object) -> Spoil:
    return lambda place: np.savez(place / "odd.npz", **values)  # type: ignore[arg-type]


def text(name: str, content: str) -> Spoil:
    return lambda place: (place / name).write_text(content)


def cut(name: str, share: float) -> Spoil:
    def spoil(place: Path) -> None:
        data = (place / name).read_bytes()
        (place / name).write_bytes(data[: int(len(data) * share)])

    return spoil


def external(location: str) -> Spoil:
    def spoil(place: Path) -> None:
        proto = network()
        weight = proto.graph.initializer[0]
        weight.ClearField("raw_data")
        weight.data_location = onnx.TensorProto.EXTERNAL
        weight.external_data.add(key="location", value=location)
        (place / "outside.bin").write_bytes(bytes(4096))
        (place / "inner").mkdir()
        (place / "inner" / "model.onnx").write_bytes(proto.SerializeToString())

    return spoil


def opset(version: int) -> Spoil:
    def spoil(place: Path) -> None:
        proto = network()
        proto.opset_import[0].version = version
        (place / "odd.onnx").write_bytes(proto.SerializeToString())

    return spoil


def infinite_weights(place: Path) -> None:
    proto = network()
    next(t for t in proto.graph.initializer if t.name == "w1").CopyFrom(
        numpy_helper.from_array(np.full((6, 1, 3, 3), np.inf, np.float32), "w1")
    )
    onnx.save(proto, place / "odd.onnx")


def edited_json(edit: Callable[[dict[str, object]], object]) -> Spoil:
    def spoil(place: Path) -> None:
        document = json.loads((place / "scales.json").read_text())
        edit(document)
        (place / "odd.json").write_text(json.dumps(document))

    return spoil


def set_scale(value: float, digits: str) -> Spoil:
    return edited_json(lambda d: d["rows"][0].update(scale=[value], scale_hex=[digits]))  # type: ignore[index]


def foreign_hdf5(place: Path) -> None:
    with h5py.File(place / "odd.h5", "w") as file:
        file["x"] = [1, 2]


IMAGE = np.zeros((4, 8, 8, 1), np.uint8)
FLOAT = np.zeros((4, 1, 8, 8), np.float32)
NOTHING: Spoil = lambda _place: None  # noqa: E731 - a default among functions

CASES: dict[str, tuple[Spoil, tuple[str, ...], int, str]] = {
    "missing model": (NOTHING, collecting("calibration.npz", model="gone.onnx"), 4, "gone.onnx"),
    "missing data": (NOTHING, collecting("gone", *DECLARED), 4, "no data file or folder"),
    "empty folder": (empty_folder, collecting("images", *DECLARED), 4, "no image in"),
    "unreadable image": (bad_image, collecting("images", *DECLARED), 4, "2.png"),
    "images without preprocessing": (bad_image, collecting("images"), 2, "declare the preprocessing"),
    "label pattern": (unlabelled_name, collecting("images", *DECLARED, "--label-pattern", r"(\d+)"), 4, "cat.png"),
    "bad label pattern": (unlabelled_name, collecting("images", *DECLARED, "--label-pattern", "("), 2, "regular expression"),
    "wrong input name": (arrays(picture=FLOAT), collecting("odd.npz"), 4, "image: float32[batch, 1, 8, 8]"),
    "wrong dtype": (arrays(image=FLOAT.astype("f8")), collecting("odd.npz"), 4, "got float64, but the model wants image"),
    "wrong shape": (arrays(image=FLOAT[..., :5]), collecting("odd.npz"), 4, "model wants image: float32[batch, 1, 8, 8]"),
    "bytes without preprocessing": (NOTHING, collecting("calibration.npz"), 4, "got uint8, but the model wants"),
    "objects in npz": (arrays(image=np.array([{}, {}])), collecting("odd.npz"), 4, "Python objects"),
    "label count": (arrays(image=IMAGE, label=np.zeros(3, int)), collecting("odd.npz", *DECLARED), 4, "«label» 3"),
    "not ONNX": (text("odd.onnx", "no model"), collecting("calibration.npz", model="odd.onnx"), 4, "odd.onnx"),
    "truncated ONNX": (cut("model.onnx", 0.7), collecting("calibration.npz"), 4, "model.onnx"),
    "truncated npz": (cut("calibration.npz", 0.7), collecting("calibration.npz", *DECLARED), 4, "calibration.npz"),
    "external data missing": (external("gone.bin"), collecting("calibration.npz", model="inner/model.onnx"), 4, "gone.bin"),
    "external data outside": (
        external("../outside.bin"), collecting("calibration.npz", model="inner/model.onnx"), 4, "outside.bin"),
    "opset too old": (opset(9), collecting("calibration.npz", *DECLARED, model="odd.onnx"), 4, "opset"),
    "opset too new": (opset(99), collecting("calibration.npz", *DECLARED, model="odd.onnx"), 4, "opset"),
    "NaN activations": (
        infinite_weights, collecting("calibration.npz", *DECLARED, "--expose", "all", model="odd.onnx"), 4, "«a»"),
    "unknown tensor": (NOTHING, collecting("calibration.npz", *DECLARED, "--expose", "conv9"), 4, "conv9"),
    "bad preprocessing": (NOTHING, collecting("calibration.npz", "--preprocess", '{"sale": 1}'), 4, "has no sale"),
    "bad preprocessing value": (NOTHING, collecting("calibration.npz", "--scale", "1/0"), 4, "scale"),
    "missing preprocessing": (NOTHING, collecting("calibration.npz", "--preprocess", "@gone.yaml"), 4, "gone.yaml"),
    "no data": (NOTHING, ("collect", "@model.onnx", "-o", "@new.h5"), 2, "--data PATH"),
    "data and random": (NOTHING, collecting("calibration.npz", "--random", "3"), 2, "one of the two"),
    "bad budget": (NOTHING, collecting("calibration.npz", *DECLARED, "--budget", "much"), 2, "512MiB"),
    "target too new": (NOTHING, collecting("calibration.npz", "--target", "tensorrt@12.0"), 2, "up to tensorrt@11"),
    "bad target": (NOTHING, collecting("calibration.npz", *DECLARED, "--target", "tensorflow"), 2, "tensorrt@"),
    "script without function": (text("loader.py", "x = 1"), collecting("loader.py"), 4, "load_data()"),
    "script that fails": (
        text("loader.py", "def load_data():\n    yield {}[0]\n"), collecting("loader.py"), 4, "loader.py', line 2: KeyError"),
    "script that exits": (
        text("loader.py", "import sys\ndef load_data():\n    sys.exit(3)\n"), collecting("loader.py"), 4,
        "ended itself in '"),
    "script that exits at once": (text("loader.py", "raise SystemExit(0)"), collecting("loader.py"), 4, "sys.exit(0)"),
    "script that cannot be read": (text("loader.py", "def load_data(:"), collecting("loader.py"), 4, "loader.py"),
    "script that yields no arrays": (
        text("loader.py", "def load_data():\n    yield 3\n"), collecting("loader.py"), 4, "must be {input name: array}"),
    "wrong suffix": (NOTHING, ("collect", "@model.onnx", "-d", "@calibration.npz", "-o", "@x.json"), 2, ".h5"),
    "output is a folder": (empty_folder, ("calibrate", "@histograms.h5", "-o", "@images"), 2, "must end in .json"),
    "output is an input": (
        NOTHING, ("quantize", "@model.onnx", "@scales.json", "-o", "@model.onnx", "--force"), 2, "also an input"),
    "output is a stranger's": (
        text("mine.json", "{}"), ("calibrate", "@histograms.h5", "-o", "@mine.json"), 4, "was not made by quantlab"),
    "output was edited": (
        text("scales.json", "{}"), ("calibrate", "@histograms.h5", "-o", "@scales.json"), 4, "changed after quantlab made it"),
    "manifest is a stranger's": (
        text("manifest.json", '{"name": "app"}'), ("calibrate", "@histograms.h5", "-o", "@x.json"), 4, "manifest.json"),
    "unknown method": (NOTHING, ("calibrate", "@histograms.h5", "-m", "kl", "-o", "@x.json"), 2, "squared-error, entropy"),
    "unknown scheme": (NOTHING, ("calibrate", "@histograms.h5", "--scheme", "int4", "-o", "@x.json"), 2, "affine-uint8"),
    "bad percentile": (NOTHING, ("calibrate", "@histograms.h5", "-m", "percentile:0", "-o", "@x.json"), 2, "(0, 100]"),
    "bad rule": (NOTHING, ("calibrate", "@histograms.h5", "--rule", "minmax", "-o", "@x.json"), 2, "pattern=method"),
    "rule for nothing": (
        NOTHING, ("calibrate", "@histograms.h5", "--rule", "conv*=minmax", "-o", "@x.json"), 4, "matches none"),
    "cache options without cache": (
        NOTHING, ("calibrate", "@histograms.h5", "-o", "@x.json", "--algorithm", "MinMaxCalibration"), 2, "--algorithm"),
    "model without cache": (
        NOTHING, ("calibrate", "@histograms.h5", "-o", "@x.json", "--model", "@model.onnx"), 2, "--cache and --model"),
    "cache for TensorRT 11 while calibrating": (
        NOTHING, ("calibrate", "@histograms.h5", "-o", "@x.json", "--cache", "@x.cache", "--model", "@model.onnx",
                  "--tensorrt", "11.0"), 2, "11 removed"),
    "cache of affine scales": (
        NOTHING, ("calibrate", "@histograms.h5", "-o", "@x.json", "--cache", "@x.cache", "--model", "@model.onnx",
                  "--scheme", "affine-uint8"), 2, "symmetric scales only"),
    "cache without model": (
        NOTHING, ("calibrate", "@histograms.h5", "-o", "@x.json", "--cache", "@x.cache"), 2, "--cache and --model"),
    "missing histograms": (NOTHING, ("calibrate", "@gone.h5", "-o", "@x.json"), 4, "gone.h5"),
    "corrupt histograms": (cut("histograms.h5", 0.5), ("calibrate", "@histograms.h5", "-o", "@x.json"), 4, "histograms.h5"),
    "foreign HDF5": (foreign_hdf5, ("calibrate", "@odd.h5", "-o", "@x.json"), 4, "odd.h5"),
    "foreign JSON": (text("odd.json", "{}"), ("quantize", "@model.onnx", "@odd.json", "-o", "@x.onnx"), 4, "scale table"),
    "corrupt JSON": (cut("scales.json", 0.5), ("quantize", "@model.onnx", "@scales.json", "-o", "@x.onnx"), 4, "scales.json"),
    "zero scale": (
        set_scale(0.0, "00000000"), ("quantize", "@model.onnx", "@odd.json", "-o", "@x.onnx"), 4, "finite and > 0"),
    "negative scale": (
        set_scale(-1.0, "bf800000"), ("quantize", "@model.onnx", "@odd.json", "-o", "@x.onnx"), 4, "finite and > 0"),
    "duplicate tensor": (
        edited_json(lambda d: d["rows"].append(d["rows"][0])),  # type: ignore[attr-defined, index]
        ("quantize", "@model.onnx", "@odd.json", "-o", "@x.onnx"), 4, "has two rows"),
    "scales of no tensor of the model": (
        text("odd.cache", "TRT-8601-EntropyCalibration2\na: 3c010204\n"),
        ("quantize", "@model.onnx", "@odd.cache", "--allow-missing", "-o", "@x.onnx"), 4, "nothing would be INT8"),
    "scales of another model": (NOTHING, ("quantize", "@other.onnx", "@scales.json", "-o", "@x.onnx"), 5, "made for"),
    "cache of another model": (
        NOTHING, ("cache", "convert", "@int8.cache", "--model", "@other.onnx", "-o", "@x.onnx"), 5, "made for"),
    "model is Q/DQ already": (NOTHING, ("quantize", "@int8.onnx", "@scales.json", "-o", "@x.onnx"), 5, "made for"),
    "no scales at all": (NOTHING, ("quantize", "@model.onnx", "@histograms.h5", "-o", "@x.onnx"), 4, "holds no scales"),
    "foreign cache": (text("odd.cache", "1\n2\n"), ("cache", "show", "@odd.cache"), 4, "no TensorRT calibration cache"),
    "corrupt cache": (
        text("odd.cache", "TRT-8601-EntropyCalibration2\na: 3c010204\nb"), ("cache", "show", "@odd.cache"), 4, "Line 3"),
    "cache with a tensor twice": (
        text("odd.cache", "TRT-8601-EntropyCalibration2\na: 3c010204\na: 3c010204\n"),
        ("cache", "show", "@odd.cache"), 4, "second time"),
    "cache with a zero scale": (
        text("odd.cache", "TRT-8601-EntropyCalibration2\na: 00000000\n"), ("cache", "show", "@odd.cache"), 4, "finite and > 0"),
    "cache for TensorRT 11": (
        NOTHING, ("cache", "convert", "@scales.json", "--model", "@model.onnx", "--tensorrt", "11.0", "-o", "@x.cache"), 2, "11"),
    "cache that is none": (NOTHING, ("cache", "show", "@scales.json"), 2, "scale table"),
    "conversion without model": (NOTHING, ("cache", "convert", "@int8.cache", "-o", "@x.onnx"), 2, "--model"),
    "INT8 of another model": (
        NOTHING, ("compare", "@other.onnx", "@int8.onnx", "-d", "@evaluation.npz", *DECLARED, "-o", "@x.json"), 5, "made for"),
    "INT8 model without Q/DQ": (
        NOTHING, ("compare", "@model.onnx", "@model.onnx", "-d", "@evaluation.npz", *DECLARED, "-o", "@x.json"), 4,
        "has no Q/DQ: nothing in it is INT8"),
    "models swapped": (
        NOTHING, ("compare", "@int8.onnx", "@model.onnx", "-d", "@evaluation.npz", *DECLARED, "-o", "@x.json"), 4,
        "are the two models swapped?"),
    "labels outside the classes": (
        arrays(image=IMAGE, label=np.full(4, 9)),
        ("compare", "@model.onnx", "@int8.onnx", "-d", "@odd.npz", *DECLARED, "-o", "@x.json"), 4, "label 9"),
    "lint of nothing": (NOTHING, ("lint", "@gone.onnx"), 4, "gone.onnx"),
    "report on nothing": (empty_folder, ("report", "@images", "-o", "@x.html"), 4, "nothing to report on"),
    "report on no folder": (NOTHING, ("report", "@gone", "-o", "@x.html"), 4, "no run folder"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_one_sentence_and_nothing_written(place: Path, name: str) -> None:
    spoil, arguments, code, words = CASES[name]
    spoil(place)
    before = tree(place)
    sentence = refused(code, *(str(place / a[1:]) if a.startswith("@") else a for a in arguments))
    assert words in sentence
    assert tree(place) == before


@pytest.mark.parametrize("arguments", [("collekt",), ("collect",), ("collect", "m", "--bogus"), ("lint", "a", "b")])
def test_wrong_usage_is_exit_code_2(arguments: tuple[str, ...]) -> None:
    ended = quantlab(*arguments)
    assert ended.code == 2
    assert ended.out == ""
    assert "Traceback" not in ended.err


def test_a_failed_remake_keeps_the_old_file(place: Path) -> None:
    before = tree(place)
    shutil.copy(place / "other.onnx", place / "elsewhere.onnx")
    refused(5, "quantize", place / "elsewhere.onnx", place / "scales.json", "-o", place / "int8.onnx", "--force")
    (place / "elsewhere.onnx").unlink()
    assert tree(place) == before
