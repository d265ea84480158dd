"""The store of samples: exact both ways, the same bytes every time, and hard on files that others made."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantlab.errors import InputError
from quantlab.numerics.arrays import AnyArray
from quantlab.storage.file_digest import file_digest
from quantlab.storage.sample_columns import (
    join_texts,
    read_sample_columns,
    split_bytes,
    write_sample_columns,
)

ABOUT = {"metrics": [["top-1", "top-1", True, True, True]]}
COLUMNS: dict[str, AnyArray] = {
    "signal": np.array([1.0, np.nan, 3.0]),
    "labels": np.array([-1, 2, 3], np.int64),
    "keys": np.array([0, 2**64 - 1, 7], np.uint64),
    "names": np.zeros(0, np.uint8),
    "fp32 <img src=x>": np.arange(6.0).reshape(3, 2),
}


@pytest.fixture
def written(tmp_path: Path) -> Path:
    write_sample_columns(tmp_path / "a.samples.h5", ABOUT, COLUMNS)
    return tmp_path / "a.samples.h5"


def edited(path: Path, change: Callable[[Any], object]) -> Path:
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def headed(path: Path, listed: Any) -> Path:
    """Put another list of columns into the head."""

    def change(file: Any) -> None:
        text = json.dumps({"about": ABOUT, "columns": listed}).encode()
        del file["head"]
        file.create_dataset("head", data=np.array([text], h5py.string_dtype("utf-8", len(text))))

    return edited(path, change)


# ---- both ways


def test_what_is_written_is_read_back(written: Path) -> None:
    about, columns = read_sample_columns(written)
    assert about == ABOUT
    assert list(columns) == list(COLUMNS)
    for name, column in columns.items():
        assert column.dtype == COLUMNS[name].dtype
        assert np.array_equal(column, COLUMNS[name], equal_nan=column.dtype.kind == "f")


def test_writing_again_gives_the_same_bytes(tmp_path: Path, written: Path) -> None:
    time.sleep(1.1)  # HDF5's time stamps have seconds
    long = COLUMNS | {"noise": np.random.default_rng(0).random(10_000)}
    for name in ("b", "c"):
        write_sample_columns(tmp_path / f"{name}.h5", ABOUT, long)
    write_sample_columns(tmp_path / "again.h5", ABOUT, COLUMNS)
    assert (tmp_path / "again.h5").read_bytes() == written.read_bytes()
    assert (tmp_path / "b.h5").read_bytes() == (tmp_path / "c.h5").read_bytes()


@settings(deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8"))))
def test_texts_are_taken_apart_as_they_were_joined(texts: list[str]) -> None:
    assert [part.decode() for part in split_bytes(*join_texts(tuple(texts)))] == texts


def test_half_a_surrogate_pair_is_spelled_out() -> None:
    assert list(split_bytes(*join_texts(("a\udc80",)))) == [b"a\\udc80"]


@pytest.mark.parametrize("lengths", [[1, 1], [4, -1], [2, 2], [2**62, 2**62, 2**62, 2**62, 3]])
def test_lengths_that_do_not_fit_are_refused(lengths: list[int]) -> None:
    with pytest.raises(InputError, match="are not those of what is stored"):
        list(split_bytes(np.zeros(3, np.uint8), np.array(lengths)))


def test_the_digest_is_that_of_the_bytes(written: Path) -> None:
    assert file_digest(written).startswith("sha256:")
    before = file_digest(written)
    with written.open("ab") as file:
        file.write(b"\0")
    assert file_digest(written) != before


@pytest.mark.parametrize("column", [np.zeros(3, np.float32), np.array(["a"]), np.array(1.0)])
def test_other_columns_are_not_written(tmp_path: Path, column: AnyArray) -> None:
    with pytest.raises(InputError, match="columns that quantlab does not store"):
        write_sample_columns(tmp_path / "a.h5", ABOUT, {"signal": column})
    assert not (tmp_path / "a.h5").exists()


# ---- files that others made


def test_an_edited_value_is_seen(written: Path) -> None:
    def change(file: Any) -> None:
        file["1"][0] = 5

    with pytest.raises(InputError, match=r"a.samples.h5': The samples are not as they were written"):
        read_sample_columns(edited(written, change))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_a_truncated_file_is_one_sentence(written: Path, share: float) -> None:
    data = written.read_bytes()
    written.write_bytes(data[: int(share * len(data))])
    with pytest.raises(InputError, match="cannot be read as a table of samples"):
        read_sample_columns(written)


@pytest.mark.parametrize("place", range(0, 4000, 53))
def test_a_wrong_byte_never_ends_in_anything_but_a_sentence(written: Path, place: int) -> None:
    data = bytearray(written.read_bytes())
    data[place % len(data)] ^= 0xFF
    written.write_bytes(bytes(data))
    try:
        _, columns = read_sample_columns(written)
    except InputError:
        return
    assert list(columns) == list(COLUMNS)  # a byte that means nothing


def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("hello")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file.attrs["schema"] = "quantlab-histograms"
    with pytest.raises(InputError, match="no HDF5 file"):
        read_sample_columns(tmp_path / "text.h5")
    with pytest.raises(InputError, match="not a table of samples of quantlab"):
        read_sample_columns(tmp_path / "other.h5")
    with pytest.raises(InputError, match="There is no file"):
        read_sample_columns(tmp_path / "none.h5")


def test_a_newer_version_is_refused(written: Path) -> None:
    def change(file: Any) -> None:
        file.attrs["version"] = 2

    with pytest.raises(InputError, match="has version 2 of its format, and this quantlab reads 1"):
        read_sample_columns(edited(written, change))


@pytest.mark.parametrize(
    ("listed", "sentence"),
    [
        ([["signal", "<f8", [2**40]]], "columns that quantlab does not store"),
        ([["signal", "<f8", [2**29]]], "at most 536,870,912 are stored"),
        ([["signal", "<f8", [2**28, 2**28]]], "at most 536,870,912 are stored"),
        ([["signal", "|O", [3]]], "columns that quantlab does not store"),
        ([["signal", "<f8", [True]]], "columns that quantlab does not store"),
        ([["signal", "<f8", []]], "columns that quantlab does not store"),
        ([["signal", "<f8", [3]]] * 2, "two columns of one name"),
        ([["signal", "<f8", [4]]], r"The column «0» is float64\[3\]; float64\[4\] is due"),
        ([["signal", "<i8", [3]]], r"The column «0» is float64\[3\]; int64\[3\] is due"),
        ([[str(n), "<f8", [0]] for n in range(1001)], "columns that quantlab does not store"),
        ("signal", "columns that quantlab does not store"),
        ([["a", "<f8", [3]], ["b", "<i8", [3]]], "not as they were written"),
    ],
)
def test_a_forged_head_is_refused_before_anything_is_read(written: Path, listed: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        read_sample_columns(headed(written, listed))


@pytest.mark.parametrize(
    "text", ["[" * 50_000, "{}", "null", '{"about": 1, "columns": []}', '{"about": {}, "columns": 3}']
)
def test_a_head_that_is_none_is_refused(written: Path, text: str) -> None:
    def change(file: Any) -> None:
        del file["head"]
        file.create_dataset("head", data=np.array([text.encode()], h5py.string_dtype("utf-8", len(text))))

    with pytest.raises(InputError, match=r"head of the table|does not store"):
        read_sample_columns(edited(written, change))


def test_a_column_elsewhere_is_not_followed(written: Path, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["0"] = COLUMNS["signal"]

    def change(file: Any) -> None:
        del file["0"]
        file["0"] = h5py.ExternalLink("secret.h5", "0")

    with pytest.raises(InputError, match="is a link to elsewhere"):
        read_sample_columns(edited(written, change))


def test_more_than_is_stored_is_refused(tmp_path: Path) -> None:
    wide = np.broadcast_to(np.float64(0), (2**26 + 1,))  # takes no memory
    with pytest.raises(InputError, match="have 536,870,920 bytes; at most 536,870,912 are stored"):
        write_sample_columns(tmp_path / "a.h5", ABOUT, {"signal": wide})
