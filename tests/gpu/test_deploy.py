"""The embedded bundle on a GPU machine; and what of that measurement needs none."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import quantlab as ql
from quantlab.calibration.trt_cache import header, parse_cache, render_cache
from quantlab.deploy.bundle import read_bundle
from quantlab.deploy.embedded import Embedded, write_embedded
from quantlab.deploy.tensor_specs import ends_of_plan
from quantlab.engines.tensorrt.build_options import BuildOptions
from quantlab.engines.tensorrt.plan import read_plan
from quantlab.engines.tensorrt.runtime import library
from quantlab.graph.model import load_model
from tests.gpu.deploying import agreement, build_command, main, opened, timed

ROOT = Path(__file__).parents[2]
NET = ROOT / "calib_data" / "fashion_net.onnx"
IMAGES = ROOT / "calib_data" / "evaluation.npz"
GOLDEN = ROOT / "tests" / "golden" / "trt-8.6" / "fashion_net.minmax.cache"
GREY = {"color": "GRAY", "scale": 1 / 255, "mean": 0.2860, "std": 0.3530}


def bundle_for(version: str, folder: Path) -> Path:
    """Write a bundle with TensorRT's own scales of the network that ships, for a version up to 10."""
    found = parse_cache(GOLDEN.read_text(encoding="utf-8"))
    cache = folder / "int8.cache"
    cache.write_text(render_cache(replace(found, header=header(version, "EntropyCalibration2"))), encoding="utf-8")
    parts = Embedded(
        name="fashion",
        model=load_model(NET),
        cache=cache,
        scales=None,
        version=version,
        options=BuildOptions(precision=("fp32", "int8")),
    )
    write_embedded(folder / "bundle", parts)
    return folder / "bundle"


@pytest.mark.gpu
def test_the_target_builds_the_plan_that_quantlab_builds(tmp_path: Path) -> None:
    bundle = bundle_for(library("tensorrt").version, tmp_path)
    made = subprocess.run([sys.executable, str(bundle / "make_plan.py")], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    plan = read_plan(bundle / "model.plan")
    assert plan.card.scales == "cache EntropyCalibration2"
    pixels = ql.data.arrays(IMAGES, preprocess=ql.data.Preprocess.from_json(GREY), batch=32)
    batch = next(iter(pixels))
    with ql.engines.ort(NET) as exact, ql.engines.trt(plan) as engine:
        expected = {name: np.array(value) for name, value in exact.run(batch.bind(("image",))).items()}
        found = agreement(expected, {n: np.asarray(v) for n, v in engine.run(batch.bind(("image",))).items()})
    assert found["sqnr_db"] > 15
    assert found["same_largest"] > 0.9


@pytest.mark.gpu
def test_the_plan_tells_its_own_inputs(tmp_path: Path) -> None:
    bundle = bundle_for(library("tensorrt").version, tmp_path)
    subprocess.run([sys.executable, str(bundle / "make_plan.py")], check=True)
    told = ends_of_plan(read_plan(bundle / "model.plan"), load_model(NET))
    assert str(told.inputs["image"]) == "image: float32[batch, 1, 28, 28]"
    assert told.teller.startswith("tensorrt")


@pytest.mark.gpu
def test_the_measurement_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, out = bundle_for(library("tensorrt").version, tmp_path), tmp_path / "out"
    monkeypatch.setattr("tests.gpu.deploying.PREPROCESS", ql.data.Preprocess.from_json(GREY))
    words = ["--bundle", str(bundle), "--images", str(IMAGES), "--out", str(out)]
    monkeypatch.setattr("sys.argv", ["deploying", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    found = json.loads((out / "deploy.json").read_text(encoding="utf-8"))
    assert found["plans"]["make_plan_py"]["against_quantlab_build"]["same_largest"] > 0.95


def test_the_golden_cache_makes_a_bundle_for_the_tensorrt_that_wrote_it(tmp_path: Path) -> None:
    bundle = bundle_for("8.6.1", tmp_path)
    assert sorted(path.name for path in bundle.iterdir()) == [
        "README.txt", "SHA256SUMS", "bundle.json", "calibration.cache", "make_plan.cpp", "make_plan.py", "make_plan.sh",
        "model.onnx", "scales.json",
    ]  # fmt: skip


def test_the_command_it_is_compared_with_is_that_of_the_same_plan(tmp_path: Path) -> None:
    bundle = bundle_for("8.6.1", tmp_path)
    asked = argparse.Namespace(bundle=bundle, out=tmp_path)
    words = build_command(asked, read_bundle(bundle))
    emitted = timed([*words, "--emit", "trtexec", "--tensorrt", "8.6.1"])
    assert "failed" not in emitted
    assert "image:1x1x28x28,32x1x28x28,32x1x28x28" in words
    assert words[words.index("--precision") + 1] == "fp32+int8"


def test_agreement_tells_equal_bits_from_near_ones() -> None:
    exact = {"y": np.array([[1.0, 2.0], [3.0, 1.0]], np.float32)}
    assert agreement(exact, exact) == {"sqnr_db": None, "same_bits": True, "same_largest": 1.0}
    near = {"y": np.array([[1.0, 2.5], [3.0, 4.0]], np.float32)}
    assert agreement(exact, near)["same_largest"] == 0.5
    assert agreement(exact, near)["sqnr_db"] < 10


def test_images_are_preprocessed_as_the_calibrations_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = read_bundle(bundle_for("8.6.1", tmp_path))
    monkeypatch.setattr("tests.gpu.deploying.PREPROCESS", ql.data.Preprocess.from_json(GREY))
    batch = next(iter(opened(bundle, IMAGES)))
    assert batch.bind(("image",))["image"].shape == (8, 1, 28, 28)


def test_a_command_that_fails_is_a_result() -> None:
    assert timed([sys.executable, "-c", "import sys; sys.exit('no')"])["failed"] == {"code": 1, "said": "no\n"}
    assert "failed" in timed(["/nonexistent"])
