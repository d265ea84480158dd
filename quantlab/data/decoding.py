"""Opens image files, which may be strangers'."""

import struct
import zlib
from contextlib import nullcontext
from pathlib import Path
from threading import Lock

from PIL import Image

from quantlab.data.pixels import MAX_PIXELS
from quantlab.data.preprocess import Preprocess
from quantlab.errors import InputError
from quantlab.numerics.arrays import AnyArray

_LARGE = 1 << 24
"""Pixels above which an image is decoded alone: it takes some fifteen bytes a pixel, in each thread."""

_ALONE = Lock()

# Pillow's decoders of photographs and drawings only: its EPS reader, for one, runs another program.
_FORMATS = (
    "JPEG",
    "PNG",
    "WEBP",
    "BMP",
    "DIB",
    "PPM",
    "TIFF",
    "GIF",
    "MPO",
    "JPEG2000",
    "AVIF",
    "TGA",
    "PCX",
)

UNREADABLE = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    Warning,
    Image.DecompressionBombError,
    struct.error,
    zlib.error,
)
"""What Pillow's decoders raise on damaged files; `Warning` where warnings are made errors."""


def available_formats() -> tuple[str, ...]:
    """Return the formats that this build of Pillow reads; loads its decoders before any thread needs them."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def decode(path: Path, preprocess: Preprocess, formats: tuple[str, ...]) -> AnyArray:
    """Return one preprocessed sample of an image file.

    Raises
    ------
    InputError
        When the file is missing, damaged, of a format not among `formats` or larger than 89 megapixels, or does not fit
        the preprocessing.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe or a device may never end
            raise InputError("it is no regular file.")
        with Image.open(path, formats=formats) as image:
            if image.width * image.height > MAX_PIXELS:
                raise InputError(
                    f"it has {image.width}×{image.height} pixels, more than {MAX_PIXELS}: make it smaller."
                )
            with _ALONE if image.width * image.height > _LARGE else nullcontext():
                return preprocess.apply_image(image)
    except InputError as error:
        raise InputError(f"{path} cannot be used: {error}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(f"{path} cannot be used: it has more than {MAX_PIXELS} pixels: make it smaller.") from error
    except UNREADABLE as error:
        raise InputError(f"{path} cannot be read as an image: {error or type(error).__name__}.") from error
