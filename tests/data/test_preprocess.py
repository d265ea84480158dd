"""Preprocessing: the formula, the geometry, every kind of image, and the value itself."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from quantlab.data import Preprocess
from quantlab.errors import InputError, UsageError
from quantlab.numerics.arrays import AnyArray

numbers = st.floats(-300, 300, width=32)
divisors = st.floats(0.0625, 300, width=32)
sizes = st.integers(1, 40)
preprocesses = st.builds(
    Preprocess,
    resize=st.none() | sizes | st.tuples(sizes, sizes),
    crop=st.none() | st.tuples(sizes, sizes),
    layout=st.sampled_from(["NCHW", "NHWC"]),
    color=st.sampled_from(["RGB", "BGR"]),
    scale=divisors | st.tuples(divisors, divisors, divisors),
    mean=numbers | st.tuples(numbers, numbers, numbers),
    std=divisors,
    interpolation=st.sampled_from(["nearest", "bilinear", "bicubic", "lanczos"]),
    dtype=st.sampled_from(["float32", "float16", "uint8", "int64"]),
)
images = arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12), st.just(3)))


def picture(rows: int, columns: int, channels: int = 3) -> AnyArray:
    return np.random.default_rng(rows * 1000 + columns).integers(0, 256, (rows, columns, channels), np.uint8)


# ---- the formula


@given(images, st.tuples(divisors, divisors, divisors), st.tuples(numbers, numbers, numbers), divisors)
def test_a_value_is_scaled_then_shifted_then_divided_in_float32(
    image: AnyArray, scale: tuple[float, ...], mean: tuple[float, ...], std: float
) -> None:
    sample = Preprocess(scale=scale, mean=mean, std=std).apply_array(image)
    for channel in range(3):
        x = image[..., channel].astype(np.float32)
        by_hand = (x * np.float32(scale[channel]) - np.float32(mean[channel])) / np.float32(std)
        np.testing.assert_array_equal(sample[channel], by_hand, strict=True)


def test_efficientnet_preprocessing_is_exact() -> None:
    sample = Preprocess(mean=127, std=128).apply_array(np.full((1, 1, 3), 255, np.uint8))
    assert sample.tolist() == [[[1.0]]] * 3


@given(images)
def test_by_default_nothing_but_layout_and_type_changes(image: AnyArray) -> None:
    np.testing.assert_array_equal(Preprocess().apply_array(image), image.transpose(2, 0, 1).astype(np.float32))


@given(images)
def test_integers_pass_unchanged(image: AnyArray) -> None:
    for dtype in ("uint8", "int16", "int64"):
        sample = Preprocess(dtype=dtype, layout="NHWC").apply_array(image)
        np.testing.assert_array_equal(sample, image.astype(dtype), strict=True)


def test_integers_are_rounded_half_to_even_and_saturated() -> None:
    values = np.array([[0, 1, 2, 3, 5, 255]], np.uint8)
    assert Preprocess(color="GRAY", scale=0.5, dtype="int8").apply_array(values).ravel().tolist() == [
        0,
        0,
        1,
        2,
        2,
        127,
    ]
    assert Preprocess(color="GRAY", mean=3, dtype="uint8").apply_array(values).ravel().tolist() == [0, 0, 0, 0, 2, 252]


def test_float16_overflows_to_infinity_without_a_warning() -> None:
    assert np.isinf(Preprocess(scale=1e6, dtype="float16").apply_array(np.full((1, 1), 255, np.uint8))).all()


# ---- colour and layout


def test_bgr_is_rgb_reversed_and_its_mean_is_in_the_networks_order() -> None:
    image = picture(4, 5)
    rgb = Preprocess(mean=(1, 2, 3)).apply_array(image)
    bgr = Preprocess(mean=(3, 2, 1), color="BGR").apply_array(image)
    np.testing.assert_array_equal(bgr, rgb[::-1])


def test_nhwc_is_nchw_transposed() -> None:
    image = picture(4, 5)
    nchw = Preprocess(std=3).apply_array(image)
    nhwc = Preprocess(std=3, layout="NHWC").apply_array(image)
    np.testing.assert_array_equal(nhwc, nchw.transpose(1, 2, 0))


def test_gray_becomes_three_equal_channels() -> None:
    gray = picture(4, 5, 1)
    for values in (gray, gray[..., 0]):
        assert (Preprocess().apply_array(values) == gray.astype(np.float32)[..., 0]).all()


def test_gray_of_floats_is_the_luma_that_gray_of_bytes_rounds() -> None:
    image, gray = picture(6, 7), Preprocess(color="GRAY")
    exact = gray.apply_array(image.astype(np.float64))
    assert np.abs(exact - gray.apply_array(image)).max() <= 0.51


# ---- geometry


@pytest.mark.parametrize(
    ("rows", "columns", "short", "expected"),
    [(100, 200, 50, (50, 100)), (200, 100, 50, (100, 50)), (3, 10, 2, (2, 6)), (9, 9, 4, (4, 4)), (10, 1, 3, (30, 3))],
)
def test_one_number_resizes_the_short_side_and_rounds_the_long_one_down(
    rows: int, columns: int, short: int, expected: tuple[int, int]
) -> None:
    assert Preprocess(resize=short).apply_array(picture(rows, columns)).shape == (3, *expected)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_resize_is_pillows(interpolation: Any) -> None:
    image = picture(20, 30)
    expected = Image.fromarray(image).resize((11, 7), Image.Resampling[interpolation.upper()])
    sample = Preprocess(resize=(7, 11), interpolation=interpolation, layout="NHWC", dtype="uint8").apply_array(image)
    np.testing.assert_array_equal(sample, np.asarray(expected))


def test_floats_are_resized_like_bytes_but_without_rounding() -> None:
    image, half = picture(20, 30), Preprocess(resize=(10, 15))
    assert np.abs(half.apply_array(image.astype(np.float32)) - half.apply_array(image)).max() <= 1


@pytest.mark.parametrize(("rows", "top"), [(4, 0), (5, 0), (6, 1), (7, 2), (8, 2)])
def test_the_crop_is_central_with_odd_remainders_halved_to_even(rows: int, top: int) -> None:
    image = picture(rows, 4)
    sample = Preprocess(crop=(4, 4), layout="NHWC", dtype="uint8").apply_array(image)
    np.testing.assert_array_equal(sample, image[top : top + 4])


def test_a_crop_larger_than_the_image_is_refused() -> None:
    with pytest.raises(InputError, match=r"crop of 5×4 \(height×width\) does not fit into the image of 4×5"):
        Preprocess(crop=(5, 4)).apply_array(picture(4, 5))


# ---- kinds of images


def test_an_image_and_its_array_give_the_same_bits() -> None:
    image = picture(30, 20)
    for preprocess in (Preprocess(resize=9, crop=(8, 8), std=(2, 3, 4)), Preprocess(color="GRAY", resize=(5, 6))):
        np.testing.assert_array_equal(preprocess.apply_image(Image.fromarray(image)), preprocess.apply_array(image))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV"])
@pytest.mark.parametrize("color", ["RGB", "GRAY"])
def test_every_mode_becomes_the_networks_channels(mode: str, color: Any) -> None:
    white = Image.new("RGB", (6, 4), (255, 255, 255)).convert(mode if mode != "PA" else "P").convert(mode)
    sample = Preprocess(color=color).apply_image(white)
    assert sample.shape == (3 if color == "RGB" else 1, 4, 6)
    assert (sample == 255).all()


def test_cmyk_ink_is_dark() -> None:
    assert (Preprocess().apply_image(Image.new("CMYK", (2, 2), (0, 0, 0, 255))) == 0).all()


def test_a_palette_with_transparency_is_looked_up() -> None:
    image = Image.new("P", (2, 2), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    image.info["transparency"] = b"\x00\x80"
    assert Preprocess().apply_image(image)[:, 0, 0].tolist() == [10, 20, 30]


@pytest.mark.parametrize(("value", "expected"), [(0, 0), (128, 0), (129, 1), (32896, 128), (65535, 255)])
@pytest.mark.parametrize("mode", ["I;16", "I"])
def test_16_bit_gray_is_scaled_to_8_bits(value: int, expected: int, mode: str) -> None:
    assert (Preprocess().apply_image(Image.new(mode, (3, 2), value)) == expected).all()


@pytest.mark.parametrize("value", [-1, 65536])
def test_integers_beyond_16_bits_are_refused(value: int) -> None:
    with pytest.raises(InputError, match="integers beyond 16 bits"):
        Preprocess().apply_image(Image.new("I", (2, 2), value))


def test_an_image_of_floats_is_refused() -> None:
    with pytest.raises(InputError, match="holds floats, whose range nothing tells"):
        Preprocess().apply_image(Image.new("F", (2, 2), 0.5))


def test_the_exif_orientation_is_applied() -> None:
    image = Image.fromarray(picture(4, 6))
    image.getexif()[0x0112] = 6
    turned = Preprocess(layout="NHWC", dtype="uint8").apply_image(image)
    np.testing.assert_array_equal(turned, np.rot90(np.asarray(image), -1))


@pytest.mark.parametrize(
    "values",
    [np.zeros(3), np.zeros((2, 2, 4)), np.zeros((1, 2, 2, 3)), np.zeros((0, 2)), np.zeros((2, 2), complex)],
    ids=["1-D", "4 channels", "4-D", "empty", "complex"],
)
def test_an_array_that_is_no_image_is_refused(values: AnyArray) -> None:
    with pytest.raises(InputError, match=r"must be an array \[height, width\]"):
        Preprocess().apply_array(values)


# ---- the value


@given(preprocesses)
def test_a_preprocessing_survives_json(preprocess: Preprocess) -> None:
    assert Preprocess.from_json(json.loads(json.dumps(preprocess.to_json()))) == preprocess
    assert Preprocess.from_json(json.dumps(preprocess.to_json())) == preprocess


def test_lists_and_numpy_numbers_are_the_same_value_as_tuples() -> None:
    loose: dict[str, Any] = {"resize": np.int64(8), "crop": [8, 8], "mean": np.array([1.0, 2.0, 3.0]), "std": [1, 1, 1]}
    strict = Preprocess(resize=8, crop=(8, 8), mean=(1, 2, 3), std=(1, 1, 1))
    assert Preprocess(**loose) == strict
    assert hash(Preprocess(**loose)) == hash(strict)
    assert json.dumps(Preprocess(**loose).to_json()) == json.dumps(strict.to_json())


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"mean": (1, 2)}, "`mean` has 2 values, but RGB has 3 channels: give 1 or 3"),
        ({"std": (1, 1, 1), "color": "GRAY"}, "`std` has 3 values, but GRAY has 1 channel: give one"),
        ({"std": 0}, "`std` must be finite and not 0 as a float32, not 0"),
        ({"std": (1, 1e-60, 1)}, "`std` must be finite and not 0"),
        ({"scale": 0.0}, "`scale` must be finite and not 0"),
        ({"mean": float("nan")}, "`mean` must be finite as a float32, not nan"),
        ({"mean": 1e39}, "`mean` must be finite"),
        ({"mean": "0.5"}, "`mean` must be a number or one a channel, not '0.5'"),
        ({"mean": True}, "`mean` must be a number"),
        ({"mean": None}, "`mean` must be a number"),
        ({"resize": 0}, "`resize` must be a positive length of the short side or a pair"),
        ({"resize": True}, "`resize` must be"),
        ({"resize": (8, 8, 3)}, "`resize` must be"),
        ({"crop": 8}, r"`crop` must be a pair \(height, width\) of positive numbers, not 8"),
        ({"crop": (8, -1)}, "`crop` must be a pair"),
        ({"layout": "HWC"}, "`layout` must be one of NCHW, NHWC, not 'HWC'"),
        ({"color": "rgb"}, "`color` must be one of RGB, BGR, GRAY, not 'rgb'"),
        ({"interpolation": "linear"}, "`interpolation` must be one of nearest, bilinear, bicubic, lanczos"),
        ({"dtype": "object"}, "`dtype` must be one of float16, float32"),
        ({"dtype": ["float32"]}, "`dtype` must be one of"),
    ],
)
def test_a_value_that_means_nothing_is_refused(wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        Preprocess(**wrong)
    if "mean" not in wrong or wrong["mean"] == (1, 2):
        with pytest.raises(InputError, match=f"A preprocessing cannot be read: {sentence}"):
            Preprocess.from_json(wrong)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("{", "A preprocessing is not JSON"),
        ([], "must be a JSON object, not list"),
        ({"means": 1}, "has no means; its fields are resize, crop"),
    ],
)
def test_json_that_is_no_preprocessing_is_refused(value: object, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        Preprocess.from_json(value)
