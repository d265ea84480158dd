"""HDF5 files of strangers: what points elsewhere is refused, what stays inside is read."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from quantlab.data import Dataset, arrays
from quantlab.errors import InputError
from quantlab.numerics.arrays import AnyArray

IDS = np.arange(30, dtype=np.int64).reshape(10, 3)


def rows(data: Dataset, name: str) -> AnyArray:
    return np.concatenate([batch[name] for batch in data])


def link_out(file: h5py.File) -> None:
    file.create_group("group")["x"] = h5py.ExternalLink("secret.h5", "/x")


def link_through(file: h5py.File) -> None:
    file["out"] = h5py.ExternalLink("secret.h5", "/")
    file["a"] = h5py.SoftLink("/out/x")


def store_outside(file: h5py.File) -> None:
    file.create_dataset("x", (10,), "u1", external=[("secret.bin", 0, 10)])


def view_outside(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((10, 3), np.int64)
    layout[:] = h5py.VirtualSource("secret.h5", "x", (10, 3))
    file.create_virtual_dataset("x", layout)


def dangle(file: h5py.File) -> None:
    file["x"] = h5py.SoftLink("/nowhere")


def circle(file: h5py.File) -> None:
    file["x"], file["y"] = h5py.SoftLink("/y"), h5py.SoftLink("/x")


def nothing(file: h5py.File) -> None:
    file["x"] = h5py.Empty("f4")


def text(file: h5py.File) -> None:
    file["x"] = ["a", "b"]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (link_out, r"«group/x» in .* is a link into another file \(secret\.h5\), which is not followed"),
        (link_through, "«out» in .* is a link into another file"),
        (store_outside, r"«x» in .* keeps its values in another file \(secret\.bin\): copy them in"),
        (view_outside, r"«x» in .* takes its values from another file \(secret\.h5\): copy them in"),
        (dangle, "The link «x» in .* leads nowhere"),
        (circle, "leads nowhere|cannot be read"),
        (nothing, "«x» in .* is empty"),
        (text, "«x» in .* holds Python objects|only integers"),
    ],
)
def test_an_hdf5_file_that_points_elsewhere_is_refused(
    tmp_path: Path, make: Callable[[h5py.File], None], sentence: str
) -> None:
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["x"] = IDS
    (tmp_path / "secret.bin").write_bytes(b"0123456789")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        make(file)
    with pytest.raises(InputError, match=sentence):
        arrays(tmp_path / "a.h5")


def test_a_view_within_the_file_is_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["parts/x"] = IDS
        layout = h5py.VirtualLayout((10, 3), np.int64)
        layout[:] = h5py.VirtualSource(file["parts/x"])
        file.create_virtual_dataset("x", layout)
    np.testing.assert_array_equal(rows(arrays(tmp_path / "a.h5", ignore=["parts/x"]), "x"), IDS)


def test_groups_in_a_circle_end(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        group = file.create_group("group")
        group["x"] = IDS
        group["root"] = file["/"]
    np.testing.assert_array_equal(rows(arrays(tmp_path / "a.h5"), "group/x"), IDS)
