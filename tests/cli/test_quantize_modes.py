"""`quantlab quantize --mode`: without scales, and beside static quantization in one comparison."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from quantlab.comparison.lineup import Lineup
from quantlab.jobs.comparing import read_comparison
from tests.cli.workplace import DECLARED, done, quantlab, refused
from tests.graph.nets import net

MODES = ("weight-only", "weight-only-int4", "dynamic")


@pytest.mark.parametrize("mode", MODES)
def test_a_mode_needs_no_scales_and_tells_what_it_made(place: Path, mode: str) -> None:
    arguments = ("quantize", place / "model.onnx", "--mode", mode, "-o", place / "new.onnx")
    first = done(*arguments)
    assert "new.onnx written: " in first.out
    assert ("activations float" in first.out) == (mode != "dynamic")
    assert "is current" in done(*arguments).out
    found = done(*arguments, "--json").json
    assert (found["mode"], found["target"], found["fresh"]) == (mode, "ort", False)
    assert found["bytes"] == (place / "new.onnx").stat().st_size
    assert len(found["quantized" if mode == "dynamic" else "weights"]) == 3
    assert found["floats"] == {}


def test_int4_tells_what_is_int8_and_why(place: Path) -> None:
    onnx.save(net("g (float[N,64] x) => (float[N,3] y) { a = MatMul(x, w) \n y = MatMul(a, v) }", w=(64, 40), v=(40, 3)), place / "m.onnx")  # fmt: skip
    out = done("quantize", place / "m.onnx", "--mode", "weight-only-int4", "-o", place / "w4.onnx").out
    assert "its 40 input channels are no multiple of the block of 32" in out
    assert "1 weights in INT8, 1 in INT4, activations float" in out
    trt = ("quantize", place / "m.onnx", "--mode", "weight-only-int4", "--target", "tensorrt@10.3")
    ended = done(*trt, "-o", place / "trt.onnx")
    assert "What stays float" in ended.out
    assert "0 weights in INT8, 1 in INT4" in ended.out
    assert "not of 32" in refused(2, *trt, "--block", 32, "-o", place / "x.onnx")


def test_all_modes_are_scored_like_any_other_model(place: Path) -> None:
    model, data = place / "model.onnx", ("-d", place / "evaluation.npz", *DECLARED)
    for mode in MODES:
        done("quantize", model, "--mode", mode, "-o", place / f"{mode}.onnx")
        done("compare", model, place / f"{mode}.onnx", *data, "-o", place / f"{mode}.json")
        assert read_comparison(place / f"{mode}.json").agreement.score > 0.9
    done("compare", model, *(place / f"{mode}.onnx" for mode in MODES), *data, "-o", place / "all.json")
    found = Lineup.from_json((place / "all.json").read_text())
    assert [entry.name for entry in found.entries] == [f"{mode}.onnx" for mode in MODES]
    onnx.save(onnx.load(place / "other.onnx"), place / "changed.onnx")
    assert "made for" in refused(5, "compare", place / "changed.onnx", place / "dynamic.onnx", *data, "-o", place / "x.json")  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "Give SCALES after the model, or --mode weight-only, weight-only-int4 or dynamic without"),
        (("--mode", "fast"), "not «fast»"),
        (("@scales.json", "--mode", "dynamic"), "takes no scales"),
        (("--mode", "dynamic", "--target", "tensorrt@8.6"), "takes no activation ranges at run time"),
        (("--mode", "weight-only-int4", "--target", "tensorrt@8.6"), "has no INT4"),
        (("--mode", "weight-only-int4", "--block", "16"), "32, 64, 128"),
        (("--mode", "weight-only", "--block", "32"), "weight-only-int4"),
        (("@scales.json", "--block", "32"), "--block is for --mode weight-only-int4"),
        (("--mode", "dynamic", "--weights", "qdq"), "--weights qdq is for static quantization"),
        (("--mode", "dynamic", "--head", "int8"), "--head int8 is for static quantization"),
        (("--mode", "weight-only", "--allow-missing"), "--allow-missing is for static quantization"),
        (("--mode", "weight-only", "--target", "tpu"), "Unknown target"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(place: Path, arguments: tuple[str, ...], sentence: str) -> None:
    given = [place / part[1:] if part.startswith("@") else part for part in arguments]
    assert sentence in refused(2, "quantize", place / "model.onnx", *given, "-o", place / "new.onnx")
    assert not (place / "new.onnx").exists()


@pytest.mark.parametrize("mode", MODES)
def test_a_quantized_or_unreadable_model_is_bad_input(place: Path, mode: str) -> None:
    more = ("--mode", mode, "-o", place / "new.onnx")
    assert "already has Q/DQ" in refused(4, "quantize", place / "int8.onnx", *more)
    assert "There is no file" in refused(4, "quantize", place / "absent.onnx", *more)
    assert "also an input" in refused(
        2, "quantize", place / "model.onnx", "--mode", mode, "-o", place / "model.onnx", "--force"
    )


def test_a_mode_makes_a_static_model_of_the_same_name_stale(place: Path) -> None:
    stale = refused(5, "quantize", place / "model.onnx", "--mode", "weight-only", "-o", place / "int8.onnx")
    assert "is stale" in stale
    done("quantize", place / "model.onnx", "--mode", "weight-only", "-o", place / "int8.onnx", "--force")
    ended = quantlab("quantize", place / "model.onnx", place / "scales.json", "-o", place / "int8.onnx")
    assert ended.code == 5
