"""Calibration caches as files: for a named model, byte for byte, and not for another one."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from quantlab.calibration.scale_table import Scale, ScaleTable
from quantlab.errors import InputError, StaleError, UsageError
from quantlab.storage.cache_sidecar import read_sidecar, sidecar_path
from quantlab.storage.calibration_cache import check_cache, read_cache, rewrite_cache, write_cache
from tests.storage.values import PROVENANCE, SCALE

GOLDEN = Path(__file__).parents[1] / "golden" / "trt-8.6"
MODEL = ("input", "conv: 1 out")
TABLE = ScaleTable(
    (
        Scale("input", (SCALE,)),
        Scale("conv: 1 out", (0.5,)),
        Scale("w", (0.5, 2.0), (0, 0), axis=0, role="weight"),
    ),
    PROVENANCE,
)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "calibration.cache"
    assert write_cache(path, TABLE, model_tensors=MODEL, version="8.6.1", algorithm="EntropyCalibration2") == ()
    return path


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.cache")), ids=lambda path: path.name)
def test_tensorrts_own_cache_is_written_back_byte_for_byte(tmp_path: Path, path: Path) -> None:
    rewrite_cache(tmp_path / "again.cache", read_cache(path))
    assert (tmp_path / "again.cache").read_bytes() == path.read_bytes()
    assert [file.name for file in tmp_path.iterdir()] == ["again.cache"]


def test_the_golden_caches_are_there() -> None:
    assert len(list(GOLDEN.glob("*.cache"))) >= 4


@pytest.mark.parametrize(
    ("cache", "tensor", "amax"),
    [
        ("entropy2", "input", 2048.5 / 2048),
        ("minmax", "input", 1.0),
        ("legacy", "input", 1.0),
        ("minmax", "/_swish/Clip_output_0", 6.0),
    ],
)
def test_scales_of_real_caches_are_amax_over_127(cache: str, tensor: str, amax: float) -> None:
    table = read_cache(GOLDEN / f"efficientnet_lite0.{cache}.cache")
    assert table[tensor].scale == (float(np.float32(amax / 127)),)


def test_a_cache_keeps_keys_that_the_model_does_not_have(tmp_path: Path) -> None:
    path = GOLDEN / "efficientnet_lite0.entropy2.cache"
    model = tuple(name for name in read_cache(path) if not name.startswith("(Unnamed Layer*"))
    table = read_cache(path, model)
    unknown = [row.tensor for row in table.rows if row.role == "unknown"]
    assert len(table) == 116
    assert "(Unnamed Layer* 405) [Constant]_output" in unknown
    write_cache(tmp_path / "c", table, model_tensors=model, version="8.6.0", algorithm="EntropyCalibration2")
    assert (tmp_path / "c").read_bytes() == path.read_bytes()


def test_a_cache_holds_the_activations_in_order(written: Path) -> None:
    assert written.read_bytes() == b"TRT-8601-EntropyCalibration2\ninput: 3c010204\nconv: 1 out: 3f000000\n"


@pytest.mark.parametrize(
    ("amax", "digits"),
    [
        (1, "3c010204"),
        (2048.5 / 2048, "3c010a14"),
        (2047.5 / 2048, "3c00f9f4"),
        (2040.5 / 2048, "3c008912"),
        (0.5 * (2048.5 / 2048), "3b810a13"),
    ],
)
def test_recorded_digits_are_written(tmp_path: Path, amax: float, digits: str) -> None:
    scale = struct.unpack("!f", bytes.fromhex(digits))[0]
    assert scale == pytest.approx(amax / 127, rel=2**-22)  # the last one was recorded a unit lower
    table = ScaleTable((Scale("x", (scale,)),))
    write_cache(tmp_path / "c", table, model_tensors=("x",), version="10.3.0", algorithm="MinMaxCalibration")
    assert (tmp_path / "c").read_text() == f"TRT-100300-MinMaxCalibration\nx: {digits}\n"


def test_legacys_first_line_holds_the_quantile(tmp_path: Path) -> None:
    table = ScaleTable((Scale("x", (1.0,)),))
    path = tmp_path / "c"
    write_cache(path, table, model_tensors=("x",), version="8.6.0", algorithm="LegacyCalibration")
    assert path.read_text().startswith("0 3ff0000000000000 3fefff2e48e8a71e\n")
    write_cache(path, table, model_tensors=("x",), version="8.6.0", algorithm="LegacyCalibration", quantile=0.5)
    assert path.read_text().startswith("0 3ff0000000000000 3fe0000000000000\n")


def test_missing_tensors_are_listed_and_nothing_is_written(tmp_path: Path) -> None:
    wanted = (*MODEL, *(f"t{n}" for n in range(8)))
    with pytest.raises(InputError, match=r"lacks 8 tensors \(«t0», .*«t5» and 2 more\) of the model: .*--partial"):
        write_cache(tmp_path / "c", TABLE, model_tensors=wanted, version="8.6.1", algorithm="EntropyCalibration2")
    assert not list(tmp_path.iterdir())


def test_a_partial_cache_tells_what_is_missing(tmp_path: Path) -> None:
    missing = write_cache(
        tmp_path / "c",
        TABLE,
        model_tensors=("a", *MODEL, "b"),
        version="8.6.1",
        algorithm="EntropyCalibration2",
        partial=True,
    )
    assert missing == ("a", "b")
    assert list(read_cache(tmp_path / "c")) == list(MODEL)


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize("role", ["activation", "unknown"])
def test_rows_that_the_model_does_not_have_are_listed(tmp_path: Path, partial: bool, role: str) -> None:
    table = TABLE.with_rows([Scale("old name", (1.0,), role=role)])  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"has 1 tensor \(«old name»\), which the model does not"):
        write_cache(
            tmp_path / "c",
            table,
            model_tensors=MODEL,
            version="8.6.1",
            algorithm="EntropyCalibration2",
            partial=partial,
        )


def test_a_cache_without_any_scale_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no activation"):
        write_cache(tmp_path / "c", ScaleTable(()), model_tensors=(), version="8.6.1", algorithm="EntropyCalibration2")


def test_a_version_without_caches_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"TensorRT 11\.0 reads no calibration cache"):
        write_cache(tmp_path / "c", TABLE, model_tensors=MODEL, version="11.0", algorithm="EntropyCalibration2")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "This is no TensorRT calibration cache"),
        (b"\x89PNG\r\n", "no UTF-8"),
        (b"{}", "This is no TensorRT calibration cache"),
        (b"TRT-8601-EntropyCalibration2\ninput: 3c010204\nconv", "Line 3 of the cache"),
        (b"TRT-8601-EntropyCalibration2\nx: zzzzzzzz\n", "Line 2 of the cache"),
        (b"TRT-8601-EntropyCalibration2\nx: 3c010204\nx: 3c010204\n", "Line 3 .* «x» a second time"),
        (b"TRT-8601-EntropyCalibration2\nx: 00000000\n", r"«x» the scale 0\.0; .* finite and > 0"),
        (b"TRT-8601-EntropyCalibration2\nx: bf800000\n", r"«x» the scale -1\.0"),
        (b"TRT-8601-EntropyCalibration2\nx: 7f800000\n", "«x» the scale inf"),
        (b"TRT-8601-EntropyCalibration2\nx: 7fc00000\n", "«x» the scale nan"),
        (b"TRT-8601-EntropyCalibration2\n\xff: 3c010204\n", r"no UTF-8 text \(byte 29\)"),
    ],
)
def test_a_damaged_or_foreign_cache_is_refused(tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "other.cache").write_bytes(content)
    with pytest.raises(InputError, match=sentence) as refused:
        read_cache(tmp_path / "other.cache")
    refused.match(r"other\.cache'")


def test_a_missing_cache_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no file"):
        read_cache(tmp_path / "none.cache")


def test_a_cache_remembers_where_it_comes_from(written: Path) -> None:
    assert read_cache(written).provenance == PROVENANCE
    assert check_cache(written, PROVENANCE.model) == PROVENANCE
    sidecar = read_sidecar(written)
    assert sidecar is not None
    assert sidecar.provenance == PROVENANCE


def test_a_cache_of_another_model_is_stale(written: Path) -> None:
    with pytest.raises(
        StaleError, match=r"for the model «net\.onnx» \(sha256:00ff\), not for this one \(sha256:1234\)"
    ):
        check_cache(written, "sha256:1234")


def test_a_cache_changed_since_is_stale_and_has_no_provenance(written: Path) -> None:
    written.write_bytes(written.read_bytes().replace(b"3c010204", b"3c010205"))
    with pytest.raises(StaleError, match="was changed after"):
        check_cache(written, PROVENANCE.model)
    assert read_cache(written).provenance is None


def test_a_cache_of_tensorrts_own_belongs_to_any_model() -> None:
    assert check_cache(GOLDEN / "efficientnet_lite0.minmax.cache", "sha256:1234") is None


def test_a_cache_without_provenance_takes_the_old_sidecar_away(written: Path) -> None:
    rewrite_cache(written, replace(read_cache(written), provenance=None))
    assert not sidecar_path(written).exists()
    assert check_cache(written, "sha256:1234") is None


def test_a_table_without_header_is_not_rewritten(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs a header"):
        rewrite_cache(tmp_path / "c", TABLE)


def test_the_same_table_gives_the_same_two_files(tmp_path: Path, written: Path) -> None:
    again = tmp_path / "again.cache"
    write_cache(again, TABLE, model_tensors=MODEL, version="8.6.1", algorithm="EntropyCalibration2")
    assert again.read_bytes() == written.read_bytes()
    assert sidecar_path(again).read_bytes() == sidecar_path(written).read_bytes()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "its JSON is damaged"),
        ("[]", "not a cache's sidecar of quantlab"),
        ({"schema": "quantlab-calibration-cache", "version": 2}, "newer quantlab"),
        ({"schema": "quantlab-calibration-cache", "version": 1, "cache": 3}, "field «cache» is 3"),
        (
            {"schema": "quantlab-calibration-cache", "version": 1, "cache": "", "provenance": {}},
            "A provenance has no model",
        ),
    ],
)
def test_a_damaged_or_foreign_sidecar_is_refused(written: Path, content: object, sentence: str) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    sidecar_path(written).write_text(text)
    for read in (read_cache, lambda path: check_cache(path, "")):
        with pytest.raises(InputError, match=sentence) as refused:
            read(written)
        refused.match(r"calibration\.cache\.json'")
