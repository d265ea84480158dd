"""The scale table as CSV: rows come back whole, even through a spreadsheet."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings

from quantlab.calibration.scale_table import Scale, ScaleTable
from quantlab.errors import InputError
from quantlab.storage.scale_table_csv import read_scale_table_csv, write_scale_table_csv
from tests.storage.values import SCALE, TABLE, tables


@pytest.fixture
def written(tmp_path: Path) -> Path:
    write_scale_table_csv(tmp_path / "table.csv", TABLE)
    return tmp_path / "table.csv"


def replaced(path: Path, old: str, new: str) -> Path:
    text = path.read_bytes().decode()
    assert old in text
    path.write_bytes(text.replace(old, new, 1).encode())
    return path


@settings(deadline=None)  # each example waits for the disk
@given(tables())
def test_rows_are_read_back_and_the_rest_is_not_kept(
    tmp_path_factory: pytest.TempPathFactory, table: ScaleTable
) -> None:
    path = tmp_path_factory.getbasetemp() / "table.csv"
    write_scale_table_csv(path, table)
    assert read_scale_table_csv(path) == replace(table, provenance=None, cache_header=None)


@pytest.mark.parametrize("name", ["=1+1", "a,b", 'say "x"', "two\nlines", "a\rb", " blank ", "a: b"])
def test_any_name_survives(tmp_path: Path, name: str) -> None:
    table = ScaleTable((Scale(name, (SCALE,)),))
    write_scale_table_csv(tmp_path / "table.csv", table)
    assert read_scale_table_csv(tmp_path / "table.csv") == table


def test_channels_are_joined_by_spaces(written: Path) -> None:
    with written.open(newline="") as file:
        row = list(csv.DictReader(file))[2]
    assert (row["tensor"], row["scale"], row["zero_point"], row["axis"]) == ("conv: 1.weight", "0.5 2.0", "0 0", "0")


def test_fifteen_digits_give_the_same_scale(written: Path) -> None:
    replaced(written, repr(SCALE), f"{SCALE:.15g}")
    assert read_scale_table_csv(written)["input"].scale == (SCALE,)


def test_a_byte_order_mark_is_skipped(written: Path) -> None:
    written.write_bytes(b"\xef\xbb\xbf" + written.read_bytes())
    assert list(read_scale_table_csv(written)) == list(TABLE)


def test_a_layer_with_many_channels_is_read_and_other_readers_keep_their_limit(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    table = ScaleTable((Scale("w", (SCALE,) * 10_000, (0,) * 10_000, axis=0, role="weight"),))
    write_scale_table_csv(tmp_path / "table.csv", table)
    assert read_scale_table_csv(tmp_path / "table.csv") == table
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (repr(SCALE), "0", r"line 2: Tensor «input» has the scale 0\.0; a scale must be finite and > 0"),
        (repr(SCALE), "-1", r"line 2: Tensor «input» has the scale -1\.0"),
        (repr(SCALE), "1e300", "line 2: Tensor «input» has the scale inf"),
        (repr(SCALE), "", "line 2: «scale» of «input» is «»: could not convert"),
        ("activation", "output", "line 2: «role» of «input» is «output»: it must be one of activation, weight"),
        ("0.5 2.0", "0.5  2.0", "line 4: «scale» of «conv: 1.weight»"),
        ("-1.0,0.5", "-1.0,", "line 2: of observed_low and observed_high one is empty"),
        ("-1.0,0.5", "-1.0,x", "line 2: «observed_high» of «input» is «x»"),
        ("-1.0,0.5", "1.0,0.5", "line 2: A range needs finite bounds"),
        ('3, null]"', '3, null"', "line 2: «shape»"),
        ('3, null]"', '3, {}]"', "line 2: «shape» .* a shape is a JSON array"),
        ("MinMax()", "MinMax(),", "line 2: the first line has 15 cells, this one more or fewer"),
        (",MinMax()", "", "line 2: the first line has 15 cells"),
        ("/conv/Conv_output_0", "input", "Tensor «input» has two rows"),
        ("zero_point", "offset", "the first line lacks zero_point"),
        (",method", ",method,note", "the first line has note"),
        (",method", ",method,method", "the first line has a column twice"),
        ('"[', '"a"[', "line 2 is no CSV"),
    ],
)
def test_a_fault_is_named_with_its_line(written: Path, old: str, new: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as refused:
        read_scale_table_csv(replaced(written, old, new))
    assert str(refused.value).startswith(f"'{written}': ")


@pytest.mark.parametrize("text", ["", "\n", "not a table", "a,b\n1,2"])
def test_foreign_files_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(InputError, match="the first line lacks"):
        read_scale_table_csv(tmp_path / "table.csv")


def test_a_row_cut_short_is_refused(written: Path) -> None:
    written.write_bytes(written.read_bytes()[:-30])
    with pytest.raises(InputError, match="line 4"):
        read_scale_table_csv(written)


def test_a_name_with_nul_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="NUL"):
        write_scale_table_csv(tmp_path / "table.csv", ScaleTable((Scale("a\0b", (1.0,)),)))
    assert not list(tmp_path.iterdir())
