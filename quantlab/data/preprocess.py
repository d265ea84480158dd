"""Preprocessing as a declared value: what happens to an image before the network sees it."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeGuard, get_args

import numpy as np
from PIL import Image
from typing_extensions import Self

from quantlab.data import pixels
from quantlab.data.pixels import Color, Interpolation, Layout
from quantlab.errors import InputError, UsageError
from quantlab.numerics.arrays import F32, AnyArray

_DTYPES = ("float16", "float32", "float64", "int8", "uint8", "int16", "uint16", "int32", "int64")

PerChannel = float | tuple[float, ...]
"""One number for all channels, or one a channel in the order in which the network gets them."""


@dataclass(frozen=True, slots=True)
class Preprocess:
    """From an upright image to one sample: resize, crop, colour order, value = (x·scale − mean) / std, layout.

    x is 0 … 255. The three steps of the formula are float32 operations in this order, so the same image gives
    the same bits everywhere. Sizes and offsets are torchvision's, and so is the antialiased resize of Pillow.

    Attributes
    ----------
    resize
        (height, width), or the length of the short side (the long side is rounded down); None leaves the
        size.
    crop
        (height, width) cut from the centre, after resizing; an odd remainder is halved to even.
    layout
        «NCHW» or «NHWC»: where the batch will have its channels.
    color
        «RGB», «BGR», or «GRAY» (one channel, 0.299 R + 0.587 G + 0.114 B).
    scale, mean, std
        One number, or one a channel in the order of `color`.
    interpolation
        «nearest», «bilinear», «bicubic» or «lanczos».
    dtype
        The sample's type. Integers are rounded half to even and saturated.

    Raises
    ------
    UsageError
        When a value cannot mean anything.
    """

    resize: int | tuple[int, int] | None = None
    crop: tuple[int, int] | None = None
    layout: Layout = "NCHW"
    color: Color = "RGB"
    scale: PerChannel = 1.0
    mean: PerChannel = 0.0
    std: PerChannel = 1.0
    interpolation: Interpolation = "bilinear"
    dtype: str = "float32"

    def __post_init__(self) -> None:
        object.__setattr__(self, "resize", _resize(self.resize))
        object.__setattr__(self, "crop", None if self.crop is None else _pair(self.crop, "crop"))
        for name in ("scale", "mean", "std"):
            object.__setattr__(self, name, _per_channel(getattr(self, name), name, self.channels, self.color))
        for name, valid in (
            ("layout", get_args(Layout)),
            ("color", get_args(Color)),
            ("interpolation", get_args(Interpolation)),
            ("dtype", _DTYPES),
        ):
            if getattr(self, name) not in valid:
                raise UsageError(f"`{name}` must be one of {', '.join(valid)}, not {getattr(self, name)!r}.")

    @property
    def channels(self) -> int:
        """Channels of a sample: 1 for «GRAY», else 3."""
        return 1 if self.color == "GRAY" else 3

    def apply_image(self, image: Image.Image) -> AnyArray:
        """Return one sample, [C, H, W] or [H, W, C], of an image in any mode, turned upright by its EXIF orientation.

        Raises
        ------
        InputError
            When the image has values without a known range, or is smaller than the crop.
        """
        return self._finish(pixels.of_image(image, self.color))

    def apply_array(self, values: AnyArray) -> AnyArray:
        """Return one sample, [C, H, W] or [H, W, C], of an array [H, W], [H, W, 1] or [H, W, 3] (RGB).

        uint8 goes exactly the way of an image; any other type is taken as float32, on the same scale of 0 …
        255 unless `scale` says otherwise.

        Raises
        ------
        InputError
            When the array has another shape or no numbers, or is smaller than the crop.
        """
        return self._finish(pixels.of_array(values, self.color))

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Read what `to_json` returned, as JSON values or as text; a field left out has its default.

        Raises
        ------
        InputError
            When it is not a JSON object, or a field is unknown or cannot mean anything.
        """
        try:
            parsed = json.loads(value) if isinstance(value, str) else value
        except (ValueError, RecursionError) as error:
            raise InputError(f"A preprocessing is not JSON: {error}.") from error
        if not isinstance(parsed, Mapping):
            raise InputError(f"A preprocessing must be a JSON object, not {type(parsed).__name__}.")
        known = [item.name for item in fields(cls)]
        unknown = [str(name) for name in parsed if name not in known]
        if unknown:
            raise InputError(f"A preprocessing has no {', '.join(unknown)}; its fields are {', '.join(known)}.")
        try:
            return cls(**parsed)
        except UsageError as error:
            raise InputError(f"A preprocessing cannot be read: {error}") from error

    def _finish(self, image: AnyArray) -> AnyArray:
        """Resize, crop, order and compute; `image` is [H, W, C], uint8 or float32, in RGB or gray."""
        if self.resize is not None:
            image = pixels.resized(image, self.resize, self.interpolation)
        if self.crop is not None:
            image = pixels.cropped(image, self.crop)
        if self.color == "BGR":
            image = image[..., ::-1]
        sample = self._cast(self._formula(image))
        return np.ascontiguousarray(sample.transpose(2, 0, 1) if self.layout == "NCHW" else sample)

    def _formula(self, image: AnyArray) -> F32:
        values = image.astype(np.float32)
        values *= np.asarray(self.scale, np.float32)
        values -= np.asarray(self.mean, np.float32)
        values /= np.asarray(self.std, np.float32)
        return values

    def _cast(self, values: F32) -> AnyArray:
        dtype = np.dtype(self.dtype)
        if dtype.kind == "f":
            with np.errstate(over="ignore"):
                return values.astype(dtype, copy=False)
        limits = np.iinfo(dtype)
        return np.clip(np.rint(values.astype(np.float64)), limits.min, limits.max).astype(dtype)


def _is_size(value: object) -> TypeGuard[int]:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and bool(value > 0)


def _resize(value: object) -> int | tuple[int, int] | None:
    if value is None:
        return None
    return int(value) if _is_size(value) else _pair(value, "resize")


def _pair(value: object, name: str) -> tuple[int, int]:
    items = list(value) if isinstance(value, (list, tuple, np.ndarray)) else []
    if len(items) != 2 or not all(_is_size(item) for item in items):
        also = "a positive length of the short side or " if name == "resize" else ""
        raise UsageError(f"`{name}` must be {also}a pair (height, width) of positive numbers, not {value!r}.")
    return int(items[0]), int(items[1])


def _per_channel(value: object, name: str, channels: int, color: str) -> PerChannel:
    """Return one float, or a tuple of one a channel, each usable in float32."""
    items: Iterable[object] = value if isinstance(value, (list, tuple, np.ndarray)) else [value]
    numbers = [_number(item, name) for item in items]
    if not isinstance(value, (list, tuple, np.ndarray)):
        return numbers[0]
    if len(numbers) != channels:
        wanted = "1 channel: give one" if channels == 1 else f"{channels} channels: give 1 or {channels}"
        raise UsageError(f"`{name}` has {len(numbers)} values, but {color} has {wanted}.")
    return tuple(numbers)


def _number(item: object, name: str) -> float:
    if isinstance(item, bool) or not isinstance(item, (int, float, np.integer, np.floating)):
        raise UsageError(f"`{name}` must be a number or one a channel, not {item!r}.")
    try:
        with np.errstate(over="ignore"):
            rounded = np.float32(item)
    except OverflowError:  # an integer beyond float64
        rounded = np.float32(np.inf)
    if not np.isfinite(rounded) or (rounded == 0 and name != "mean"):
        raise UsageError(f"`{name}` must be finite{'' if name == 'mean' else ' and not 0'} as a float32, not {item!r}.")
    return float(item)


def checked_preprocess(value: object) -> None:
    """Refuse what is no preprocessing where it is given, not where the first sample meets it.

    Raises
    ------
    UsageError
        For anything but a Preprocess or None.
    """
    if value is not None and not isinstance(value, Preprocess):
        raise UsageError(
            f"A preprocessing is a Preprocess(…), not {value!r:.60}; Preprocess.from_json reads a mapping."
        )
