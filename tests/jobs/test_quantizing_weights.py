"""The step that stores weights as integers: what it takes, what it refuses, when it does nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest

from quantlab.errors import InputError, StaleError, UsageError
from quantlab.jobs.manifest import recorded
from quantlab.jobs.quantizing_weights import MODES, Mode, QuantizingWeights, quantize_weights, rebuilt_weights
from tests.graph.nets import net, residual_net


@pytest.fixture
def model(tmp_path: Path) -> Path:
    onnx.save(residual_net(), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


@pytest.mark.parametrize("mode", MODES)
def test_a_model_is_made_once_and_is_current_then(model: Path, mode: Mode) -> None:
    what = QuantizingWeights(model, model.with_name("out.onnx"), mode)
    made, built = quantize_weights(what)
    assert made.fresh
    assert built is not None
    entry = recorded(what.output)
    assert entry is not None
    assert entry.recipe.options["mode"] == mode
    assert ("onnxruntime" in entry.versions) == (mode == "dynamic")
    again, nothing = quantize_weights(what)
    assert (again.fresh, nothing) == (False, None)
    written = onnx.load(what.output).SerializeToString(deterministic=True)
    assert rebuilt_weights(what).model.proto.SerializeToString(deterministic=True) == written


def test_another_mode_or_block_makes_the_file_stale(model: Path) -> None:
    output = model.with_name("out.onnx")
    quantize_weights(QuantizingWeights(model, output, "weight-only-int4"))
    with pytest.raises(StaleError, match="mode"):
        quantize_weights(QuantizingWeights(model, output, "weight-only"))
    with pytest.raises(StaleError, match="block"):
        quantize_weights(QuantizingWeights(model, output, "weight-only-int4", block=64))
    made, _ = quantize_weights(QuantizingWeights(model, output, "weight-only"), remake="stale")
    assert made.fresh


def test_another_model_makes_the_file_stale(model: Path) -> None:
    output = model.with_name("out.onnx")
    quantize_weights(QuantizingWeights(model, output, "weight-only"))
    onnx.save(net("g (float[N,8] x) => (float[N,4] y) { y = MatMul(x, w) }", w=(8, 4)), model)
    with pytest.raises(StaleError, match="model"):
        quantize_weights(QuantizingWeights(model, output, "weight-only"))


def test_blocks_are_64_for_tensorrt_and_32_for_ort(tmp_path: Path) -> None:
    onnx.save(net("g (float[N,128] x) => (float[N,4] y) { y = MatMul(x, w) }", w=(128, 4)), tmp_path / "m.onnx")
    for target, block in (("ort", 32), ("tensorrt@10.3", 64)):
        what = QuantizingWeights(tmp_path / "m.onnx", tmp_path / "out.onnx", "weight-only-int4", target)
        quantize_weights(what, remake="always")
        entry = recorded(what.output)
        assert entry is not None
        assert entry.recipe.options["block"] == block


def test_convolutions_in_the_mode_dynamic_earn_a_note(model: Path) -> None:
    made, _ = quantize_weights(QuantizingWeights(model, model.with_name("out.onnx"), "dynamic"))
    assert "one scale for all its channels" in made.notes[0]


def test_int8_weights_alone_earn_tensorrt_a_note(model: Path) -> None:
    made, _ = quantize_weights(QuantizingWeights(model, model.with_name("out.onnx"), "weight-only", "tensorrt@8.6"))
    assert "smaller, not faster" in made.notes[0]


@pytest.mark.parametrize(
    ("mode", "more", "sentence"),
    [
        ("dynamic", {"target": "tensorrt@10.3"}, "takes no activation ranges at run time"),
        ("dynamic", {"block": 32}, "is for the mode weight-only-int4, not for dynamic"),
        ("weight-only", {"block": 64}, "is for the mode weight-only-int4"),
        ("weight-only-int4", {"target": "tensorrt@8.6"}, "has no INT4"),
        ("weight-only-int4", {"target": "tensorrt@10.3", "block": 32}, "64 or 128"),
        ("weight-only-int4", {"block": 48}, "32, 64, 128"),
        ("weight-only-int4", {"block": 0}, "not of 0"),
        ("weight-only", {"target": "tpu"}, "Unknown target"),
    ],
)
def test_what_does_not_go_together_is_refused(model: Path, mode: Mode, more: dict[str, Any], sentence: str) -> None:
    output = model.with_name("out.onnx")
    with pytest.raises(UsageError, match=sentence):
        quantize_weights(QuantizingWeights(model, output, mode, **more))
    assert not output.exists()


@pytest.mark.parametrize("mode", MODES)
def test_a_model_without_weights_is_refused_by_its_name(tmp_path: Path, mode: Mode) -> None:
    onnx.save(net("g (float[N,3] x) => (float[N,3] y) { y = Relu(x) }"), tmp_path / "bare.onnx")
    with pytest.raises(InputError, match=r"bare\.onnx"):
        quantize_weights(QuantizingWeights(tmp_path / "bare.onnx", tmp_path / "out.onnx", mode))
