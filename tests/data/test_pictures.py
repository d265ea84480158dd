"""Pictures of samples: the source as it is, and thumbnails that hold nothing else."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from quantlab.data import Preprocess, arrays, images
from quantlab.data.fingerprint import hash_file
from quantlab.data.pictures import LARGEST, Pictured, check_thumbnail, picture_of_row, thumbnail
from quantlab.errors import InputError
from quantlab.numerics.arrays import AnyArray

ROWS = np.random.default_rng(0).integers(0, 256, (5, 12, 10, 3), np.uint8)
BLURRED = Preprocess(resize=(4, 4), mean=100)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for index, row in enumerate(ROWS):
        Image.fromarray(row).save(tmp_path / f"{index}.png")
    (tmp_path / "1.png").write_bytes(b"no image")
    return tmp_path


# ---- data sets


def test_a_picture_is_the_file_before_preprocessing(folder: Path) -> None:
    data = images(folder, preprocess=BLURRED, skip_bad=True)
    assert isinstance(data, Pictured)
    found = data.picture(3)
    assert found is not None
    assert np.array_equal(np.asarray(found), ROWS[3])


def test_places_count_the_samples_of_the_latest_pass(folder: Path) -> None:
    data = images(folder, preprocess=BLURRED, skip_bad=True)
    names = [name for batch in data for name in batch.names]
    assert names == ["0.png", "2.png", "3.png", "4.png"]
    assert [(place, *np.asarray(found)[0, 0]) for place, found in data.pictures([3, 1, 99])] == [
        (1, *ROWS[2][0, 0]),
        (3, *ROWS[4][0, 0]),
    ]


def test_a_picture_is_found_by_its_hash(folder: Path) -> None:
    data = images(folder, preprocess=BLURRED, skip_bad=True)
    found = data.picture(hash_file(folder / "4.png").hex()[:16])
    assert found is not None
    assert np.array_equal(np.asarray(found), ROWS[4])
    assert data.picture("0" * 16) is None


def test_what_cannot_be_read_has_no_picture(folder: Path) -> None:
    data = images(folder, preprocess=BLURRED, skip_bad=True)
    assert data.picture(1) is None
    (folder / "0.png").unlink()
    assert data.picture(0) is None


def test_rows_of_a_file_are_pictures(tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", image=np.concatenate([ROWS] * 60), label=np.arange(300))
    data = arrays(tmp_path / "rows.npz", preprocess=BLURRED)
    assert [place for place, _ in data.pictures([299, 0, 300])] == [0, 299]
    by_hash = data.picture(next(iter(data)).hashes[2])
    assert by_hash is not None
    assert np.array_equal(np.asarray(by_hash), ROWS[2])
    assert data.picture("0" * 16) is None


def test_rows_of_several_inputs_are_none(tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", left=ROWS, right=ROWS)
    assert arrays(tmp_path / "rows.npz").picture(0) is None


@pytest.mark.parametrize(
    ("row", "size"),
    [
        (ROWS[0], (10, 12)),
        (ROWS[0][..., :1], (10, 12)),
        (ROWS[0][..., 0], (10, 12)),
        (ROWS[0].transpose(2, 0, 1), (10, 12)),
        (ROWS[0].astype(np.float32), None),
        (ROWS[0].astype(np.int8), None),
        (ROWS[0][:, :, :2], None),
        (ROWS[0][:4], None),
        (np.zeros((8, 512), np.uint8), None),
        (np.zeros(64, np.uint8), None),
    ],
)
def test_pixels_are_told_from_other_arrays(row: AnyArray, size: tuple[int, int] | None) -> None:
    found = picture_of_row(row)
    assert (None if found is None else found.size) == size


# ---- thumbnails


def noise(rows: int, columns: int, channels: int = 3) -> Image.Image:
    values = np.random.default_rng(1).integers(0, 256, (rows, columns, channels), np.uint8)
    return Image.fromarray(values[..., 0] if channels == 1 else values)


@pytest.mark.parametrize(
    "image", [noise(300, 200), noise(5, 4000), noise(96, 96), noise(96, 96, 1), noise(2000, 2000), noise(28, 28, 1)]
)
def test_a_thumbnail_is_small_in_both_senses(image: Image.Image) -> None:
    found = thumbnail(image)
    assert len(found) <= LARGEST
    assert max(Image.open(io.BytesIO(found)).size) == min(96, max(image.size))
    check_thumbnail(found)
    assert thumbnail(image) == found


def test_a_small_plain_picture_loses_nothing() -> None:
    image = Image.fromarray(np.arange(28 * 28, dtype=np.uint32).reshape(28, 28).astype(np.uint8))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(thumbnail(image)))), np.asarray(image))


def test_nothing_but_pixels_is_kept(tmp_path: Path) -> None:
    told = PngInfo()
    told.add_text("GPS", "52.5 N 13.4 E")
    noise(20, 20).save(tmp_path / "told.png", pnginfo=told, icc_profile=b"a profile of someone's")
    found = images([tmp_path / "told.png"], preprocess=BLURRED).picture(0)
    assert found is not None
    data = thumbnail(found)
    assert b"52.5" not in data
    assert b"someone" not in data


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"<svg onload=alert(1)>", "cannot be read as PNG or JPEG"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "cannot be read as PNG or JPEG"),
        (thumbnail(noise(90, 90))[:-900], "cannot be read as PNG or JPEG"),
        (bytes(5001), "has 5,001 bytes; at most 5,000 are stored"),
    ],
)
def test_what_is_no_thumbnail_is_refused(data: bytes, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        check_thumbnail(data)


def test_a_large_picture_in_few_bytes_is_refused() -> None:
    file = io.BytesIO()
    Image.new("L", (900, 97)).save(file, "PNG")
    with pytest.raises(InputError, match="has 900×97 pixels; the longest side is 96"):
        check_thumbnail(file.getvalue())
