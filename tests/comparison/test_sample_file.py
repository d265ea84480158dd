"""The table of samples in its file: read back as it was, and only with the comparison that it goes with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from PIL import Image

import quantlab as ql
from quantlab.comparison.comparison import Comparison, compare
from quantlab.comparison.sample_file import columns_of, read_samples, samples_path, table_of, write_samples
from quantlab.comparison.sample_table import SampleTable
from quantlab.data.pictures import thumbnail
from quantlab.errors import InputError
from quantlab.metrics.top_k import TopK
from quantlab.numerics.arrays import AnyArray
from quantlab.storage.file_digest import file_digest
from quantlab.storage.sample_columns import write_sample_columns
from tests.comparison.laws import law
from tests.comparison.networks import Network, samples
from tests.comparison.test_sample_table import Gap, same, tables

PICTURE = thumbnail(Image.new("RGB", (40, 30)))


def compared(count: int = 20, step: float = 0.5) -> Comparison:
    metrics = (TopK(1), TopK(1, output="logits"), Gap())
    found = compare(Network(), Network(step), ql.data.stream(list(samples(count))), metrics=metrics)
    assert found.samples_table is not None
    flipped = found.samples_table.flipped
    return replace(found, samples_table=found.samples_table.with_pictures(dict.fromkeys(flipped[:2], PICTURE)))


def kept(path: Path, found: Comparison) -> Path:
    """Write a comparison and its table."""
    assert found.samples_table is not None
    told = replace(found, samples_file=write_samples(path, found.samples_table))
    path.write_text(json.dumps(told.to_json()))
    return path


@pytest.fixture
def written(tmp_path: Path) -> Path:
    return kept(tmp_path / "compare.json", compared())


def test_the_table_is_read_back(written: Path) -> None:
    found, expected = ql.read_samples(written), compared().samples_table
    assert found is not None
    assert expected is not None
    assert same(found, expected)
    assert found.pictures
    assert len(found.keys) == 20


@law
@given(tables())
def test_a_table_survives_being_taken_apart(table: SampleTable) -> None:
    bare = table.with_pictures({})
    assert same(table_of(*columns_of(bare)), bare)


def test_equal_comparisons_make_equal_files(tmp_path: Path, written: Path) -> None:
    again = kept(tmp_path / "other.json", compared())
    assert samples_path(again).read_bytes() == samples_path(written).read_bytes()
    assert samples_path(written).name == "compare.samples.h5"


def test_a_comparison_without_a_table_says_so(tmp_path: Path) -> None:
    fields = compared().to_json()
    assert "samples_table" not in fields
    del fields["samples_file"]  # as an earlier quantlab wrote it
    (tmp_path / "compare.json").write_text(json.dumps(fields))
    assert read_samples(tmp_path / "compare.json") is None


def test_a_table_in_the_json_is_refused() -> None:
    with pytest.raises(InputError, match=r"field «samples_table» is wrong: .*holds no table of its samples"):
        Comparison.from_json(compared().to_json() | {"samples_table": {"signal": [1]}})


# ---- what is not the comparison's


def test_a_missing_table_is_named(written: Path) -> None:
    samples_path(written).unlink()
    with pytest.raises(InputError, match=r"There is no file '.*compare.samples.h5'"):
        read_samples(written)


def test_an_edited_table_is_refused(written: Path) -> None:
    with samples_path(written).open("ab") as file:
        file.write(b" ")
    with pytest.raises(InputError, match=r"compare.samples.h5' is not the file that was written with '.*compare.json'"):
        read_samples(written)


def test_another_comparisons_table_is_refused(tmp_path: Path, written: Path) -> None:
    other = kept(tmp_path / "other.json", compared(step=0.25))
    samples_path(other).replace(samples_path(written))
    with pytest.raises(InputError, match="is not the file that was written with"):
        read_samples(written)


@pytest.mark.parametrize(
    ("other", "sentence"),
    [(compared(21), "has other samples or metrics"), (compared(step=0.9), "has other flipped samples")],
)
def test_a_table_that_is_forged_to_fit_is_held_against_the_comparison(
    written: Path, other: Comparison, sentence: str
) -> None:
    assert other.samples_table is not None
    reference = write_samples(written, other.samples_table)
    told = replace(compared(), samples_file=reference)
    written.write_text(json.dumps(told.to_json()))
    with pytest.raises(InputError, match=sentence):
        read_samples(written)


@pytest.mark.parametrize("name", ["../compare.samples.h5", "/etc/passwd", "other.samples.h5"])
def test_a_table_elsewhere_is_not_read(written: Path, name: str) -> None:
    fields = json.loads(written.read_text())
    fields["samples_file"]["name"] = name
    written.write_text(json.dumps(fields))
    with pytest.raises(InputError, match=r"beside it they are called «compare.samples.h5»"):
        read_samples(written)


# ---- hostile columns behind digests that fit


def forged(path: Path, about: dict[str, Any], columns: dict[str, AnyArray]) -> Path:
    write_sample_columns(samples_path(path), about, columns)
    fields = json.loads(path.read_text())
    fields["samples_file"]["sha256"] = file_digest(samples_path(path))
    path.write_text(json.dumps(fields))
    return path


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"signal": None}, "The column «signal» is missing"),
        ({"signal": np.zeros((20, 2))}, "The column «signal» is missing, or of another type"),
        ({"noise": np.zeros(20, np.int64)}, "The column «noise» is missing, or of another type"),
        ({"noise": np.zeros(19)}, "The column «noise» has 19 rows for 20 samples"),
        ({"keys": np.zeros(20, np.uint8)}, "The column «keys» is missing, or of another type"),
        ({"names": np.full(3, 255, np.uint8), "name_bytes": np.array([3])}, "The name of a sample is no UTF-8"),
        ({"name_bytes": np.zeros(20, np.int64)}, "are not those of what is stored"),
        ({"fp32 0": np.full(20, np.nan)}, "values of a metric are not finite"),
        ({"fp32 2": None}, "The column «fp32 2» is missing"),
        ({"int8 2": np.zeros(20)}, "have other shapes for FP32 than for INT8"),
        ({"fp32 3": np.zeros(20)}, "has a column «fp32 3», which quantlab does not store"),
        ({"pictures": np.zeros(9, np.uint8), "picture_bytes": np.array([4, 5])}, "cannot be read as PNG or JPEG"),
        ({"picture_rows": np.array([1, 1])}, "not as many pictures as rows"),
        ({"picture_rows": np.array([1, 2**40])}, "There are 2 pictures for 20 samples"),
    ],
)
def test_columns_that_no_table_has_are_refused(
    written: Path, change: dict[str, AnyArray | None], sentence: str
) -> None:
    table = compared().samples_table
    assert table is not None
    about, columns = columns_of(table)
    changed = {name: column for name, column in {**columns, **change}.items() if column is not None}
    with pytest.raises(InputError, match=sentence):
        read_samples(forged(written, about, changed))


@pytest.mark.parametrize(
    ("about", "sentence"),
    [
        ({}, "does not say what its metrics are"),
        ({"metrics": [["a", "a", 1, True, False]]}, "does not say what its metrics are"),
        ({"metrics": [["a", "a", True, True, False]] * 3}, "two metrics of one name"),
        ({"metrics": [], "more": 1}, "does not say what its metrics are"),
        ({"metrics": []}, "has a column «fp32 0»"),
    ],
)
def test_metrics_that_are_none_are_refused(written: Path, about: dict[str, Any], sentence: str) -> None:
    table = compared().samples_table
    assert table is not None
    with pytest.raises(InputError, match=sentence):
        read_samples(forged(written, about, columns_of(table)[1]))
