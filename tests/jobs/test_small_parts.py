"""Sizes, preprocessing as people write it, schemes, and the difference of two caches."""

from __future__ import annotations

from pathlib import Path

import pytest

from quantlab.caches.difference import difference
from quantlab.calibration.scale_table import Scale, ScaleTable
from quantlab.calibration.schemes import Affine, Symmetric
from quantlab.errors import InputError, UsageError
from quantlab.jobs.calibrating import parse_scheme
from quantlab.jobs.preprocessing import preprocess_of, read_preprocess
from quantlab.jobs.sizes import parse_bytes, shown_bytes


@pytest.mark.parametrize(
    ("text", "count"), [("512MiB", 2**29), ("1.5 GB", 1_500_000_000), ("7", 7), (4096, 4096), ("2kb", 2000)]
)
def test_sizes_are_read(text: str | int, count: int) -> None:
    assert parse_bytes(text) == count


@pytest.mark.parametrize("text", ["", "0", "-1", "1 XB", "MiB", "1e3", "0.1"])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="A size looks like"):
        parse_bytes(text)


def test_sizes_are_shown() -> None:
    assert [shown_bytes(n) for n in (12, 4_200, 492_060, 18_500_000)] == ["12 B", "4.20 kB", "492.1 kB", "18.5 MB"]


def test_fractions_and_lists_are_numbers(tmp_path: Path) -> None:
    fields = {"scale": "1/255", "mean": ["0.485", 0.456, "0.406"], "std": 0.2}
    found = preprocess_of(fields)
    assert (found.scale, found.mean, found.std) == (1 / 255, (0.485, 0.456, 0.406), 0.2)
    (tmp_path / "p.json").write_text('{"resize": [2, 3]}')
    assert preprocess_of(read_preprocess(str(tmp_path / "p.json"))).resize == (2, 3)


@pytest.mark.parametrize("fields", [{"scale": "a/b"}, {"scale": "1/0"}, {"mean": "1-2"}, {"resize": "x"}])
def test_what_is_no_number_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(InputError):
        preprocess_of(fields)


@pytest.mark.parametrize("text", ["{", "{a: [}", "[1]"])
def test_what_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(InputError):
        read_preprocess(str(tmp_path / "p.yaml"))


def test_schemes_have_names() -> None:
    assert parse_scheme("symmetric") == Symmetric()
    assert parse_scheme("affine-int8") == Affine("int8")


def table(header: str | None = None, **scales: float) -> ScaleTable:
    return ScaleTable(tuple(Scale(name, (value,)) for name, value in scales.items()), cache_header=header)


def test_a_difference_names_what_is_where() -> None:
    found = difference(table("TRT-8601-X", a=1.0, b=0.5, c=2.0), table(a=1.0, c=3.0, d=1.0, b=1.0))
    assert (found.only_first, found.only_second, found.common) == ((), ("d",), 3)
    assert found.changed == {"b": (0.5, 1.0), "c": (2.0, 3.0)}
    assert list(found.changed) == ["b", "c"]
    assert not found.same
    assert difference(table(a=1.0), table(a=1.0)).same
    assert difference(table(a=1.0), table(a=1.25), tolerance=0.25).same
