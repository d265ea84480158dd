"""Data in a store that fsspec reads (S3 and its like): «s3://bucket/calib/», «file:///shared/calib.npy».

Each worker fetches what it counts, into a folder that is gone afterwards: the images of its span, or the one array file. What the
samples are is told by their bytes as everywhere, so the driver reads each image once, eight at a time, before work begins.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from quantlab.calibration.provenance import DataIdentity
from quantlab.data.arrays import Arrays, arrays
from quantlab.data.batch import Batch, Divisible
from quantlab.data.fingerprint import hash_file, identify
from quantlab.data.images import Images
from quantlab.data.listing import SUFFIXES, ImageFile, class_labels, list_images
from quantlab.data.preprocess import Preprocess
from quantlab.errors import InputError, UsageError
from quantlab.workers.store import Local, copy_of, reaching, system_of

_ARRAY_FILES = (".npz", ".npy", ".h5", ".hdf5")
_CHUNK = 8
"""Batches whose images lie on this machine's disk at a time where all are read in one pass."""


@dataclass(frozen=True, slots=True)
class RemoteOptions:
    """How remote images are read; as for `quantlab.data.images`."""

    preprocess: Preprocess
    batch: int = 32
    input: str = ""
    skip_bad: bool = False
    name: str = "images"


class RemoteImages:
    """Images of a store as a data set; only names are here until samples are read."""

    def __init__(self, root: str, files: tuple[ImageFile, ...], options: RemoteOptions) -> None:
        self._root, self._files, self._options = root, files, options
        self._hashes: tuple[bytes, ...] | None = None
        self._left_out: tuple[int, ...] = ()
        self.skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self._files)

    @property
    def files(self) -> tuple[ImageFile, ...]:
        """Names, labels, and paths in the store."""
        return self._files

    @property
    def batch(self) -> int:
        """Samples a batch."""
        return self._options.batch

    @property
    def identity(self) -> DataIdentity:
        """What the images are: hashes of the files' bytes; every file is fetched once for it."""
        known = filter(None, self.sample_hashes)
        return identify(self._options.name, known, preprocess=self._options.preprocess.to_json())

    @property
    def sample_hashes(self) -> tuple[bytes, ...]:
        """The hash of every file's bytes, in order."""
        if self._hashes is None:
            step = self.batch * _CHUNK
            hashes: list[bytes] = []
            for at in range(0, len(self), step):
                with self._fetched(self._files[at : at + step]) as local:
                    hashes += [hash_file(file.path) if file.path.is_file() else b"" for file in local.files]
            self._hashes = tuple(hashes)
        return self._hashes

    @property
    def left_out(self) -> tuple[int, ...]:
        """Places of the files left out of the latest pass."""
        return self._left_out

    def recall(self, skipped: Sequence[int], others: Sequence[int] = ()) -> None:
        """Take a pass that was made elsewhere for the latest one."""
        self.skipped = tuple(self._files[place].name for place in sorted(skipped))
        self._left_out = tuple(sorted({*skipped, *others}))

    def sample_name(self, place: int) -> str:
        """Return what an image is called in messages."""
        return self._files[place].name

    def part(self, start: int, stop: int) -> "RemoteImages":
        """Return the images from `start` to before `stop`."""
        return RemoteImages(self._root, self._files[start:stop], self._options)

    def __iter__(self) -> Iterator[Batch]:
        step = self.batch * _CHUNK
        missing: list[int] = []
        seen: list[bytes] = []
        for at in range(0, len(self), step):
            with self._fetched(self._files[at : at + step]) as local:
                found = self._images(local.files)
                yield from found
                missing += [at + place for place in found.left_out]
                seen += found.sample_hashes
        self._hashes = tuple(seen)
        self.recall(missing)

    def _images(self, files: tuple[ImageFile, ...]) -> Images:
        options = self._options
        whole = Images(
            files,
            options.preprocess,
            batch=options.batch,
            input=options.input,
            skip_bad=options.skip_bad,
            name=options.name,
        )
        return whole.part(0, len(files))

    def _fetched(self, files: Sequence[ImageFile]) -> Local:
        return Local(self._root, files, must_be=not self._options.skip_bad)


class RemoteArrays:
    """The rows of an array file of a store; the file is fetched once a process."""

    def __init__(self, url: str, options: dict[str, Any], span: tuple[int, int] | None = None) -> None:
        self._url, self._options, self._span = url, options, span
        self._open: Arrays | None = None

    def __getstate__(self) -> tuple[str, dict[str, Any], tuple[int, int]]:
        return self._url, self._options, self._span or (0, len(self))

    def __setstate__(self, state: tuple[str, dict[str, Any], tuple[int, int]]) -> None:
        self.__init__(*state)  # type: ignore[misc]

    @property
    def here(self) -> Arrays:
        """The rows, from this machine's copy."""
        if self._open is None:
            whole = arrays(copy_of(self._url), **self._options)
            self._open = whole if self._span is None else whole.part(*self._span)
        return self._open

    def __len__(self) -> int:
        return len(self.here) if self._span is None else self._span[1] - self._span[0]

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.here)

    @property
    def batch(self) -> int:
        """Samples a batch."""
        return self.here.batch

    @property
    def identity(self) -> DataIdentity:
        """What the rows are."""
        return self.here.identity

    @property
    def sample_hashes(self) -> tuple[bytes, ...]:
        """The hash of every row, in order."""
        return self.here.sample_hashes

    def sample_name(self, place: int) -> str:
        """Return what a row is called in messages."""
        return self.here.sample_name(place)

    def part(self, start: int, stop: int) -> "RemoteArrays":
        """Return the rows from `start` to before `stop`."""
        first = 0 if self._span is None else self._span[0]
        return RemoteArrays(self._url, self._options, (first + start, first + stop))


def remote_data(
    url: str,
    *,
    preprocess: Preprocess | None,
    batch: int,
    label_pattern: str | None = None,
    skip_bad: bool = False,
    **given: Any,
) -> Divisible:
    """Return the images below an address, or the rows of the array file that it names.

    Raises
    ------
    InputError
        When nothing is there.
    UsageError
        For images without preprocessing, or options of images for arrays.
    MachineError
        When fsspec, or what it needs for such an address, is not installed.
    """
    name = given.pop("name", None) or PurePosixPath(url.rstrip("/")).stem
    if url.lower().endswith(_ARRAY_FILES):
        if label_pattern is not None or skip_bad:
            raise UsageError("The options label-pattern and skip-bad are for images, not for an array file.")
        return RemoteArrays(url, {"preprocess": preprocess, "batch": batch, "name": name, **given})
    if preprocess is None:
        raise UsageError(f"'{url}' is taken for images: declare the preprocessing with --preprocess.")
    options = RemoteOptions(preprocess, batch, given.get("input") or "", skip_bad, name)
    return RemoteImages(url, _listed(url, label_pattern), options)


def _listed(url: str, label_pattern: str | None) -> tuple[ImageFile, ...]:
    system, root = system_of(url)
    with reaching(f"'{url}' cannot be listed"):
        below = sorted(system.find(root))
    paths = {str(PurePosixPath(path).relative_to(root.rstrip("/"))): path for path in below}
    hidden = {name for name in paths if any(part.startswith(".") for part in PurePosixPath(name).parts)}
    names = sorted(name for name in paths if name not in hidden and PurePosixPath(name).suffix.lower() in SUFFIXES)
    if not names:
        raise InputError(f"There is no image below '{url}'.")
    if label_pattern is not None:
        labelled = list_images(names, label_pattern)
        return tuple(replace(file, path=Path(paths[name])) for name, file in zip(names, labelled, strict=True))
    labels = class_labels(names)
    return tuple(ImageFile(Path(paths[name]), name, labels.get(name.split("/")[0])) for name in names)
