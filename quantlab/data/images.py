"""Data sets of image files, decoded one batch ahead."""

import os
import struct
import zlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from os import PathLike
from pathlib import Path

import numpy as np
from PIL import Image

from quantlab.calibration.provenance import DataIdentity
from quantlab.data.batch import UNNAMED, Batch, checked_batch_size
from quantlab.data.fingerprint import hash_file, identify
from quantlab.data.listing import ImageFile, Source, list_images
from quantlab.data.preprocess import Preprocess, checked_preprocess
from quantlab.errors import InputError
from quantlab.numerics.arrays import AnyArray

MAX_PIXELS = 89_478_485
"""Larger images are refused, as Pillow advises: a few kilobytes can unpack to gigabytes."""

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

# What Pillow's decoders raise on damaged files; `Warning` where warnings are made errors.
_UNREADABLE = (
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


class Images:
    """Batches of preprocessed images, in the order of the listing.

    A few threads decode at most one batch ahead. A batch ends early where the shape of the samples changes,
    so images that are not resized to one size still form batches.

    Attributes
    ----------
    skipped
        Names of the files left out of the latest pass; always empty unless bad files may be skipped.
    """

    __slots__ = ("_batch", "_files", "_identity", "_input", "_name", "_preprocess", "_skip_bad", "skipped")

    skipped: tuple[str, ...]

    def __init__(
        self,
        files: tuple[ImageFile, ...],
        preprocess: Preprocess,
        *,
        batch: int,
        input: str,  # noqa: A002 - the word for it
        skip_bad: bool,
        name: str,
    ) -> None:
        self._files = files
        self._preprocess = preprocess
        self._batch = batch
        self._input = input
        self._skip_bad = skip_bad
        self._name = name
        self._identity: DataIdentity | None = None
        self.skipped = ()

    @property
    def identity(self) -> DataIdentity:
        """What the images are: hashes of the files' bytes, read once; skippable files that cannot be read excluded.

        Raises
        ------
        InputError
            When a file cannot be read.
        """
        if self._identity is None:
            hashes = [digest for file in self._files if (digest := self._hash(file)) is not None]
            self._identity = identify(self._name, hashes, preprocess=self._preprocess.to_json())
        return self._identity

    def __len__(self) -> int:
        return len(self._files)

    def __iter__(self) -> Iterator[Batch]:
        skipped: list[str] = []
        pending: list[tuple[ImageFile, AnyArray]] = []
        empty = True
        try:
            for file, sample in self._decoded(skipped):
                empty = False
                if pending and (len(pending) == self._batch or sample.shape != pending[0][1].shape):
                    yield self._emptied(pending)
                pending.append((file, sample))
            if pending:
                yield self._emptied(pending)
        finally:
            self.skipped = tuple(skipped)
        if empty:
            raise InputError(
                f"None of the {len(self)} images of «{self._name}» can be read; the first is {skipped[0]}."
            )

    def _decoded(self, skipped: list[str]) -> Iterator[tuple[ImageFile, AnyArray]]:
        """Yield every readable image in order, while threads decode those of the next batch."""
        formats = _available_formats()
        files = iter(self._files)
        ahead: deque[tuple[ImageFile, Future[AnyArray]]] = deque()
        pool = ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1), thread_name_prefix="quantlab-decode")
        try:
            while True:
                for file in islice(files, self._batch - len(ahead)):
                    ahead.append((file, pool.submit(_decode, file.path, self._preprocess, formats)))
                if not ahead:
                    return
                file, future = ahead.popleft()
                try:
                    sample = future.result()
                except InputError:
                    if not self._skip_bad:
                        raise
                    skipped.append(file.name)
                else:
                    yield file, sample
        finally:
            pool.shutdown(cancel_futures=True)

    def _emptied(self, pending: list[tuple[ImageFile, AnyArray]]) -> Batch:
        """Stack the samples, and let go of them before the batch is handed out."""
        labels = [file.label for file, _ in pending if file.label is not None]
        names = tuple(file.name for file, _ in pending)
        values = np.stack([sample for _, sample in pending])
        pending.clear()
        return Batch({self._input: values}, labels=np.array(labels, np.int64) if labels else None, names=names)

    def _hash(self, file: ImageFile) -> bytes | None:
        try:
            return hash_file(file.path)
        except InputError:
            if not self._skip_bad:
                raise
            return None


def images(
    source: Source,
    *,
    preprocess: Preprocess,
    batch: int = 32,
    input: str | None = None,  # noqa: A002 - the word for it
    label_pattern: str | None = None,
    skip_bad: bool = False,
    name: str | None = None,
) -> Images:
    r"""Make a data set of image files.

    Parameters
    ----------
    source
        A folder: all images below it, sorted by their relative paths with «/»; hidden files are left out. If
        all lie in subfolders, the top ones are classes: labels are their numbers if all names are numbers,
        else their places in the sorted names (a single folder that is no number is no class). Or a text file
        with a path a line, a CSV file with the header «path,label», or paths: kept in their order; relative
        to the file's folder.
    preprocess
        What happens to each image.
    batch
        Samples a batch; the last one, and the last one before a change of shape, may be smaller.
    input
        The model's input; not needed if it has only one.
    label_pattern
        Regular expression searched for in each file name without ending; its one group is the label:
        ``^(\d+)_``.
    skip_bad
        Leave out files that are missing or unreadable, and name them in `skipped`.
    name
        The set's name; by default that of the folder, or of the file without ending.

    Raises
    ------
    InputError
        When there is no image, a file is missing, or a label is missing or no integer. While iterating: when
        an image cannot be read, is larger than 89 megapixels, or does not fit the preprocessing.
    UsageError
        When an option cannot mean anything.
    """
    checked_preprocess(preprocess)
    files = list_images(source, label_pattern)
    missing = [] if skip_bad else [file for file in files if not file.path.is_file()]
    if missing:
        raise InputError(f"There is no file {missing[0].path} ({len(missing)} of {len(files)} images are missing).")
    return Images(
        files,
        preprocess,
        batch=checked_batch_size(batch),
        input=UNNAMED if input is None else input,
        skip_bad=skip_bad,
        name=name or _default_name(source),
    )


def _default_name(source: Source) -> str:
    if not isinstance(source, (str, PathLike)):
        return "images"
    path = Path(source).resolve()
    return path.name if path.is_dir() else path.stem


def _available_formats() -> tuple[str, ...]:
    """Return the formats that this build of Pillow reads; loads its decoders before any thread needs them."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _decode(path: Path, preprocess: Preprocess, formats: tuple[str, ...]) -> AnyArray:
    try:
        with Image.open(path, formats=formats) as image:
            if image.width * image.height > MAX_PIXELS:
                raise InputError(
                    f"it has {image.width}×{image.height} pixels, more than {MAX_PIXELS}: make it smaller."
                )
            return preprocess.apply_image(image)
    except InputError as error:
        raise InputError(f"{path} cannot be used: {error}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(f"{path} cannot be used: it has more than {MAX_PIXELS} pixels: make it smaller.") from error
    except _UNREADABLE as error:
        raise InputError(f"{path} cannot be read as an image: {error or type(error).__name__}.") from error
