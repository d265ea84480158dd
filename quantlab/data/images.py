"""Data sets of image files, decoded one batch ahead."""

import os
from collections import deque
from collections.abc import Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from os import PathLike
from pathlib import Path

import numpy as np
from PIL import Image

from quantlab.calibration.provenance import DataIdentity
from quantlab.data.batch import UNNAMED, Batch, checked_batch_size
from quantlab.data.decoding import available_formats, decode
from quantlab.data.fingerprint import hash_file, identify, short
from quantlab.data.listing import ImageFile, Source, list_images
from quantlab.data.pictures import picture_of_file
from quantlab.data.preprocess import Preprocess, checked_preprocess
from quantlab.errors import InputError
from quantlab.numerics.arrays import AnyArray
from quantlab.numerics.markup import card

_AT_ONCE, _AHEAD = 8, 1024
"""Files that are hashed at a time, and that wait for it."""


class Images:
    """Batches of preprocessed images, in the order of the listing.

    A few threads decode at most one batch ahead. A batch ends early where the shape of the samples changes,
    so images that are not resized to one size still form batches.

    Attributes
    ----------
    skipped
        Names of the files left out of the latest pass; always empty unless bad files may be skipped.
    """

    __slots__ = (
        "_batch", "_files", "_hashes", "_identity", "_input", "_is_part", "_left_out", "_name", "_preprocess",
        "_skip_bad", "skipped",
    )  # fmt: skip

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
        self._hashes: dict[int, bytes] = {}
        self._left_out: frozenset[int] = frozenset()
        self._is_part = False
        self.skipped = ()

    @property
    def batch(self) -> int:
        """Samples a batch."""
        return self._batch

    @property
    def sample_hashes(self) -> tuple[bytes, ...]:
        """The hash of every file's bytes, in order; empty for a skippable file that cannot be read."""
        self._hash_ahead()
        return tuple(self._readable_hash(place) or b"" for place in range(len(self)))

    @property
    def left_out(self) -> tuple[int, ...]:
        """Places of the files left out of the latest pass."""
        return tuple(sorted(self._left_out))

    def recall(self, skipped: Collection[int], others: Collection[int] = ()) -> None:
        """Take a pass that was made elsewhere for the latest one: unreadable files, and others left out, by their places."""
        self.skipped = tuple(self._files[place].name for place in sorted(skipped))
        self._left_out = frozenset(skipped) | frozenset(others)

    def sample_name(self, place: int) -> str:
        """Return what an image is called in messages."""
        return self._files[place].name

    def part(self, start: int, stop: int) -> "Images":
        """Return the images from `start` to before `stop` as a set of the same name; it may turn out to hold no sample."""
        found = Images(
            self._files[start:stop],
            self._preprocess,
            batch=self._batch,
            input=self._input,
            skip_bad=self._skip_bad,
            name=self._name,
        )
        found._is_part = True
        return found

    @property
    def identity(self) -> DataIdentity:
        """What the images are: hashes of the files' bytes, read once; skippable files that cannot be read excluded.

        Raises
        ------
        InputError
            When a file cannot be read.
        """
        if self._identity is None:
            self._hash_ahead()
            hashes = [digest for place in range(len(self)) if (digest := self._readable_hash(place)) is not None]
            self._identity = identify(self._name, hashes, preprocess=self._preprocess.to_json())
        return self._identity

    def _repr_html_(self) -> str:
        labelled = sum(file.label is not None for file in self._files)
        steps = ", ".join(f"{key} {value}" for key, value in self._preprocess.to_json().items())
        facts = {"images": len(self), "labelled": labelled, "batch": self._batch, "preprocess": steps}
        return card("Images", facts, name=self._name)

    def __len__(self) -> int:
        return len(self._files)

    def __iter__(self) -> Iterator[Batch]:
        skipped: list[int] = []
        pending: list[tuple[int, AnyArray]] = []
        empty = True
        try:
            for place, sample in self._decoded(skipped):
                empty = False
                if pending and (len(pending) == self._batch or sample.shape != pending[0][1].shape):
                    yield self._emptied(pending)
                pending.append((place, sample))
            if pending:
                yield self._emptied(pending)
        finally:
            self.skipped = tuple(self._files[place].name for place in skipped)
            self._left_out = frozenset(skipped)
        if empty and not self._is_part:
            raise InputError(
                f"None of the {len(self)} images of «{self._name}» can be read; the first is {self.skipped[0]}."
            )

    def pictures(self, samples: Collection[int]) -> Iterator[tuple[int, Image.Image]]:
        """Yield pictures of these samples of the latest pass, upright, before preprocessing; unreadable ones are left out."""
        formats = available_formats()
        kept = [place for place in range(len(self)) if place not in self._left_out]
        for sample in sorted(set(samples) & set(range(len(kept)))):
            found = picture_of_file(self._files[kept[sample]].path, formats)
            if found is not None:
                yield sample, found

    def picture(self, sample: int | str) -> Image.Image | None:
        """Return a picture of a sample by its place in the latest pass or its hash (`Batch.hashes`); None without one."""
        if isinstance(sample, int):
            return next((found for _, found in self.pictures([sample])), None)
        known = ((place, self._readable_hash(place)) for place in range(len(self)))
        place = next((place for place, digest in known if digest is not None and short(digest) == sample), None)
        return None if place is None else picture_of_file(self._files[place].path, available_formats())

    def _decoded(self, skipped: list[int]) -> Iterator[tuple[int, AnyArray]]:
        """Yield every readable image in order, while threads decode those of the next batch."""
        formats = available_formats()
        places = iter(range(len(self)))
        ahead: deque[tuple[int, Future[AnyArray]]] = deque()
        pool = ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1), thread_name_prefix="quantlab-decode")
        try:
            while True:
                for place in islice(places, self._batch - len(ahead)):
                    ahead.append((place, pool.submit(self._sample, place, formats)))
                if not ahead:
                    return
                place, future = ahead.popleft()
                try:
                    sample = future.result()
                except InputError:
                    if not self._skip_bad:
                        raise
                    skipped.append(place)
                else:
                    yield place, sample
        finally:
            pool.shutdown(cancel_futures=True)

    def _sample(self, place: int, formats: tuple[str, ...]) -> AnyArray:
        """Decode an image, in a thread, and keep its hash."""
        sample = decode(self._files[place].path, self._preprocess, formats)
        self._hash(place)
        return sample

    def _emptied(self, pending: list[tuple[int, AnyArray]]) -> Batch:
        """Stack the samples, and let go of them before the batch is handed out."""
        files = [self._files[place] for place, _ in pending]
        labels = [file.label for file in files if file.label is not None]
        hashes = tuple(short(self._hash(place)) for place, _ in pending)
        values = np.stack([sample for _, sample in pending])
        pending.clear()
        return Batch(
            {self._input: values},
            labels=np.array(labels, np.int64) if labels else None,
            names=tuple(file.name for file in files),
            hashes=hashes,
        )

    def _hash(self, place: int) -> bytes:
        """Return the hash of a file's bytes, which are read once for it."""
        if place not in self._hashes:
            self._hashes[place] = hash_file(self._files[place].path)
        return self._hashes[place]

    def _hash_ahead(self) -> None:
        """Hash what is not hashed yet, several files at a time: a shared folder answers slowly, and hashing holds no lock."""
        unknown = [place for place in range(len(self)) if place not in self._hashes]
        if not unknown:
            return
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="quantlab-hash") as pool:
            for at in range(0, len(unknown), _AHEAD):
                deque(pool.map(self._readable_hash, unknown[at : at + _AHEAD]), maxlen=0)

    def _readable_hash(self, place: int) -> bytes | None:
        try:
            return self._hash(place)
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
