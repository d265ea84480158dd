"""The scale table as JSON: exact both ways, and strict about what others wrote."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from quantlab.calibration.scale_table import Scale, ScaleTable
from quantlab.errors import InputError
from quantlab.storage.scale_table_json import read_scale_table, scale_table_schema, write_scale_table
from tests.storage.values import TABLE, tables


@pytest.fixture
def written(tmp_path: Path) -> Path:
    write_scale_table(tmp_path / "table.json", TABLE)
    return tmp_path / "table.json"


def edited(path: Path, change: Callable[[Any], object]) -> Path:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    return path


@settings(deadline=None)  # each example waits for the disk
@given(tables())
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, table: ScaleTable) -> None:
    path = tmp_path_factory.getbasetemp() / "table.json"
    write_scale_table(path, table)
    assert read_scale_table(path) == table


def test_a_table_without_rows_is_read_back(tmp_path: Path) -> None:
    write_scale_table(tmp_path / "table.json", ScaleTable(()))
    assert read_scale_table(tmp_path / "table.json") == ScaleTable(())


def test_equal_tables_make_equal_bytes(tmp_path: Path, written: Path) -> None:
    assert TABLE.provenance is not None
    versions = dict(reversed(TABLE.provenance.versions.items()))
    write_scale_table(tmp_path / "again.json", replace(TABLE, provenance=replace(TABLE.provenance, versions=versions)))
    assert (tmp_path / "again.json").read_bytes() == written.read_bytes()


def test_each_tensor_has_a_line_of_its_own(written: Path) -> None:
    lines = written.read_text().splitlines()
    assert [json.loads(line.rstrip(","))["tensor"] for line in lines if '"tensor"' in line] == list(TABLE)


def test_scales_are_exact_decimals_and_hex_digits(written: Path) -> None:
    row = json.loads(written.read_text())["rows"][0]
    assert np.float32(row["scale"][0]) == np.float32(1) / np.float32(127)
    assert row["scale_hex"] == ["3c010204"]


def test_what_is_not_known_is_null_and_infinity_a_word(written: Path) -> None:
    first, second, _ = json.loads(written.read_text())["rows"]
    assert first["clipped"] is None
    assert first["sqnr_db"] is None
    assert second["sqnr_db"] == "inf"


def test_a_scale_that_is_not_a_number_of_decibels_is_a_word_too(tmp_path: Path) -> None:
    write_scale_table(tmp_path / "table.json", ScaleTable((Scale("a", (1.0,), sqnr_db=float("nan")),)))
    found = read_scale_table(tmp_path / "table.json")["a"].sqnr_db
    assert found is not None
    assert np.isnan(found)


def test_the_schema_lists_the_fields_that_are_written(written: Path) -> None:
    schema, document = scale_table_schema(), json.loads(written.read_text())
    row = schema["$defs"]["ScaleRow"]
    assert list(schema["properties"]) == list(document)
    assert list(row["properties"]) == row["required"] == list(document["rows"][0])
    assert schema["additionalProperties"] is row["additionalProperties"] is False


@pytest.mark.parametrize("end", [0, 1, 100, -3])
def test_a_truncated_file_is_refused(written: Path, end: int) -> None:
    written.write_bytes(written.read_bytes()[:end])
    with pytest.raises(InputError, match=r"table\.json' is not a scale table: its JSON is damaged"):
        read_scale_table(written)


@pytest.mark.parametrize("text", ["[]", "3", "null", "{}", '{"schema": "other", "version": 1}', '{"schema": {}}'])
def test_foreign_json_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "table.json").write_text(text)
    with pytest.raises(InputError, match="is not a scale table of quantlab"):
        read_scale_table(tmp_path / "table.json")


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"a": 1, "a": 2}', '{"a": NaN}', '{"schema": "\\ud800"}', '{"version": ' + "9" * 5000 + "}"],
    ids=["deep", "repeated", "nan", "surrogate", "huge"],
)
def test_hostile_json_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "table.json").write_text(text)
    with pytest.raises(InputError, match="its JSON is damaged"):
        read_scale_table(tmp_path / "table.json")


def test_a_newer_version_asks_for_a_newer_quantlab(written: Path) -> None:
    with pytest.raises(InputError, match=r"made by a newer quantlab: it has version 2 .* up to 1\. Update quantlab"):
        read_scale_table(edited(written, lambda document: document.update(version=2)))


@pytest.mark.parametrize("version", [0, "1", True, 1.0, None])
def test_a_version_is_a_number_from_1_on(written: Path, version: object) -> None:
    with pytest.raises(InputError, match="its version is"):
        read_scale_table(edited(written, lambda document: document.update(version=version)))


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"scale": [0.0], "scale_hex": ["00000000"]}, r"Tensor «input» has the scale 0\.0; a scale must be finite and > 0"),
    ({"scale": [-1.0], "scale_hex": ["bf800000"]}, r"Tensor «input» has the scale -1\.0"),
    ({"scale": [1e300], "scale_hex": ["7f800000"]}, "Tensor «input» has the scale inf"),
    ({"scale": [0.5]}, r"Tensor «input» has the scale 0\.5, which is not its scale_hex 3c010204: .* both or neither"),
    ({"scale": []}, "row 1 («input»), field «scale» is "),
    ({"scale": ["x"]}, r"row 1 \(«input»\), field «scale\[0\]» is 'x': input should be a valid number"),
    ({"scale": [10**400]}, r"field «scale\[0\]»"),
    ({"scale": 0.5}, "field «scale» is 0.5: input should be a valid list"),
    ({"scale_hex": ["3C010204"]}, r"field «scale_hex\[0\]»"),
    ({"zero_point": [1.0]}, r"field «zero_point\[0\]»"),
    ({"zero_point": [128]}, "zero point outside int8"),
    ({"zero_point": [0, 0]}, "1 scales and 2 zero points"),
    ({"dtype": "int4"}, "field «dtype» is 'int4'"),
    ({"dtype": []}, "field «dtype»"),
    ({"role": "output"}, "field «role»"),
    ({"scheme": "log"}, "field «scheme»"),
    ({"axis": True}, "field «axis»"),
    ({"shape": [1.5]}, r"field «shape\[0\]»"),
    ({"observed": [1.0]}, "field «observed»"),
    ({"chosen": [2.0, 1.0]}, "finite bounds, low first"),
    ({"method": None}, "field «method» is None"),
    ({"sqnr_db": "loud"}, "field «sqnr_db» is 'loud'"),
    ({"tensor": ""}, r"row 1 \(«»\), field «tensor»"),
    ({"tensor": "/conv/Conv_output_0"}, "Tensor «/conv/Conv_output_0» has two rows"),
    ({"colour": "red"}, r"row 1 \(«input»\), field «colour» is unknown"),
]


@pytest.mark.parametrize(("fault", "sentence"), FAULTS, ids=str)
def test_a_fault_in_a_row_is_named(written: Path, fault: dict[str, Any], sentence: str) -> None:
    edited(written, lambda document: document["rows"][0].update(fault))
    with pytest.raises(InputError) as refused:
        read_scale_table(written)
    assert str(refused.value).startswith(f"'{written}': ")
    refused.match(
        sentence if "\\" in sentence or ".*" in sentence else sentence.replace("(", r"\(").replace(")", r"\)")
    )


def test_a_missing_field_is_named(written: Path) -> None:
    with pytest.raises(InputError, match=r"row 2 \(«/conv/Conv_output_0»\), field «method» is missing"):
        read_scale_table(edited(written, lambda document: document["rows"][1].pop("method")))


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ({"rows": {}}, "field «rows» is {}"),
        ({"rows": [3]}, "row 1, is 3"),
        ({"note": "x"}, "field «note» is unknown"),
        ({"cache_header": 3}, "field «cache_header» is 3"),
        ({"provenance": {}}, "A provenance has no model"),
        ({"provenance": []}, "field «provenance»"),
    ],
)
def test_a_fault_of_the_table_is_named(written: Path, fault: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        read_scale_table(edited(written, lambda document: document.update(fault)))


def test_a_name_that_is_no_unicode_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="surrogate"):
        write_scale_table(tmp_path / "table.json", ScaleTable((Scale("a\ud800", (1.0,)),)))
    assert not list(tmp_path.iterdir())
