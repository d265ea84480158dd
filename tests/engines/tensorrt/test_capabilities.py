"""The table of what each TensorRT can do, held against the libraries that are here and against what users are told."""

from __future__ import annotations

from itertools import pairwise

import pytest
import tensorrt_rtx

from quantlab.calibration.trt_cache import CalibrationCache
from quantlab.engines.tensorrt.build_options import BuildOptions, FromCache, NativeCalibration, Precision
from quantlab.engines.tensorrt.capabilities import (
    FEATURES,
    TABLE,
    Feature,
    always_typed,
    columns,
    has,
    parse_version,
    require,
    table,
)
from quantlab.engines.tensorrt.requirements import check_requirements, features_of
from quantlab.errors import UsageError

CACHE = FromCache(CalibrationCache("TRT-8601-EntropyCalibration2", {"x": 0.1}))


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("8.6.1", (8, 6, 1)),
        ("8.6.1.6", (8, 6, 1, 6)),
        ("10.3.0.26", (10, 3, 0, 26)),
        ("11.4", (11, 4)),
        (" 10.0.0b6 ", (10, 0, 0)),
        ("8.6.1.post1", (8, 6, 1)),
    ],
)
def test_versions_are_read_as_people_and_libraries_write_them(text: str, version: tuple[int, ...]) -> None:
    assert parse_version(text) == version


@pytest.mark.parametrize("text", ["", "8", "v8.6", "8.6-1", "8..6", "ten", "8.6 or later"])
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="A TensorRT version looks like"):
        parse_version(text)


@pytest.mark.parametrize(
    ("feature", "since", "until"),
    [
        ("calibration cache", "8.5", "11.0"),
        ("dynamic ranges", "8.5.1", "11.0"),
        ("weak typing", "8.5.3", "11.0.0"),
        ("precision constraints", "8.6", "11.0"),
        ("implicit batch", "8.6.1", "10.0"),
        ("optimization level", "8.6.0", None),
        ("version-compatible plans", "8.6", None),
        ("strong typing", "9.0.0", None),
        ("bf16", "9.1", None),
        ("stripped plans", "10.0.0.6", None),
        ("int4", "10.0", None),
        ("plugins V3", "10.0.1", None),
        ("Q/DQ", "8.5", None),
    ],
)
def test_a_feature_is_there_from_its_first_version_to_before_the_one_without(
    feature: Feature, since: str, until: str | None
) -> None:
    assert has(feature, "tensorrt", since)
    assert has(feature, "tensorrt", "10.0" if until == "11.0" else since)
    if until is not None:
        assert not has(feature, "tensorrt", until)
    assert has(feature, "tensorrt", "11.4") == (until is None)


@pytest.mark.parametrize("feature", ["optimization level", "bf16", "stripped plans", "plugins V3"])
def test_before_its_first_version_it_is_not(feature: Feature) -> None:
    assert not has(feature, "tensorrt", "8.5.3")


def test_dla_went_and_came_back() -> None:
    found = [has("DLA", "tensorrt", version) for version in ("8.6", "10.7", "10.8", "11.0", "11.3.1", "11.4.1")]
    assert found == [True, True, False, False, False, True]


@pytest.mark.parametrize("version", ["11.0", "11.4"])
def test_on_11_a_cache_is_refused_with_what_to_do_instead(version: str) -> None:
    with pytest.raises(UsageError) as refusal:
        require("calibration cache", "tensorrt", version)
    assert str(refusal.value) == (
        f"TensorRT {version} has no calibration caches (removed in 11.0): use Q/DQ; `quantlab cache convert` makes it from this "
        "cache (CACHE --model MODEL -o MODEL.int8.onnx)."
    )


def test_what_is_too_new_names_its_version() -> None:
    with pytest.raises(UsageError, match=r"TensorRT 8\.6\.1 has no BF16 \(it came with 9\.0\): use fp16\."):
        require("bf16", "tensorrt", "8.6.1")


def test_every_refusal_is_one_sentence_that_says_what_to_do() -> None:
    for feature in FEATURES:
        for library, version in (
            ("tensorrt", "8.5"),
            ("tensorrt", "10.9"),
            ("tensorrt", "11.0"),
            ("tensorrt_rtx", "1.7"),
        ):
            if not has(feature, library, version):
                with pytest.raises(UsageError, match=r"^TensorRT.* has no .+ \(.+\): .+\.$"):
                    require(feature, library, version)


def test_the_table_has_a_row_a_feature_and_a_column_a_version() -> None:
    rows = table()
    assert [row[0] for row in rows] == list(FEATURES) == list(TABLE)
    assert {len(row) for row in rows} == {1 + len(columns())}
    assert {cell for row in rows for cell in row[1:]} == {"yes", "deprecated", "no"}
    assert ("calibrators", "deprecated") in table("10.3")
    assert ("calibrators", "yes") in table("10.0")


def test_something_changes_at_every_column() -> None:
    cells = list(zip(*(row[1:] for row in table()), strict=True))
    assert all(a != b for a, b in pairwise(cells))


def _in_rtx() -> dict[Feature, bool]:
    """Return what the installed module itself offers."""
    rtx, config, flags = tensorrt_rtx, tensorrt_rtx.IBuilderConfig, tensorrt_rtx.BuilderFlag
    return {
        "calibrators": hasattr(rtx, "IInt8EntropyCalibrator2"),
        "calibration cache": hasattr(config, "int8_calibrator"),
        "dynamic ranges": hasattr(rtx.ITensor, "set_dynamic_range"),
        "calibration profile": hasattr(config, "set_calibration_profile"),
        "weak typing": hasattr(flags, "FP16") or hasattr(flags, "INT8"),
        "precision constraints": hasattr(flags, "OBEY_PRECISION_CONSTRAINTS"),
        "strong typing": hasattr(rtx.NetworkDefinitionCreationFlag, "STRONGLY_TYPED"),
        "Q/DQ": hasattr(rtx.INetworkDefinition, "add_quantize"),
        "bf16": hasattr(rtx, "bfloat16"),
        "fp8": hasattr(rtx, "fp8"),
        "int4": hasattr(rtx, "int4"),
        "int64 tensors": hasattr(rtx, "int64"),
        "named I/O": hasattr(rtx.ICudaEngine, "num_io_tensors"),
        "implicit batch": hasattr(rtx.Builder, "max_batch_size"),
        "optimization level": hasattr(config, "builder_optimization_level"),
        "refit": hasattr(flags, "REFIT"),
        "stripped plans": hasattr(flags, "STRIP_PLAN"),
        "progress monitor": hasattr(config, "progress_monitor"),
    }


def test_the_table_agrees_with_the_installed_tensorrt_rtx() -> None:
    found = _in_rtx()
    assert {feature: has(feature, "tensorrt_rtx", tensorrt_rtx.__version__) for feature in found} == found
    # Their classes are there, but guides and the library's own log say that they do nothing.
    silent = set(FEATURES) - set(found)
    assert silent == {
        "timing cache", "version-compatible plans", "hardware-compatible plans", "plugins V2", "plugins V3", "DLA"
    }  # fmt: skip
    assert not any(TABLE[feature].rtx for feature in silent)


def test_types_are_always_the_models_from_11_on() -> None:
    assert [always_typed("tensorrt", v) for v in ("8.6", "10.16", "11.0")] == [False, False, True]
    assert always_typed("tensorrt_rtx", "1.7")


def test_a_build_needs_what_its_options_ask_for() -> None:
    options = BuildOptions(precision=("int8", "bf16"), level=4, layers={"a": "fp16"}, dla=0, strip=True)
    found = features_of(options, CACHE, explicit=False)
    assert found == (
        "named I/O", "calibration cache", "bf16", "precision constraints", "weak typing", "optimization level", "stripped plans", "DLA"
    )  # fmt: skip
    assert features_of(BuildOptions(), None, explicit=False) == ("named I/O",)


def _check(options: BuildOptions, int8: FromCache | NativeCalibration | None, *, explicit: bool, version: str) -> None:
    check_requirements(options, int8, explicit=explicit, library="tensorrt", version=version)


def test_int8_without_scales_is_refused_for_any_version() -> None:
    options = BuildOptions(precision=("int8",))
    _check(options, None, explicit=True, version="11.0")
    _check(options, CACHE, explicit=False, version="10.3")
    with pytest.raises(UsageError, match=r"a calibration cache, a scale table, .* or a Q/DQ model"):
        _check(options, None, explicit=False, version="10.3")
    with pytest.raises(UsageError, match="INT8 needs scales: a Q/DQ model"):
        _check(options, None, explicit=False, version="11.0")


@pytest.mark.parametrize("precision", ["fp8", "int4"])
def test_small_types_without_q_dq_are_refused(precision: Precision) -> None:
    options = BuildOptions(precision=(precision,))
    _check(options, None, explicit=True, version="10.3")
    with pytest.raises(UsageError, match=f"{precision.upper()} comes from Q/DQ nodes alone"):
        _check(options, None, explicit=False, version="10.3")


def test_a_tensorrt_without_tensors_by_name_is_refused() -> None:
    with pytest.raises(UsageError, match=r"TensorRT 8\.4 has no tensors by name .*: use TensorRT 8\.5 or later"):
        _check(BuildOptions(), None, explicit=False, version="8.4")


def test_scales_beside_q_dq_are_refused() -> None:
    with pytest.raises(UsageError, match="TensorRT would ignore"):
        _check(BuildOptions(precision=("int8",)), CACHE, explicit=True, version="8.6")


def test_strong_typing_goes_with_no_precision_from_outside() -> None:
    for options in (
        BuildOptions(strongly_typed=True, precision=("fp16",)),
        BuildOptions(strongly_typed=True, layers={"a": "fp16"}),
    ):
        with pytest.raises(UsageError, match="types are the model's own"):
            _check(options, None, explicit=False, version="10.3")
    _check(BuildOptions(strongly_typed=True), None, explicit=True, version="10.3")


def test_a_dla_takes_entropy2_alone() -> None:
    options = BuildOptions(precision=("int8",), dla=0)
    _check(options, CACHE, explicit=False, version="8.6")
    for source in (
        NativeCalibration(algorithm="minmax", batches=()),
        FromCache(CalibrationCache("TRT-8601-MinMaxCalibration", {"x": 0.1})),
    ):
        with pytest.raises(UsageError, match="entropy2 only"):
            _check(options, source, explicit=False, version="8.6")
