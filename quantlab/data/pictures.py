"""Pictures of samples: the source as people see it, and thumbnails small enough to keep."""

import io
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from PIL import Image
from PIL.Image import Resampling

from quantlab.data import pixels
from quantlab.data.decoding import UNREADABLE
from quantlab.data.pixels import MAX_PIXELS
from quantlab.errors import InputError
from quantlab.numerics.arrays import AnyArray

SIDE = 96
"""Pixels of a thumbnail's longest side."""

LARGEST = 5000
"""Bytes of a thumbnail; sixty of them are 300 kB."""

_SMALLEST = 8  # pixels a side: below, uint8 is rather a table than a picture
_LONGEST = 32  # times the other side
_AS_PNG = 2000  # bytes up to which nothing need be lost
_QUALITIES = (80, 60, 40, 20)


@runtime_checkable
class Pictured(Protocol):
    """A data set whose samples can be looked at."""

    def pictures(self, samples: Collection[int]) -> Iterator[tuple[int, Image.Image]]:
        """Yield the pictures of these samples, by their places in the latest pass; those without one are left out."""
        ...


def picture_of_file(path: Path, formats: tuple[str, ...]) -> Image.Image | None:
    """Return an image file's picture, upright, as RGB or gray of 8 bits.

    None where it is unreadable, larger than 89 megapixels or of an unknown range.
    """
    try:
        with Image.open(path, formats=formats) as image:
            if image.width * image.height > MAX_PIXELS:
                return None
            gray = image.mode in ("1", "L", "LA") or image.mode.startswith("I")
            return _image(pixels.of_image(image, "GRAY" if gray else "RGB"))
    except (InputError, *UNREADABLE):
        return None


def picture_of_row(values: AnyArray) -> Image.Image | None:
    """Return a picture of one row of an array: uint8 [H, W], [H, W, C] or [C, H, W] with one channel or three (RGB).

    None for anything else: what was normalised has no known range.
    """
    if values.dtype != np.uint8 or values.ndim not in (2, 3):
        return None
    plain = values[..., np.newaxis] if values.ndim == 2 else values
    if plain.shape[2] not in (1, 3):
        plain = plain.transpose(1, 2, 0)
    rows, columns, channels = plain.shape
    sides = sorted((rows, columns))
    if channels not in (1, 3) or sides[0] < _SMALLEST or sides[1] > _LONGEST * sides[0]:
        return None
    return _image(plain)


def thumbnail(image: Image.Image) -> bytes:
    """Return the image with at most 96 pixels a side, as PNG if that is small and as JPEG otherwise; at most 5000 bytes.

    Nothing of the source but its pixels is in it: no text, no profile, no place where a photograph was taken.
    """
    longest = max(image.size)
    size = tuple(max(1, round(side * SIDE / longest)) for side in image.size)
    small = image.resize((size[0], size[1]), Resampling.LANCZOS) if longest > SIDE else image
    bare = Image.fromarray(np.asarray(small))  # without what Pillow would write along: `info`
    lossless = _encoded(bare, "PNG", optimize=True)
    if len(lossless) <= _AS_PNG:
        return lossless
    lossy = (_encoded(bare, "JPEG", quality=quality) for quality in _QUALITIES)
    return next(found for found in lossy if len(found) <= LARGEST)


def check_thumbnail(data: bytes) -> None:
    """Refuse what is no thumbnail of ours: too large, of another format, or damaged.

    Raises
    ------
    InputError
        Saying so.
    """
    if len(data) > LARGEST:
        raise InputError(f"A thumbnail has {len(data):,} bytes; at most {LARGEST:,} are stored.")
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
            if max(image.size) > SIDE:
                raise InputError(f"A thumbnail has {image.width}×{image.height} pixels; the longest side is {SIDE}.")
            image.load()
    except UNREADABLE as error:
        raise InputError(f"A thumbnail cannot be read as PNG or JPEG ({error}).") from error


def _image(values: AnyArray) -> Image.Image:
    """Return uint8 [H, W, 1] or [H, W, 3] as an image."""
    return Image.fromarray(np.ascontiguousarray(values[..., 0] if values.shape[2] == 1 else values))


def _encoded(image: Image.Image, kind: str, **options: int) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()
