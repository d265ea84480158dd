"""The bundle for ONNX Runtime: its example preprocesses to the same bits, and runs."""

from __future__ import annotations

import io
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import quantlab as ql
from quantlab.data import Preprocess
from quantlab.deploy.checksums import write_sums
from quantlab.deploy.ort_bundle import ForOnnxRuntime, write_onnxruntime
from quantlab.deploy.plan_programs import template
from quantlab.deploy.verify import verify
from quantlab.errors import InputError, StaleError
from quantlab.graph.model import load_model
from quantlab.numerics.arrays import AnyArray


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The example's functions."""
    path = tmp_path_factory.mktemp("example") / "run.py"
    path.write_text(template("run.py"), encoding="utf-8")
    return runpy.run_path(str(path))


def pixels(rows: int, columns: int, channels: int, seed: int) -> AnyArray:
    return np.random.default_rng(seed).integers(0, 256, (rows, columns, channels), dtype=np.uint8)


sides = st.integers(1, 40)
PILLOW = int(PIL.__version__.partition(".")[0])


@given(
    shape=st.tuples(sides, sides, st.sampled_from([1, 3])),
    resize=st.one_of(st.none(), sides, st.tuples(sides, sides)),
    interpolation=st.sampled_from(["nearest", "bilinear", "bicubic", "lanczos"]),
    color=st.sampled_from(["RGB", "BGR", "GRAY"]),
    layout=st.sampled_from(["NCHW", "NHWC"]),
    dtype=st.sampled_from(["float32", "float16", "uint8", "int8"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_preprocessing_gives_quantlabs_bits(
    example: dict[str, Any], shape: tuple[int, int, int], seed: int, **declared: Any
) -> None:
    how = Preprocess(scale=1 / 255, mean=0.45, std=0.225, **declared)
    image = pixels(*shape, seed)
    found = example["preprocessed"](image, how.to_json(), PILLOW)
    expected = how.apply_array(image)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("crop", [(8, 8), (9, 12), (17, 20)])
def test_crops_are_cut_where_quantlab_cuts(example: dict[str, Any], crop: tuple[int, int]) -> None:
    how, image = Preprocess(crop=crop), pixels(17, 20, 3, 0)
    np.testing.assert_array_equal(example["preprocessed"](image, how.to_json(), PILLOW), how.apply_array(image))


def _saved(image: AnyArray, kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image.squeeze()).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("kind", "suffix"), [("PPM", ".ppm"), ("PNG", ".png"), ("npy", ".npy")])
def test_images_are_read_as_their_pixels(
    example: dict[str, Any], tmp_path: Path, channels: int, kind: str, suffix: str
) -> None:
    image, path = pixels(5, 7, channels, 0), tmp_path / f"x{suffix}"
    if kind == "npy":
        np.save(path, image)
    else:
        path.write_bytes(_saved(image, kind))
    np.testing.assert_array_equal(example["pixels"](path, "RGB" if channels == 3 else "GRAY"), image)


@pytest.fixture
def write(place: Path) -> Callable[..., Any]:
    model = load_model(place / "run" / "model.ort.onnx")
    how = Preprocess(color="GRAY", scale=1 / 255, mean=0.5, std=0.25)

    def written(name: str, **changed: Any) -> Any:
        fields: dict[str, Any] = {
            "name": "net",
            "model": model,
            "scales": place / "run" / "scales.ort.json",
            "preprocess": how,
        }
        return write_onnxruntime(place / name, ForOnnxRuntime(**fields | changed))

    return written


def run(folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(folder / "run.py"), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)


def test_the_example_classifies_an_image(place: Path, write: Callable[..., Any]) -> None:
    (place / "names.txt").write_text("ant\nbee\ncat\ndog\n")
    done, fresh = write("bundle", labels=place / "names.txt")
    assert fresh
    assert set(done.files) == {"model.ort.onnx", "scales.json", "run.py", "bundle.json", "README.txt", "labels.txt"}
    assert any("run.py ran on pixels" in check for check in done.checks)
    image = pixels(8, 8, 1, 3)
    (place / "x.pgm").write_bytes(_saved(image, "PPM"))
    ended = run(done.folder, place / "x.pgm", "--save", place / "out.npz", "--top", 1)
    assert ended.returncode == 0, ended.stderr
    with ql.engines.ort(place / "run" / "model.ort.onnx") as engine:
        logits = np.array(engine.run({"image": done_pixels(image)})["logits"])
    with np.load(place / "out.npz") as found:
        np.testing.assert_allclose(found["logits"], logits, rtol=1e-5)
    assert f"sample 0: {('ant', 'bee', 'cat', 'dog')[int(logits.argmax())]} " in ended.stdout


def done_pixels(image: AnyArray) -> AnyArray:
    return Preprocess(color="GRAY", scale=1 / 255, mean=0.5, std=0.25).apply_array(image)[np.newaxis]


def test_without_preprocessing_the_example_takes_arrays(place: Path, write: Callable[..., Any]) -> None:
    done, _ = write("bundle", preprocess=None)
    assert any("run.py ran on values" in check for check in done.checks)
    np.save(place / "x.npy", np.zeros((2, 1, 8, 8), np.float32))
    assert "float32[2, 4]" in run(done.folder, place / "x.npy").stdout


@pytest.mark.parametrize("name", ["missing.png", "text.png", "wide.npy"])
def test_the_example_says_what_it_cannot_use(place: Path, write: Callable[..., Any], name: str) -> None:
    done, _ = write("bundle")
    (place / "text.png").write_text("no image")
    np.save(place / "wide.npy", np.zeros((3, 3), np.float64))
    ended = run(done.folder, place / name)
    assert ended.returncode == 1
    assert ended.stderr.startswith("Error: ")
    assert "Traceback" not in ended.stderr


def test_a_changed_example_is_not_run(place: Path, write: Callable[..., Any]) -> None:
    done, _ = write("bundle")
    program, ran = done.folder / "run.py", place / "ran"
    program.write_text(f"open({str(ran)!r}, 'w')\n")
    with pytest.raises(StaleError, match=r"run\.py' was changed"):
        verify(done.folder)
    write_sums(done.folder)
    assert any("was not run" in note for note in verify(done.folder).notes)
    assert not ran.exists()


def test_modules_beside_the_example_are_not_imported_by_the_check(place: Path, write: Callable[..., Any]) -> None:
    done, _ = write("bundle")
    ran = place / "ran"
    (done.folder / "numpy.py").write_text(f"open({str(ran)!r}, 'w')\n")
    assert verify(done.folder).checks
    assert not ran.exists()


def test_an_example_that_preprocesses_otherwise_is_found_out(place: Path, write: Callable[..., Any]) -> None:
    done, _ = write("bundle")
    path = done.folder / "bundle.json"
    path.write_text(path.read_text().replace('"color": "GRAY"', '"color": "RGB"'))
    write_sums(done.folder)
    with pytest.raises(InputError):
        verify(done.folder)
