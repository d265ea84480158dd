"""The text of calibration caches: headers, names and scales, to the last bit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlab.calibration.scale_table import Scale, ScaleTable
from quantlab.calibration.trt_cache import CalibrationCache, cache_of, header, parse_cache, render_cache, table_of
from quantlab.errors import InputError, UsageError

names = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1)
float32 = st.floats(width=32, allow_nan=False)


@given(st.dictionaries(names, float32))
def test_what_is_rendered_is_parsed(scales: dict[str, float]) -> None:
    cache = CalibrationCache("TRT-8601-EntropyCalibration2", scales)
    found = parse_cache(render_cache(cache))
    assert found == cache
    assert list(found.scales) == list(scales)


@given(st.dictionaries(names, st.floats(2**-126, 2**100, width=32), min_size=1))
def test_a_cache_read_into_a_table_is_rendered_byte_for_byte(scales: dict[str, float]) -> None:
    text = render_cache(CalibrationCache("TRT-100300-MinMaxCalibration", scales))
    table = table_of(parse_cache(text))
    assert render_cache(cache_of(table)) == text
    assert list(table) == list(scales)


@pytest.mark.parametrize(
    "name", ["a: b", "a: 3c010204", "with blanks ", " x", ":", "a:", "(Unnamed Layer* 405) [Constant]_output"]
)
def test_a_line_is_split_at_its_last_colon(name: str) -> None:
    assert parse_cache(f"TRT-8601-EntropyCalibration2\n{name}: 3f800000\n").scales == {name: 1.0}


@pytest.mark.parametrize(
    ("digits", "amax"),
    [
        ("3c010204", 1.0),
        ("3c010a14", 2048.5 / 2048),
        ("3c00f9f4", 2047.5 / 2048),
        ("3c008912", 2040.5 / 2048),
        ("3b810a13", 0.5 * (2048.5 / 2048)),
    ],
)
def test_digits_are_amax_over_127(digits: str, amax: float) -> None:
    scale = parse_cache(f"TRT-8601-EntropyCalibration2\nx: {digits}\n").scales["x"]
    assert scale == pytest.approx(amax / 127, rel=2**-22)  # the last one was recorded a unit lower


@pytest.mark.parametrize(
    ("version", "algorithm", "line"),
    [
        ("8.6.1", "EntropyCalibration2", "TRT-8601-EntropyCalibration2"),
        ("8.5", "MinMaxCalibration", "TRT-8500-MinMaxCalibration"),
        ("8.6.1.6", "EntropyCalibration2", "TRT-8601-EntropyCalibration2"),
        ("10.3.0", "EntropyCalibration2", "TRT-100300-EntropyCalibration2"),
        ("10.16.2", "MinMaxCalibration", "TRT-101602-MinMaxCalibration"),
    ],
)
def test_a_header_holds_version_and_algorithm(version: str, algorithm: str, line: str) -> None:
    assert header(version, algorithm) == line
    read = CalibrationCache(line, {})
    assert read.algorithm == algorithm
    assert header(read.version or "", read.algorithm) == line


def test_legacys_first_line_holds_cutoff_and_quantile() -> None:
    line = header("8.6.0", "LegacyCalibration", quantile=0.9999, cutoff=1.0)
    assert line == "0 3ff0000000000000 3fefff2e48e8a71e"
    read = parse_cache(f"{line}\nx: 3c010204\n")
    assert (read.algorithm, read.version) == ("LegacyCalibration", None)


@pytest.mark.parametrize("line", ["TRT-8601-Some-New: Calibrator", "TRT-x-EntropyCalibration2", "TRT-"])
def test_an_unknown_header_is_kept_as_it_stands(line: str) -> None:
    text = f"{line}\nx: 3c010204\n"
    assert render_cache(parse_cache(text)) == text


@pytest.mark.parametrize("version", ["11.0", "11.0.0", "12.1"])
def test_tensorrt_11_reads_no_cache(version: str) -> None:
    with pytest.raises(UsageError, match="reads no calibration cache: 11 removed them"):
        header(version, "EntropyCalibration2")


@pytest.mark.parametrize("version", ["", "8", "x.y", "8.6-rc", "v8.6"])
def test_a_version_that_is_none_is_refused(version: str) -> None:
    with pytest.raises(UsageError, match=r"looks like 8\.6\.1"):
        header(version, "EntropyCalibration2")


def test_an_unknown_algorithm_is_refused_and_the_known_are_listed() -> None:
    with pytest.raises(UsageError, match="«Entropy3»; the known ones are EntropyCalibration2, MinMaxCalibration"):
        header("8.6.1", "Entropy3")


@pytest.mark.parametrize("text", ["", "\n", "x: 3c010204\n", '{"schema": 1}', "0 3ff0 3fef\n"])
def test_a_text_that_is_no_cache_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="This is no TensorRT calibration cache"):
        parse_cache(text)


@pytest.mark.parametrize("line", ["x", "x:3c010204", ": 3c010204", "x: ", "x: 3c01020g", "x: 3c0102045", "x: -1"])
def test_a_line_that_is_no_scale_is_named(line: str) -> None:
    with pytest.raises(InputError, match="Line 3 of the cache"):
        parse_cache(f"TRT-8601-EntropyCalibration2\na: 3c010204\n{line}\n")


def test_a_tensor_that_occurs_twice_is_named() -> None:
    with pytest.raises(InputError, match="Line 3 of the cache names tensor «a» a second time"):
        parse_cache("TRT-8601-EntropyCalibration2\na: 3c010204\na: 3c010204\n")


@pytest.mark.parametrize("digits", ["00000000", "80000000", "bf800000", "7f800000", "ff800000", "7fc00000"])
def test_a_scale_must_be_finite_and_positive(digits: str) -> None:
    cache = parse_cache(f"TRT-8601-EntropyCalibration2\na: {digits}\n")
    with pytest.raises(InputError, match="The cache gives tensor «a» the scale"):
        table_of(cache)


def test_keys_outside_the_model_are_unknown_and_stay() -> None:
    table = table_of(parse_cache("TRT-8601-EntropyCalibration2\na: 3c010204\nb: 3c010204\n"), frozenset({"b"}))
    assert [(row.tensor, row.role) for row in table.rows] == [("a", "unknown"), ("b", "activation")]


def test_weights_are_left_out() -> None:
    table = ScaleTable((Scale("w", (0.5,), role="weight"), Scale("x", (0.25,))))
    assert cache_of(table, "TRT-8601-EntropyCalibration2").scales == {"x": 0.25}


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (Scale("x", (0.5,), (3,), scheme="affine"), "Tensor «x» is affine"),
        (Scale("x", (0.5, 0.5), (0, 0), axis=1), "with 2 scales; a cache holds one symmetric scale a tensor"),
        (Scale("x\ny", (0.5,)), "line break"),
    ],
)
def test_what_a_cache_cannot_express_is_refused(row: Scale, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        cache_of(ScaleTable((row,)), "TRT-8601-EntropyCalibration2")


def test_a_table_that_came_from_no_cache_needs_a_header() -> None:
    with pytest.raises(UsageError, match="A cache needs a header"):
        cache_of(ScaleTable((Scale("x", (0.5,)),)))


def test_a_cache_cut_short_in_its_last_number_is_refused() -> None:
    with pytest.raises(InputError, match="Line 3 of the cache is not"):
        parse_cache("TRT-8601-EntropyCalibration2\na: 3c010a14\nb: 3c01")


def test_a_name_with_a_unicode_line_break_is_read_back() -> None:
    cache = CalibrationCache("TRT-8601-EntropyCalibration2", {"a\u2028b": 0.5})
    assert parse_cache(render_cache(cache)) == cache
