"""Arrays: rows of .npz, .npy and .h5 files, strangers' files among them."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlab.data import Dataset, Preprocess, arrays, stream
from quantlab.data.batch import UNNAMED
from quantlab.errors import InputError, UsageError
from quantlab.numerics.arrays import AnyArray

IMAGE = np.random.default_rng(0).integers(0, 256, (10, 5, 4, 1), np.uint8)
LABEL = np.arange(10, dtype=np.int32)
SAVEZ: Any = np.savez_compressed  # whose stub takes any keyword for allow_pickle
IDS = np.arange(30, dtype=np.int64).reshape(10, 3)


def npz(path: Path, **columns: AnyArray) -> Path:
    SAVEZ(path / "evaluation.npz", **columns)
    return path / "evaluation.npz"


def h5(path: Path, **columns: AnyArray) -> Path:
    with h5py.File(path / "evaluation.h5", "w") as file:
        for key, values in columns.items():
            file[key] = values
    return path / "evaluation.h5"


def rows(data: Dataset, name: str) -> AnyArray:
    return np.concatenate([batch[name] for batch in data])


both = pytest.mark.parametrize("write", [npz, h5])
Write = Callable[..., Path]

# ---- what comes out


@both
def test_keys_are_inputs_labels_are_taken_out_and_the_index_is_ignored(tmp_path: Path, write: Write) -> None:
    data = arrays(write(tmp_path, image=IMAGE, label=LABEL, index=IDS[:, 0]), batch=4)
    assert isinstance(data, Dataset)
    batches = list(data)
    assert [list(batch) for batch in batches] == [["image"]] * 3
    assert [batch.samples for batch in batches] == [4, 4, 2]
    assert np.concatenate([batch.labels for batch in batches if batch.labels is not None]).tolist() == list(range(10))
    assert batches[2].names == ("evaluation[8]", "evaluation[9]")
    assert batches[0].labels is not None
    assert batches[0].labels.dtype == np.dtype(np.int64)


@both
def test_values_pass_unchanged_in_any_batch_size(tmp_path: Path, write: Write) -> None:
    columns: dict[str, AnyArray] = {
        "ids": IDS,
        "half": IDS.astype(np.float16),
        "big": IDS.astype(">f8"),
        "flag": IDS > 4,
    }
    path = write(tmp_path, **columns)
    for size in (1, 3, 10, 99):
        data = arrays(path, batch=size)
        for name, values in columns.items():
            expected = values.astype(values.dtype.newbyteorder("="))
            np.testing.assert_array_equal(rows(data, name), expected, strict=True)
            np.testing.assert_array_equal(rows(data, name), expected, strict=True)


def test_fortran_order_is_read(tmp_path: Path) -> None:
    values = np.asfortranarray(np.arange(60.0).reshape(10, 3, 2))
    np.save(tmp_path / "a.npy", values)
    for path, name in ((npz(tmp_path, x=values), "x"), (tmp_path / "a.npy", UNNAMED)):
        np.testing.assert_array_equal(rows(arrays(path, batch=4), name), values)


def test_the_array_of_an_npy_file_is_the_unnamed_input(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", IDS)
    np.testing.assert_array_equal(rows(arrays(tmp_path / "a.npy"), UNNAMED), IDS)
    np.testing.assert_array_equal(rows(arrays(tmp_path / "a.npy", input="ids"), "ids"), IDS)
    assert all(type(batch["ids"]) is np.ndarray for batch in arrays(tmp_path / "a.npy", input="ids"))


def test_keys_may_be_paths(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["model/input:0"] = IDS
        file["alias"] = h5py.SoftLink("/model/input:0")
    SAVEZ(tmp_path / "a.npz", **{"model/input:0": IDS})
    np.testing.assert_array_equal(rows(arrays(tmp_path / "a.npz"), "model/input:0"), IDS)
    np.testing.assert_array_equal(rows(arrays(tmp_path / "a.h5", ignore=["alias"]), "model/input:0"), IDS)
    np.testing.assert_array_equal(rows(arrays(tmp_path / "a.h5"), "alias"), IDS)


def test_the_labels_may_have_another_key(tmp_path: Path) -> None:
    path = npz(tmp_path, x=IDS, target=LABEL)
    (batch,) = arrays(path, label="target")
    assert batch.labels is not None
    (batch,) = arrays(path, label=None)
    assert sorted(batch) == ["target", "x"]


def test_without_labels_there_are_none(tmp_path: Path) -> None:
    (batch,) = arrays(npz(tmp_path, x=IDS))
    assert batch.labels is None


@both
def test_preprocessing_is_applied_to_each_row(tmp_path: Path, write: Write) -> None:
    preprocess = Preprocess(resize=(8, 8), scale=1 / 255, mean=0.5, std=0.25, color="GRAY")
    data = arrays(write(tmp_path, image=IMAGE, label=LABEL), preprocess=preprocess, input="x", batch=3)
    np.testing.assert_array_equal(rows(data, "x"), np.stack([preprocess.apply_array(row) for row in IMAGE]))
    assert data.identity.preprocess == preprocess.to_json()


def test_rows_that_are_no_images_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"from evaluation\[0\] on cannot be used: An image must be .* int64\[3\]"):
        list(arrays(npz(tmp_path, x=IDS), preprocess=Preprocess()))


# ---- identity


@given(st.permutations(range(10)), st.integers(1, 11))
def test_identity_depends_neither_on_format_order_nor_batch(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], size: int
) -> None:
    folder = tmp_path_factory.getbasetemp()
    np.save(folder / "evaluation.npy", IMAGE)
    shuffled = stream([{"x": IMAGE[order[at : at + size]]} for at in range(0, 10, size)], name="evaluation")
    list(shuffled)
    files = (npz(folder, image=IMAGE[order], label=LABEL), h5(folder, x=IMAGE, index=LABEL), folder / "evaluation.npy")
    for path in files:
        assert arrays(path, batch=size).identity == shuffled.identity


def test_labels_do_not_count_and_pixels_do(tmp_path: Path) -> None:
    first = arrays(npz(tmp_path, image=IMAGE, label=LABEL)).identity
    assert arrays(npz(tmp_path, image=IMAGE)).identity == first
    assert arrays(npz(tmp_path, image=IMAGE + np.uint8(1), label=LABEL)).identity.digest != first.digest


def test_overlap_of_small_sets_is_exact(tmp_path: Path) -> None:
    one, two = arrays(npz(tmp_path, x=IDS[:4])).identity, arrays(h5(tmp_path, x=IDS[1:])).identity
    assert one.overlap(two) == two.overlap(one) == 0.75


# ---- bad input


@both
def test_different_counts_are_listed(tmp_path: Path, write: Write) -> None:
    with pytest.raises(InputError, match="different numbers of samples: «a» 10, «b» 9, «label» 10"):
        arrays(write(tmp_path, a=IDS, b=IDS[:9], label=LABEL))


@both
@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"x": np.array(3)}, "«x» in .* is a scalar; its first dimension must count the samples"),
        ({"x": IDS[:0]}, "holds no sample"),
        ({"label": LABEL}, "holds no input, only «label»"),
        ({"index": LABEL}, "holds no input, only nothing"),
        ({"x": IDS, "label": LABEL * 0.5}, r"The labels in .* are float64\[10\]; they must be one integer a sample"),
        ({"x": IDS, "label": IDS}, r"The labels in .* are int64\[10, 3\]"),
        ({"x": IDS * 1j}, "«x» in .* holds complex128; only integers, floats and Booleans"),
        ({"x": np.array([b"ab"] * 10)}, "holds .S2; only integers"),
        ({"x": np.zeros(10, [("a", int)])}, "only integers, floats and Booleans"),
    ],
)
def test_arrays_that_cannot_be_inputs_are_refused(
    tmp_path: Path, write: Write, columns: dict[str, AnyArray], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        arrays(write(tmp_path, **columns))


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"input": "x"}, UsageError, "`input` names one input, but .* holds several: «a», «b»"),
        ({"preprocess": Preprocess()}, UsageError, "`preprocess` takes one input, but .* holds several: «a», «b»"),
        ({"batch": 0}, UsageError, "A batch needs"),
        ({"label": "target"}, InputError, "has no labels «target»; it holds «a», «b»"),
    ],
)
def test_options_that_do_not_fit_are_refused(tmp_path: Path, options: Any, error: Any, sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        arrays(npz(tmp_path, a=IDS, b=IDS), **options)


@pytest.mark.parametrize("suffix", ["npz", "npy", "h5", "hdf5"])
def test_a_missing_file_is_named(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(InputError, match=rf"There is no file .*gone\.{suffix}"):
        arrays(tmp_path / f"gone.{suffix}")


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.csv must be a \.npz, \.npy, \.h5 or \.hdf5 file"):
        arrays(tmp_path / "a.csv")


@pytest.mark.parametrize("suffix", ["npz", "npy", "h5"])
@pytest.mark.parametrize("kind", ["cut", "text", "empty"])
def test_a_damaged_file_is_named(tmp_path: Path, suffix: str, kind: str) -> None:
    np.save(tmp_path / "evaluation.npy", IMAGE)
    npz(tmp_path, x=IMAGE)
    h5(tmp_path, x=np.zeros((10, 4000)))
    path = tmp_path / f"evaluation.{suffix}"
    whole = path.read_bytes()
    path.write_bytes({"cut": whole[: len(whole) * 2 // 3], "text": b"hello", "empty": b""}[kind])
    with pytest.raises(InputError, match=rf"evaluation\.{suffix} (cannot be read as a \.{suffix} file|is cut short)"):
        list(arrays(path))


def test_a_flipped_bit_in_an_npz_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, x=IMAGE)
    spoiled = bytearray(path.read_bytes())
    spoiled[300] ^= 1
    path.write_bytes(spoiled)
    with pytest.raises(InputError, match="Bad CRC-32"):
        list(arrays(path))


@pytest.mark.parametrize("suffix", ["npz", "npy"])
def test_python_objects_are_refused_unread(tmp_path: Path, suffix: str) -> None:
    objects = np.array([{"a": 1}] * 3, dtype=object)
    np.save(tmp_path / "a.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "a.npz", x=objects)
    with pytest.raises(InputError, match="holds Python objects, which are not read: store numbers"):
        arrays(tmp_path / f"a.{suffix}")


@pytest.mark.parametrize("shape", ["(10**12,)", "(-3,)", "(True, 2)", "('a',)", "((("])
@pytest.mark.parametrize("suffix", ["npz", "npy"])
def test_a_header_that_lies_is_refused(tmp_path: Path, suffix: str, shape: str) -> None:
    shape = shape.replace("10**12", str(10**12))
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + b"\0" * 16
    (tmp_path / "a.npy").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", content)
    with pytest.raises(InputError):
        list(arrays(tmp_path / f"a.{suffix}"))


def test_a_zip_of_other_files_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(InputError, match=r"holds «readme\.txt», which is no array"):
        arrays(tmp_path / "a.npz")
