"""The trtexec command of each version: its flags are those that NVIDIA's sampleOptions.cpp of that tag reads."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

import onnx
import pytest

from quantlab.calibration.scale_table import ScaleTable
from quantlab.calibration.trt_cache import CalibrationCache
from quantlab.engines.tensorrt.build_options import (
    BuildOptions,
    FromCache,
    FromRanges,
    Int8Source,
    NativeCalibration,
    Profile,
)
from quantlab.engines.tensorrt.trtexec import Subject, command
from quantlab.errors import UsageError

FLOAT = Subject("m.onnx", shapes={"x": (-1, 3, 8, 8)}, nodes=(("conv", ("a",)), ("relu", ("b",)), ("head/fc", ("y",))))
FIXED = Subject("m.onnx")
QDQ = Subject("m.onnx", explicit=True)
CACHE = FromCache(CalibrationCache("TRT-8601-EntropyCalibration2", {"x": 0.1}))
THREE = Profile({"x": ((1, 3, 8, 8), (4, 3, 8, 8), (8, 3, 8, 8))})
ONE = Profile.only({"x": (16, 3, 8, 8)})
EVERY: dict[str, Any] = {
    "precision": ("tf32", "fp16", "int8"),
    "profiles": (THREE,),
    "calibration_profile": ONE,
    "layers": {"conv": "fp32"},
    "workspace": 3 << 29,
    "timing_cache": "t.cache",
    "refit": True,
    "plugins": ("a.so", "b.so"),
    "dla": 1,
    "gpu_fallback": True,
    "tactics": ("cublas",),
    "device": 2,
}
"""All that 8.5 has."""
IN_8_5 = {
    "onnx", "saveEngine", "buildOnly", "fp16", "int8", "calib", "minShapes", "optShapes", "maxShapes", "optShapesCalib",
    "precisionConstraints", "layerPrecisions", "memPoolSize", "timingCacheFile", "refit", "plugins", "useDLACore",
    "allowGPUFallback", "device", "tacticSources", "profilingVerbosity", "exportLayerInfo",
}  # fmt: skip


def flags(
    subject: Subject, options: BuildOptions, int8: Int8Source | None = None, version: str = "8.6.1", **more: Any
) -> list[tuple[str, str]]:
    """Return each flag and its value, as a shell would hand them over."""
    words = shlex.split(command(subject, options, int8, plan="m.plan", version=version, **more).text)
    assert words[0] == ("tensorrt_rtx" if more.get("library") == "tensorrt_rtx" else "trtexec")
    assert all(word.startswith("--") for word in words[1:])
    return [(name.removeprefix("--"), value) for name, _, value in (word.partition("=") for word in words[1:])]


def named(*arguments: Any, **more: Any) -> Mapping[str, str]:
    found = flags(*arguments, **more)
    assert len(dict(found)) == len(found)
    return dict(found)


def test_all_that_8_5_has_uses_only_flags_that_8_5_has() -> None:
    found = flags(FLOAT, BuildOptions(**EVERY), CACHE, "8.5.3", cache="i.cache")
    assert {name for name, _ in found} == IN_8_5
    assert [value for name, value in found if name == "plugins"] == ["a.so", "b.so"]
    values = dict(found)
    assert values["memPoolSize"] == "workspace:1536"
    assert values["calib"] == "i.cache"
    assert values["minShapes"] == "x:1x3x8x8"
    assert values["optShapes"] == "x:4x3x8x8"
    assert values["maxShapes"] == "x:8x3x8x8"
    assert values["optShapesCalib"] == "x:16x3x8x8"
    assert values["layerPrecisions"] == "conv:fp32"
    assert values["tacticSources"] == "+CUBLAS,-CUBLAS_LT,-CUDNN,-EDGE_MASK_CONVOLUTIONS,-JIT_CONVOLUTIONS"


def test_8_6_skips_inference_and_loads_plugins_by_their_new_names() -> None:
    found = {name for name, _ in flags(FLOAT, BuildOptions(**EVERY), CACHE, "8.6.1")}
    assert found == IN_8_5 - {"buildOnly", "plugins"} | {"skipInference", "staticPlugins"}


def test_strict_fp32_switches_tf32_off_and_tf32_leaves_it() -> None:
    assert "noTF32" in named(FIXED, BuildOptions())
    assert "noTF32" not in named(FIXED, BuildOptions(precision=("tf32",)))


@pytest.mark.parametrize("version", ["8.5", "8.6.1", "9.3", "10.0", "10.16"])
def test_q_dq_needs_int8_up_to_10(version: str) -> None:
    assert "int8" in named(QDQ, BuildOptions(), None, version)


@pytest.mark.parametrize(
    ("library", "version"), [("tensorrt", "11.0"), ("tensorrt", "11.4.0.106"), ("tensorrt_rtx", "1.7")]
)
def test_where_types_are_the_models_no_flag_names_one(library: str, version: str) -> None:
    for options in (BuildOptions(), BuildOptions(precision=("int8",)), BuildOptions(strongly_typed=True)):
        found = named(QDQ, options, None, version, library=library)
        assert not {"int8", "fp16", "bf16", "fp8", "int4", "stronglyTyped", "calib", "layerPrecisions"} & set(found)


def test_a_strongly_typed_build_says_so_up_to_10_and_names_no_precision() -> None:
    found = named(QDQ, BuildOptions(strongly_typed=True), None, "10.3")
    assert "stronglyTyped" in found
    assert "int8" not in found


def test_newer_kinds_of_plans() -> None:
    options = BuildOptions(version_compatible=True, hardware_compatible=True, strip=True, level=5)
    found = named(FIXED, options, None, "10.0")
    assert {"versionCompatible", "stripWeights"} <= set(found)
    assert found["hardwareCompatibilityLevel"] == "ampere+"
    assert found["builderOptimizationLevel"] == "5"
    with pytest.raises(UsageError, match="it came with"):
        command(FIXED, options, None, plan="m.plan", version="8.5")


def test_int4_has_its_flag_from_10_1_and_fp8_excludes_int8() -> None:
    assert {"int4"} <= set(named(QDQ, BuildOptions(precision=("int4",)), None, "10.1"))
    with pytest.raises(UsageError, match="no --int4"):
        flags(QDQ, BuildOptions(precision=("int4",)), None, "10.0")
    found = named(QDQ, BuildOptions(precision=("fp8", "fp16")), None, "10.3")
    assert {"fp8", "fp16"} <= set(found)
    assert "int8" not in found
    with pytest.raises(UsageError, match="not both"):
        flags(QDQ, BuildOptions(precision=("fp8", "int8")), None, "10.3")


def test_a_free_batch_gets_the_profile_that_build_makes() -> None:
    found = named(FLOAT, BuildOptions())
    assert [found[f"{n}Shapes"] for n in ("min", "opt", "max")] == ["x:1x3x8x8", "x:32x3x8x8", "x:32x3x8x8"]


def test_inputs_without_free_dimensions_get_no_shapes() -> None:
    fixed = Subject("m.onnx", shapes={"x": (1, 3, 8, 8)})
    assert "optShapes" not in named(fixed, BuildOptions(profiles=(Profile.only({"x": (1, 3, 8, 8)}),)))


@pytest.mark.parametrize(("name", "shape"), [("y", (1, 3, 8, 8)), ("x", (1, 4, 8, 8)), ("x", (1, 3, 8))])
def test_shapes_that_no_input_has_are_refused(name: str, shape: tuple[int, ...]) -> None:
    for subject in (Subject("m.onnx", shapes={"x": (1, 3, 8, 8)}), Subject("m.onnx", shapes={"x": (-1, 3, 8, 8)})):
        with pytest.raises(UsageError, match=r"no input «y»|does not fit"):
            flags(subject, BuildOptions(profiles=(Profile.only({name: shape}),)))


def test_other_free_dimensions_ask_for_shapes() -> None:
    with pytest.raises(UsageError, match="besides the batch"):
        flags(Subject("m.onnx", shapes={"x": (-1, 3, -1, -1)}), BuildOptions())


def test_several_profiles_are_numbered_in_order_from_9_on() -> None:
    options = BuildOptions(profiles=(THREE, ONE))
    found = [pair for pair in flags(FLOAT, options, None, "10.3") if pair[0] == "profile" or "Shapes" in pair[0]]
    assert found == [
        ("profile", "0"), ("minShapes", "x:1x3x8x8"), ("optShapes", "x:4x3x8x8"), ("maxShapes", "x:8x3x8x8"),
        ("profile", "1"), ("minShapes", "x:16x3x8x8"), ("optShapes", "x:16x3x8x8"), ("maxShapes", "x:16x3x8x8"),
    ]  # fmt: skip
    with pytest.raises(UsageError, match="one optimization profile"):
        flags(FLOAT, options, None, "8.6.1")


def test_layer_patterns_become_the_nodes_that_they_match() -> None:
    options = BuildOptions(precision=("fp16",), layers={"*": "fp16", "head/*": "fp32", "b": "fp32"})
    assert named(FLOAT, options)["layerPrecisions"] == "*:fp16,head/fc:fp32,relu:fp32"


def test_of_layer_patterns_the_last_decides() -> None:
    options = BuildOptions(precision=("fp16",), layers={"head/*": "fp32", "*": "fp16"})
    assert named(FLOAT, options)["layerPrecisions"] == "*:fp16"


def test_layers_that_trtexec_cannot_name_are_refused() -> None:
    for nodes, pattern, words in (
        ((("conv", ("a",)),), "nothing", "No node"),
        ((("", ("a",)),), "a", "has no name"),
        ((("a,b", ("a",)),), "a", "comma"),
    ):
        subject = Subject("m.onnx", nodes=nodes)
        with pytest.raises(UsageError, match=words):
            flags(subject, BuildOptions(precision=("fp16",), layers={pattern: "fp32"}))


def test_what_trtexec_cannot_do_is_said() -> None:
    int8 = BuildOptions(precision=("int8",))
    for source, words in (
        (NativeCalibration(batches=()), "random numbers"),
        (FromRanges(ScaleTable(())), "sets no dynamic ranges"),
        (FromCache(CalibrationCache("TRT-8601-MinMaxCalibration", {"x": 0.1})), "--algorithm EntropyCalibration2"),
    ):
        with pytest.raises(UsageError, match=words):
            command(FIXED, int8, source, plan="m.plan", version="8.6.1", cache="i.cache")


def test_a_missing_cache_would_go_unnoticed_so_it_is_said() -> None:
    found = command(FIXED, BuildOptions(precision=("int8",)), CACHE, plan="m.plan", version="8.6.1", cache="i.cache")
    assert any("copy the file too" in note for note in found.notes)


def test_flags_that_no_guide_of_tensorrt_rtx_shows_are_named() -> None:
    found = command(QDQ, BuildOptions(level=3), plan="m.plan", version="1.7", library="tensorrt_rtx")
    assert found.text.startswith("tensorrt_rtx --onnx=m.onnx --saveEngine=m.plan --skipInference")
    assert any("--noTF32" in note and "--builderOptimizationLevel" in note for note in found.notes)


def test_names_are_quoted_for_a_shell() -> None:
    subject = Subject("my models/m$1.onnx", shapes={"in:0": (-1, 4)})
    words = shlex.split(command(subject, BuildOptions(), plan="a plan", version="8.6").text)
    assert "--onnx=my models/m$1.onnx" in words
    assert "--saveEngine=a plan" in words
    assert "--optShapes=in:0:32x4" in words  # trtexec splits at the last colon
    with pytest.raises(UsageError, match="comma"):
        command(Subject("m", shapes={"a,b": (-1, 4)}), BuildOptions(), plan="p", version="8.6")


def test_a_model_tells_its_free_inputs_its_nodes_and_q_dq() -> None:
    proto = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[batch,4] x, float[2,4] z) => (float[batch,4] y) '
        "<float w = {2.0}> { y = Mul (x, w) }"
    )
    found = Subject.of("m.onnx", proto)
    assert found.free == {"x": (-1, 4)}
    assert found.nodes == (("", ("y",)),)
    assert not found.explicit
