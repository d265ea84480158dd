"""A batch's hashes: what each sample was made from, the same whatever is done to it afterwards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from quantlab.comparison.fixed_batch import cut
from quantlab.data import Preprocess, arrays, images, random_data, stream
from quantlab.data.batch import UNNAMED, Batch, Dataset
from quantlab.data.fingerprint import hash_file
from quantlab.engines.engine import TensorSpec
from quantlab.errors import InputError

ROWS = np.random.default_rng(0).integers(0, 256, (7, 12, 10, 3), np.uint8)
GRAY = Preprocess(resize=(4, 4), color="GRAY")
LARGE = Preprocess(resize=(9, 9), mean=3, std=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven images, of which the third is none, and an array file with the same pixels."""
    folder = tmp_path_factory.mktemp("photographs")
    for index, row in enumerate(ROWS):
        Image.fromarray(row).save(folder / f"{index}.png")
    (folder / "2.png").write_bytes(b"no image")
    np.savez(folder / "rows.npz", image=ROWS, label=np.arange(7))
    return folder


def hashes(data: Dataset) -> list[str]:
    return [one for batch in data for one in batch.hashes]


@pytest.mark.parametrize("preprocess", [GRAY, LARGE])
@pytest.mark.parametrize("size", [1, 3, 7])
def test_neither_preprocessing_nor_batches_change_an_arrays_hashes(
    folder: Path, preprocess: Preprocess, size: int
) -> None:
    data = arrays(folder / "rows.npz", preprocess=preprocess, batch=size, name=str(size))
    first = hashes(data)
    assert len(first) == 7
    assert set(first) == set(data.identity.sketch)
    assert hashes(data) == first
    assert first == hashes(arrays(folder / "rows.npz"))


@pytest.mark.parametrize("known", [False, True])
def test_an_images_hash_is_its_files(folder: Path, known: bool) -> None:
    data = images(folder, preprocess=GRAY, batch=3, skip_bad=True)
    if known:
        assert data.identity.count == 7
    expected = [hash_file(folder / f"{index}.png").hex()[:16] for index in (0, 1, 3, 4, 5, 6)]
    assert hashes(data) == expected
    assert set(expected) < set(data.identity.sketch)
    assert hashes(images(folder, preprocess=LARGE, batch=2, skip_bad=True)) == expected


def test_random_samples_have_the_hashes_of_their_identity() -> None:
    data = random_data({"x": TensorSpec("x", np.dtype(np.float32), ("n", 3))}, 5, 0, batch=2)
    assert set(hashes(data)) == set(data.identity.sketch)
    assert len(hashes(data)) == 5


@given(st.integers(1, 7))
def test_a_streams_hashes_are_those_of_what_it_yields(size: int) -> None:
    foreign = ("f" * 16,) * 7
    given = Batch({"x": ROWS}, hashes=foreign)
    data = stream([Batch({"x": part["x"]}, hashes=part.hashes) for part, _ in cut([(given, None)], size)])
    assert set(hashes(data)) == set(data.identity.sketch)
    assert foreign[0] not in hashes(data)


@given(st.integers(1, 8))
def test_pieces_and_a_bound_batch_keep_them(size: int) -> None:
    whole = Batch({UNNAMED: ROWS}, hashes=tuple(f"{index:016x}" for index in range(7)))
    pieces = [part for part, _ in cut([(whole.bind(["image"]), None)], size)]
    assert [one for part in pieces for one in part.hashes] == list(whole.hashes)


def test_one_a_sample_is_asked_for() -> None:
    with pytest.raises(InputError, match="A batch of 7 samples has 2 hashes: give one a sample"):
        Batch({"x": ROWS}, hashes=("0" * 16, "1" * 16))
