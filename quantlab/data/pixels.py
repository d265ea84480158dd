"""Pixels as [H, W, C] arrays, uint8 or float32: from any image, resized and cropped."""

from typing import Literal

import numpy as np
from PIL import ExifTags, Image, ImageOps
from PIL.Image import Resampling

from quantlab.errors import InputError
from quantlab.numerics.arrays import AnyArray

Layout = Literal["NCHW", "NHWC"]
Color = Literal["RGB", "BGR", "GRAY"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]

MAX_PIXELS = 89_478_485
"""Of an image, as it comes or resized: larger ones are refused, as Pillow advises; a few kilobytes can unpack to gigabytes."""

_EIGHT_BITS = ((np.arange(65536) + 128) // 257).astype(np.uint8)

_FILTERS: dict[str, Resampling] = {
    "nearest": Resampling.NEAREST,
    "bilinear": Resampling.BILINEAR,
    "bicubic": Resampling.BICUBIC,
    "lanczos": Resampling.LANCZOS,
}


def of_image(image: Image.Image, color: Color) -> AnyArray:
    """Return the upright image as uint8 [H, W, 1] for gray, else as RGB [H, W, 3].

    16-bit gray is scaled to 8 bits (x/257, rounded), palettes are looked up, CMYK is converted as Pillow
    does, and transparency is dropped.

    Raises
    ------
    InputError
        When the image holds floats or 32-bit integers beyond 16 bits, whose range nothing tells.
    """
    # No copy that need not be: the largest image has 360 MB.
    turned = image.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9)
    eight_bit = _eight_bit(ImageOps.exif_transpose(image) if turned else image)
    mode = "L" if color == "GRAY" else "RGB"
    values = np.asarray(eight_bit if eight_bit.mode == mode else eight_bit.convert(mode))
    return values[..., np.newaxis] if values.ndim == 2 else values


def of_array(values: AnyArray, color: Color) -> AnyArray:
    """Return the array as [H, W, 1] for gray, else as RGB [H, W, 3]; uint8 stays, all else becomes float32.

    Raises
    ------
    InputError
        When it is not [H, W], [H, W, 1] or [H, W, 3] of real numbers, or one of them is beyond float32.
    """
    image = values[..., np.newaxis] if values.ndim == 2 else values
    if image.ndim != 3 or image.shape[2] not in {1, 3} or not image.size or image.dtype.kind not in "biuf":
        raise InputError(
            f"An image must be an array [height, width], [height, width, 1] or [height, width, 3] of numbers, not "
            f"{values.dtype}{list(values.shape)}."
        )
    if image.dtype != np.uint8:
        with np.errstate(over="ignore"):
            single = image.astype(np.float32)
        if image.dtype.itemsize > single.itemsize and np.any(np.isinf(single) & np.isfinite(image)):
            raise InputError("An image holds a number beyond float32's largest, 3.4e38: it is damaged, or no image.")
        image = single
    if color == "GRAY":
        return _gray(image)
    return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image


def resized(image: AnyArray, size: int | tuple[int, int], interpolation: Interpolation) -> AnyArray:
    """Resize to (height, width), or to a short side with the long one rounded down.

    Raises
    ------
    InputError
        When that is more than 89 megapixels.
    """
    height, width = size if isinstance(size, tuple) else _short_side(image.shape[0], image.shape[1], size)
    if height * width > MAX_PIXELS:
        raise InputError(f"Resized it would have {height}×{width} pixels, more than {MAX_PIXELS}: resize to less.")
    if image.dtype == np.uint8:
        whole = np.ascontiguousarray(image[..., 0] if image.shape[2] == 1 else image)
        planes = [np.asarray(Image.fromarray(whole).resize((width, height), _FILTERS[interpolation]))]
    else:
        split = (np.ascontiguousarray(image[..., channel]) for channel in range(image.shape[2]))
        planes = [np.asarray(Image.fromarray(p).resize((width, height), _FILTERS[interpolation])) for p in split]
    return np.stack(planes, axis=2) if planes[0].ndim == 2 else planes[0]


def cropped(image: AnyArray, size: tuple[int, int]) -> AnyArray:
    """Cut (height, width) from the centre.

    Raises
    ------
    InputError
        When the image is smaller.
    """
    (height, width), (rows, columns) = size, image.shape[:2]
    if height > rows or width > columns:
        raise InputError(
            f"The crop of {height}×{width} (height×width) does not fit into the image of {rows}×{columns}: resize first."
        )
    top, left = round((rows - height) / 2), round((columns - width) / 2)
    return image[top : top + height, left : left + width]


def _eight_bit(image: Image.Image) -> Image.Image:
    """Return the image in a mode that converts to RGB and L without loss of range."""
    if image.mode == "F":
        raise InputError("The image holds floats, whose range nothing tells: give arrays and a `scale` instead.")
    if image.mode == "I" or image.mode.startswith("I;16"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise InputError("The image holds integers beyond 16 bits, whose range nothing tells: give arrays instead.")
        return Image.fromarray(_EIGHT_BITS[values])  # one byte a pixel beside the image, whatever its size
    if image.mode == "P" and "transparency" in image.info:
        return image.convert("RGBA")
    return image


def _gray(image: AnyArray) -> AnyArray:
    if image.shape[2] == 1:
        return image
    if image.dtype == np.uint8:
        return np.asarray(Image.fromarray(np.ascontiguousarray(image)).convert("L"))[..., np.newaxis]
    weights = np.array([0.299, 0.587, 0.114], np.float32)
    red, green, blue = (image[..., channel] * weights[channel] for channel in range(3))
    return (red + green + blue)[..., np.newaxis]


def _short_side(rows: int, columns: int, short: int) -> tuple[int, int]:
    if rows <= columns:
        return short, max(short * columns // rows, 1)
    return max(short * rows // columns, 1), short
