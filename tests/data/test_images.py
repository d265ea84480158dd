"""Images: batches of decoded files, and what happens to those that cannot be read."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from quantlab.data import Dataset, Preprocess, images
from quantlab.data import images as images_function
from quantlab.data.batch import UNNAMED
from quantlab.errors import InputError, UsageError
from quantlab.numerics.arrays import AnyArray

TINY = Preprocess(resize=(4, 4), dtype="uint8")


def picture(seed: int, rows: int = 6, columns: int = 8) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (rows, columns, 3), np.uint8))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Seven images, in files «0_.png» … «6_.png»."""
    folder = tmp_path / "calibration"
    folder.mkdir()
    for index in range(7):
        picture(index).save(folder / f"{index}_.png")
    return folder


def pixels(data: Dataset) -> AnyArray:
    return np.concatenate([batch[UNNAMED] for batch in data])


# ---- batches


def test_the_last_batch_may_be_smaller(folder: Path) -> None:
    data = images(folder, preprocess=TINY, batch=3, input="x")
    assert isinstance(data, Dataset)
    assert [batch["x"].shape for batch in data] == [(3, 3, 4, 4), (3, 3, 4, 4), (1, 3, 4, 4)]
    assert len(data) == 7


def test_batches_hold_names_and_labels_in_order(folder: Path) -> None:
    batches = list(images(folder, preprocess=TINY, batch=4, label_pattern=r"^(\d)"))
    assert [name for batch in batches for name in batch.names] == [f"{index}_.png" for index in range(7)]
    assert [batch.labels.tolist() for batch in batches if batch.labels is not None] == [[0, 1, 2, 3], [4, 5, 6]]
    assert all(batch.labels is None for batch in images(folder, preprocess=TINY))


def test_pixels_do_not_depend_on_the_batch_size_or_the_pass(folder: Path) -> None:
    expected = np.stack([TINY.apply_image(picture(index)) for index in range(7)])
    for size in (1, 2, 7, 32):
        data = images(folder, preprocess=TINY, batch=size)
        np.testing.assert_array_equal(pixels(data), expected, strict=True)
        np.testing.assert_array_equal(pixels(data), expected, strict=True)


def test_a_change_of_shape_starts_a_batch(folder: Path) -> None:
    picture(9, 5, 5).save(folder / "4_.png")
    shapes = [batch[UNNAMED].shape for batch in images(folder, preprocess=Preprocess(), batch=3)]
    assert shapes == [(3, 3, 6, 8), (1, 3, 6, 8), (1, 3, 5, 5), (2, 3, 6, 8)]


def test_leaving_in_the_middle_ends_the_decoding_threads(folder: Path) -> None:
    batches = iter(images(folder, preprocess=TINY, batch=2))
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("quantlab-decode")]


def test_class_folders_label_the_images(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        picture(1).save(tmp_path / name / "x.png")
    (batch,) = images(tmp_path, preprocess=TINY)
    assert batch.labels is not None
    assert (batch.names, batch.labels.tolist()) == (("a/x.png", "b/x.png"), [0, 1])


# ---- formats


@pytest.mark.parametrize("suffix", ["png", "bmp", "ppm", "tiff", "webp", "jpg", "gif", "jp2", "tga", "pcx"])
def test_every_format_is_read(tmp_path: Path, suffix: str) -> None:
    options: dict[str, Any] = {"lossless": True} if suffix == "webp" else {}
    image = Image.new("RGB", (8, 6), (255, 255, 255))
    image.save(tmp_path / f"a.{suffix}", **options)
    np.testing.assert_array_equal(pixels(images(tmp_path, preprocess=Preprocess())), 255)


def test_the_first_frame_of_a_gif_counts(tmp_path: Path) -> None:
    frames = [Image.new("L", (4, 4), value) for value in (10, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(pixels(images(tmp_path, preprocess=Preprocess())), 10)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "LA", "I;16", "CMYK"])
def test_every_mode_of_a_file_is_read(tmp_path: Path, mode: str) -> None:
    white = (
        Image.new(mode, (4, 4), 65535) if mode == "I;16" else Image.new("RGB", (4, 4), (255, 255, 255)).convert(mode)
    )
    white.save(tmp_path / ("a.tiff" if mode == "CMYK" else "a.png"))
    np.testing.assert_array_equal(pixels(images(tmp_path, preprocess=Preprocess())), 255)


def test_a_cmyk_jpeg_is_not_inverted(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 0, 0, 0)).save(tmp_path / "a.jpg", quality=100)
    assert pixels(images(tmp_path, preprocess=Preprocess())).min() >= 254


def test_the_exif_orientation_of_a_file_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(0).save(tmp_path / "a.png", exif=exif)
    upright = pixels(images(tmp_path, preprocess=Preprocess(layout="NHWC", dtype="uint8")))[0]
    np.testing.assert_array_equal(upright, np.rot90(np.asarray(picture(0)), -1))


def test_postscript_is_never_run(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\nshowpage\n")
    with pytest.raises(InputError, match=r"a\.png cannot be read as an image: cannot identify"):
        list(images(tmp_path, preprocess=Preprocess()))


# ---- bad files


def spoil(path: Path, kind: str) -> None:
    whole = path.read_bytes()
    path.write_bytes({"cut": whole[: len(whole) // 2], "text": b"<html>not found</html>", "empty": b""}[kind])


@pytest.mark.parametrize("kind", ["cut", "text", "empty"])
def test_an_image_that_cannot_be_read_is_named(folder: Path, kind: str) -> None:
    spoil(folder / "3_.png", kind)
    with pytest.raises(InputError, match=r"calibration.3_\.png cannot be read as an image: "):
        list(images(folder, preprocess=TINY))


@pytest.mark.parametrize("suffix", ["jpg", "webp", "tiff", "gif", "bmp", "ppm"])
def test_a_cut_image_of_every_format_is_named(tmp_path: Path, suffix: str) -> None:
    picture(0, 64, 64).save(tmp_path / f"a.{suffix}")
    spoil(tmp_path / f"a.{suffix}", "cut")
    with pytest.raises(InputError, match=rf"a\.{suffix} cannot be read as an image"):
        list(images(tmp_path, preprocess=TINY))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.sampled_from(["png", "gif", "bmp", "jpg", "webp"]), st.integers(0, 10**6), st.binary(min_size=1, max_size=8))
def test_damage_anywhere_gives_a_sentence_or_an_image(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, at: int, damage: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / f"damaged.{suffix}"
    picture(0, 16, 16).save(path)
    whole = bytearray(path.read_bytes())
    at %= len(whole)
    whole[at : at + len(damage)] = damage
    path.write_bytes(whole)
    data = images([path], preprocess=TINY, skip_bad=True)
    try:
        list(data)
    except InputError as error:
        assert "None of the 1 images" in str(error)  # noqa: PT017 - an image is as good
    path.unlink()


def test_skipped_images_are_named_and_the_others_fill_the_batches(folder: Path) -> None:
    spoil(folder / "0_.png", "cut")
    spoil(folder / "4_.png", "text")
    data = images(folder, preprocess=TINY, batch=3, skip_bad=True)
    assert [batch.names for batch in data] == [("1_.png", "2_.png", "3_.png"), ("5_.png", "6_.png")]
    assert data.skipped == ("0_.png", "4_.png")
    assert len(list(data)) == 2
    assert data.skipped == ("0_.png", "4_.png")


def test_only_bad_images_are_refused_even_when_they_may_be_skipped(folder: Path) -> None:
    for path in folder.iterdir():
        spoil(path, "empty")
    with pytest.raises(InputError, match=r"None of the 7 images of «calibration» can be read; the first is 0_\.png"):
        list(images(folder, preprocess=TINY, skip_bad=True))


def test_a_missing_file_in_a_list_is_named_at_once(folder: Path) -> None:
    (folder / "list.txt").write_text("0_.png\ngone.png\n../away.png\n")
    with pytest.raises(InputError, match=r"There is no file .*gone\.png \(2 of 3 images are missing\)"):
        images(folder / "list.txt", preprocess=TINY)


def test_a_missing_file_in_a_list_can_be_skipped(folder: Path) -> None:
    (folder / "list.txt").write_text("gone.png\n0_.png\n")
    data = images(folder / "list.txt", preprocess=TINY, skip_bad=True)
    assert [batch.names for batch in data] == [("0_.png",)]
    assert data.skipped == ("gone.png",)
    assert data.identity.count == 1


def test_a_file_that_goes_away_is_named_in_the_identity(folder: Path) -> None:
    data = images(folder, preprocess=TINY)
    (folder / "2_.png").unlink()
    with pytest.raises(InputError, match=r"2_\.png cannot be read: No such file"):
        _ = data.identity


def test_a_decompression_bomb_is_refused(tmp_path: Path) -> None:
    Image.new("1", (10_000, 9_000)).save(tmp_path / "bomb.png")
    with pytest.raises(InputError, match=r"bomb\.png cannot be used: .* more than 89478485.*: make it smaller"):
        list(images(tmp_path, preprocess=TINY))


def test_an_image_smaller_than_the_crop_is_named(folder: Path) -> None:
    with pytest.raises(InputError, match=r"0_\.png cannot be used: The crop of 7×7 .* the image of 6×8: resize first"):
        list(images(folder, preprocess=Preprocess(crop=(7, 7))))


@pytest.mark.parametrize("options", [{"batch": 0}, {"label_pattern": "x"}])
def test_an_option_that_means_nothing_is_refused(folder: Path, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        images_function(folder, preprocess=TINY, **options)


# ---- identity


def test_the_set_is_named_after_its_folder_or_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "night.txt").write_text("0_.png\n")
    monkeypatch.chdir(folder)
    assert images(".", preprocess=TINY).identity.name == "calibration"
    assert images("night.txt", preprocess=TINY).identity.name == "night"
    assert images(["0_.png"], preprocess=TINY).identity.name == "images"
    assert images(".", preprocess=TINY, name="mine").identity.name == "mine"


def test_identity_needs_no_decoding(folder: Path) -> None:
    spoil(folder / "0_.png", "text")
    assert images(folder, preprocess=TINY).identity.count == 7


def test_identity_depends_neither_on_order_batch_labels_names_nor_preprocessing(folder: Path) -> None:
    (folder / "list.txt").write_text("\n".join(f"{index}_.png" for index in reversed(range(7))))
    first = images(folder, preprocess=TINY, batch=2, label_pattern=r"(\d)").identity
    second = images(folder / "list.txt", preprocess=Preprocess()).identity
    assert (first.digest, first.sketch, first.count) == (second.digest, second.sketch, second.count)
    assert first.preprocess_digest != second.preprocess_digest
    assert first.preprocess == TINY.to_json()


def test_identity_sees_another_a_missing_and_a_repeated_image(folder: Path) -> None:
    def digest(*names: str) -> str:
        return images([folder / name for name in names], preprocess=TINY).identity.digest

    digests = {digest("0_.png"), digest("1_.png"), digest("0_.png", "1_.png"), digest("0_.png", "0_.png")}
    assert len(digests) == 4


def test_overlap_of_two_lists_is_the_shared_part_of_the_smaller(folder: Path) -> None:
    files = [folder / f"{index}_.png" for index in range(7)]
    small, large = (images(part, preprocess=TINY).identity for part in (files[4:], files[:6]))
    assert small.overlap(large) == large.overlap(small) == 2 / 3
