"""The histogram store: exact both ways, the same bytes every time, and hard on files that others made."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings

from quantlab.calibration.histogram_set import HistogramSet
from quantlab.calibration.provenance import SKETCH
from quantlab.errors import InputError
from quantlab.storage import histograms_h5
from quantlab.storage.histograms_h5 import read_histograms, write_histograms
from tests.storage.values import HISTOGRAMS, PROVENANCE, counted, counted_as_tensorrt, histogram_sets


@pytest.fixture
def written(tmp_path: Path) -> Path:
    write_histograms(tmp_path / "histograms.h5", HISTOGRAMS)
    return tmp_path / "histograms.h5"


def edited(path: Path, change: Callable[[Any], object]) -> Path:
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def exchanged(path: Path, name: str, **made: Any) -> Path:
    """Put another dataset in the place of a column."""

    def change(file: Any) -> None:
        del file[name]
        file.create_dataset(name, **made)

    return edited(path, change)


def signed(path: Path, name: str, values: Any) -> Path:
    """Write other values into a column, and the digest that fits them."""

    def change(file: Any) -> None:
        if isinstance(values, bytes):
            count = len(file[name])
            del file[name]
            file[name] = np.array([values] * count)
        else:
            file[name][...] = values
        grid = file.attrs["grid"].decode()
        head = {"schema": "quantlab-histograms", "version": 1, "grid": grid}
        texts = ("provenance", "name", "shape", "source")
        columns: dict[str, Any] = {key: [text.decode() for text in file[key]] for key in texts}
        columns |= {key: file[key][()] for key in histograms_h5._ARRAYS[grid]}
        file.attrs["digest"] = np.bytes_(histograms_h5._digest(head, columns))

    return edited(path, change)


@settings(deadline=None)  # each example waits for the disk
@given(histogram_sets())
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, histograms: HistogramSet) -> None:
    path = tmp_path_factory.getbasetemp() / "histograms.h5"
    write_histograms(path, histograms)
    found = read_histograms(path)
    assert found == histograms
    assert list(found) == list(histograms)


def test_a_set_without_tensors_is_read_back(tmp_path: Path) -> None:
    empty = HistogramSet({}, PROVENANCE, {}, {})
    write_histograms(tmp_path / "histograms.h5", empty)
    assert read_histograms(tmp_path / "histograms.h5") == empty


def test_writing_twice_gives_the_same_bytes(tmp_path: Path, written: Path) -> None:
    time.sleep(1.1)  # HDF5's time stamps have seconds
    write_histograms(tmp_path / "again.h5", read_histograms(written))
    assert (tmp_path / "again.h5").read_bytes() == written.read_bytes()


def test_a_long_provenance_is_kept(tmp_path: Path) -> None:
    sketch = tuple(f"{value:016x}" for value in range(SKETCH))
    shards = tuple(replace(PROVENANCE.chosen_on[0], name=f"shard {n}", sketch=sketch) for n in range(16))
    histograms = replace(HISTOGRAMS, provenance=replace(PROVENANCE, chosen_on=shards))
    write_histograms(tmp_path / "histograms.h5", histograms)
    assert read_histograms(tmp_path / "histograms.h5") == histograms


def test_columns_can_be_read_by_any_hdf5_reader(written: Path) -> None:
    with h5py.File(written, "r") as file:
        assert [text.decode() for text in file["name"]] == list(HISTOGRAMS)
        assert file["counts"].shape == (3, 2, 2817)
        assert file["counts"][0].sum() == 2
        assert list(file["zeros"]) == [1, 0, 2]
        assert [text.decode() for text in file["shape"]] == ['["N", 3]', "", "[]"]
        assert [text.decode() for text in file["source"]] == ["", "", "input"]


def test_a_store_can_lie_in_a_group_of_a_larger_file() -> None:
    with h5py.File(io.BytesIO(), "w") as file:
        histograms_h5.write(file.create_group("fp32"), HISTOGRAMS)
        assert histograms_h5.read(file["fp32"]) == HISTOGRAMS
        with pytest.raises(InputError, match="«/fp32» has a «provenance» already"):
            histograms_h5.write(file["fp32"], HISTOGRAMS)


def test_shapes_of_tensors_outside_the_set_are_left_out(tmp_path: Path) -> None:
    write_histograms(tmp_path / "histograms.h5", replace(HISTOGRAMS, shapes={"input": (1,), "other": (2,)}))
    assert read_histograms(tmp_path / "histograms.h5").shapes == {"input": (1,)}


def test_histograms_of_two_grids_are_not_stored_together(tmp_path: Path) -> None:
    mixed = replace(HISTOGRAMS, histograms={"a": counted([1.0]), "b": counted_as_tensorrt([1.0])})
    with pytest.raises(InputError, match="two grids"):
        write_histograms(tmp_path / "histograms.h5", mixed)


@pytest.mark.parametrize("name", ["a\0b", "a\ud800"])
def test_a_name_that_hdf5_cannot_hold_leaves_the_old_file(tmp_path: Path, written: Path, name: str) -> None:
    before = written.read_bytes()
    with pytest.raises(InputError, match="cannot be stored"):
        write_histograms(written, replace(HISTOGRAMS, histograms={name: counted([1.0])}))
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [before]


def test_every_single_flipped_byte_of_a_count_or_name_is_found(written: Path) -> None:
    healthy = written.read_bytes()
    for place in range(0, len(healthy), 97):
        written.write_bytes(healthy[:place] + bytes([healthy[place] ^ 0x55]) + healthy[place + 1 :])
        try:
            found = read_histograms(written)
        except InputError:
            continue
        assert found == HISTOGRAMS  # a byte of padding


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_file_is_refused(written: Path, share: float) -> None:
    healthy = written.read_bytes()
    written.write_bytes(healthy[: int(share * len(healthy))])
    with pytest.raises(
        InputError, match=r"histograms\.h5': This cannot be read as a histogram store: it is damaged, cut"
    ):
        read_histograms(written)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"There is no file '.*none\.h5'"):
        read_histograms(tmp_path / "none.h5")


@pytest.mark.parametrize("content", [b"", b"not HDF5", b"\x89HDF\r\n\x1a\n" + bytes(100)])
def test_a_file_that_is_no_hdf5_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "other.h5").write_bytes(content)
    with pytest.raises(InputError, match=r"other\.h5': This cannot be read as a histogram store"):
        read_histograms(tmp_path / "other.h5")


@pytest.mark.parametrize("schema", [None, "other", 3, np.array([b"quantlab-histograms"]), "quantlab-histograms"])
def test_foreign_hdf5_is_refused(tmp_path: Path, schema: object) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["images"] = np.zeros(3)
        if schema is not None:
            file.attrs["schema"] = schema
    with pytest.raises(InputError, match=r"other\.h5': This is HDF5, but not a histogram store of quantlab"):
        read_histograms(tmp_path / "other.h5")


def test_a_newer_version_asks_for_a_newer_quantlab(written: Path) -> None:
    with pytest.raises(InputError, match=r"made by a newer quantlab: it has version 2 .* up to 1\. Update"):
        read_histograms(edited(written, lambda file: file.attrs.modify("version", np.int64(2))))


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("version", np.bytes_("1"), "quantlab never wrote such a one"),
        ("version", 0, "quantlab never wrote such a one"),
        ("grid", np.bytes_("octal"), "grid «octal»; quantlab never wrote such a one"),
        ("grid", "log-linear", "grid «»; quantlab never wrote such a one"),
        ("grid", np.bytes_("tensorrt"), "«counts» is int64"),
        ("grid", np.bytes_(b"\xff"), "cannot be read as a histogram store"),
        ("digest", np.bytes_("blake2b:00"), "not as they were written"),
        ("digest", None, "not as they were written"),
    ],
)
def test_a_wrong_attribute_is_refused(written: Path, name: str, value: object, sentence: str) -> None:
    def change(file: Any) -> None:
        del file.attrs[name]
        if value is not None:
            file.attrs[name] = value

    with pytest.raises(InputError, match=sentence):
        read_histograms(edited(written, change))


@pytest.mark.parametrize("column", ["name", "counts", "zeros", "low"])
def test_a_missing_column_is_named(written: Path, column: str) -> None:
    with pytest.raises(InputError, match=f"The column «{column}» is missing"):
        read_histograms(edited(written, lambda file: file.__delitem__(column)))


@pytest.mark.parametrize(
    ("column", "value"), [("counts", 7), ("zeros", 0), ("low", 0.0), ("name", b"other"), ("source", b"x")]
)
def test_an_edited_value_is_found(written: Path, column: str, value: object) -> None:
    def change(file: Any) -> None:
        file[column][0] = value

    with pytest.raises(InputError, match="not as they were written"):
        read_histograms(edited(written, change))


@pytest.mark.parametrize(
    ("column", "made", "sentence"),
    [
        ("counts", {"data": np.zeros((3, 2, 100), np.int64)}, r"«counts» is int64\[3, 2, 100\]; int64\[3, 2, 2817\] is due"),
        ("counts", {"data": np.zeros((2, 2, 2817), np.int64)}, r"int64\[3, 2, 2817\] is due"),
        ("counts", {"shape": (3, 2, 2817), "dtype": "f8"}, "«counts» is float64"),
        ("counts", {"shape": (3, 2, 2817), "dtype": h5py.ref_dtype}, "«counts» is object"),
        ("counts", {"shape": (3, 2, 2817), "dtype": h5py.vlen_dtype(np.int64)}, "«counts» is object"),
        ("counts", {"shape": (3, 2, 2817), "dtype": "i8", "compression": "lzf"}, "packed in a way"),
        (
            "counts",
            {"shape": (3, 2, 2817), "dtype": "i8", "chunks": (8192, 2, 2817), "maxshape": (None, 2, 2817)},
            r"chunks of \(8192, 2, 2817\), larger",
        ),
        ("counts", {"data": h5py.Empty("i8")}, "«counts» is no column"),
        ("zeros", {"data": [1, 2]}, r"«zeros» is int64\[2\]"),
        ("name", {"data": np.zeros(3)}, "«name» must hold 3 texts of fixed length, not float64"),
        ("name", {"data": ["a", "b", "c"], "dtype": h5py.string_dtype()}, "«name» must hold 3 texts of fixed length"),
        ("name", {"data": np.bytes_("abc")}, "must have one dimension"),
        ("name", {"shape": (1 << 40,), "dtype": "S4", "chunks": (10,)}, "at most 16384"),
        ("name", {"data": np.array([b"\xff", b"b", b"c"])}, "cannot be read as a histogram store"),
        ("shape", {"data": np.array([b"[", b"", b""])}, "not as they were written"),
        ("provenance", {"data": np.array([b"{}", b"{}"])}, "«provenance» must hold 1 texts"),
        ("provenance", {"data": np.array([b"{"])}, "not as they were written"),
    ],
)  # fmt: skip
def test_a_column_of_another_kind_is_refused(written: Path, column: str, made: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        read_histograms(exchanged(written, column, **made))


@pytest.mark.parametrize("column", ["name", "counts"])
@pytest.mark.parametrize("link", [h5py.SoftLink("/elsewhere"), h5py.ExternalLink("other.h5", "/counts")])
def test_links_are_not_followed(tmp_path: Path, written: Path, column: str, link: object) -> None:
    (tmp_path / "other.h5").write_bytes(written.read_bytes())

    def change(file: Any) -> None:
        file.move(column, "elsewhere")
        file[column] = link

    with pytest.raises(InputError, match=f"«{column}» is a link to elsewhere"):
        read_histograms(edited(written, change))


def test_values_in_other_files_are_not_read(tmp_path: Path, written: Path) -> None:
    (tmp_path / "raw").write_bytes(bytes(3 * 8))
    with pytest.raises(InputError, match="«zeros» takes its values from elsewhere"):
        read_histograms(exchanged(written, "zeros", shape=(3,), dtype="i8", external=[(tmp_path / "raw", 0, 24)]))

    def virtual(file: Any) -> None:
        layout = h5py.VirtualLayout((3,), "i8")
        layout[...] = h5py.VirtualSource(tmp_path / "other.h5", "zeros", (3,))
        del file["zeros"]
        file.create_virtual_dataset("zeros", layout)

    with pytest.raises(InputError, match="«zeros» takes its values from elsewhere"):
        read_histograms(edited(written, virtual))


def test_a_group_in_the_place_of_a_column_is_refused(written: Path) -> None:
    def change(file: Any) -> None:
        del file["zeros"]
        file.create_group("zeros")

    with pytest.raises(InputError, match="«zeros» is no column"):
        read_histograms(edited(written, change))


def test_texts_longer_than_any_name_are_not_read(monkeypatch: pytest.MonkeyPatch, written: Path) -> None:
    monkeypatch.setattr("quantlab.storage.hdf5_columns._LARGEST", 40)
    with pytest.raises(InputError, match="«provenance» has texts of 289 bytes"):
        read_histograms(written)
    with pytest.raises(InputError, match="too long to be stored"):
        write_histograms(written, HISTOGRAMS)


def test_nothing_lies_in_hdf5s_global_heap(written: Path) -> None:
    assert b"GCOL" not in written.read_bytes()  # its reader never returns from a damaged one


@pytest.mark.parametrize(
    ("column", "values", "sentence"),
    [
        ("counts", -1, "tensor «input»: A count is negative"),
        ("nan", -1, "tensor «input»: A count is negative"),
        ("top", 300, "tensor «input»: A histogram's top octave lies in"),
        ("low", 9.0, "tensor «input»: The smallest value 9.0 and the largest 1.5 contradict"),
        ("name", b"same", "Tensor «same» has two histograms"),
        ("shape", b"{}", "a shape is a JSON array"),
        ("shape", b"[[", "cannot be read as a histogram store"),
        ("provenance", b"{", "A provenance is not JSON"),
    ],
)
def test_a_forged_store_with_a_fitting_digest_is_still_refused(
    written: Path, column: str, values: object, sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        read_histograms(signed(written, column, values))


@pytest.mark.parametrize(
    ("column", "values", "sentence"),
    [
        ("counts", -1, "tensor «x»: A count"),
        ("batch", 0, "batch size"),
        ("width", -1.0, "bin width -1.0"),
        ("amax", np.nan, "maximum nan"),
    ],
)
def test_a_forged_store_on_tensorrts_grid_is_refused(
    tmp_path: Path, column: str, values: object, sentence: str
) -> None:
    path = tmp_path / "histograms.h5"
    write_histograms(path, HistogramSet({"x": counted_as_tensorrt([1.0])}, PROVENANCE, {}, {}))
    with pytest.raises(InputError, match=sentence):
        read_histograms(signed(path, column, values))
