"""Data sets of arrays in a .npz, .npy or .h5 file, read a batch at a time."""

from collections.abc import Collection, Iterator, Mapping
from math import prod
from os import PathLike
from pathlib import Path

import numpy as np
from PIL import Image

from quantlab.calibration.provenance import DataIdentity
from quantlab.data.array_files import Column, read_columns
from quantlab.data.batch import UNNAMED, Batch, checked_batch_size
from quantlab.data.fingerprint import hash_batch, identify, short
from quantlab.data.pictures import picture_of_row
from quantlab.data.preprocess import Preprocess, checked_preprocess
from quantlab.errors import InputError, UsageError
from quantlab.numerics.arrays import AnyArray
from quantlab.numerics.markup import card, table

_HASHED_ROWS, _HASHED_BYTES = 256, 1 << 26


class Arrays:
    """Batches of the rows of a file's arrays; one batch is in memory at a time."""

    __slots__ = ("_batch", "_hashes", "_identity", "_inputs", "_labels", "_name", "_preprocess", "_start", "_stop")

    def __init__(
        self,
        inputs: Mapping[str, Column],
        labels: Column | None,
        preprocess: Preprocess | None,
        *,
        batch: int,
        name: str,
    ) -> None:
        self._inputs = dict(inputs)
        self._labels = labels
        self._preprocess = preprocess
        self._batch = batch
        self._name = name
        self._identity: DataIdentity | None = None
        self._hashes: tuple[bytes, ...] | None = None
        self._start, self._stop = 0, next(iter(self._inputs.values())).shape[0]

    @property
    def batch(self) -> int:
        """Samples a batch."""
        return self._batch

    @property
    def sample_hashes(self) -> tuple[bytes, ...]:
        """The hash of every row as it is in the file, in order."""
        return self._all_hashes()

    def sample_name(self, place: int) -> str:
        """Return what a row is called in messages."""
        return f"{self._name}[{self._start + place}]"

    def part(self, start: int, stop: int) -> "Arrays":
        """Return the rows from `start` to before `stop` as a set of the same name, whose samples are called as here."""
        found = Arrays(self._inputs, self._labels, self._preprocess, batch=self._batch, name=self._name)
        found._start, found._stop = self._start + start, self._start + stop
        return found

    @property
    def identity(self) -> DataIdentity:
        """What the samples are: hashes of the rows as they are in the file, read once."""
        if self._identity is None:
            preprocess = self._preprocess.to_json() if self._preprocess else None
            self._identity = identify(self._name, self._all_hashes(), preprocess=preprocess)
        return self._identity

    def __len__(self) -> int:
        return self._stop - self._start

    def _repr_html_(self) -> str:
        rows = ((name or "the only input", list(column.shape)) for name, column in self._inputs.items())
        facts = {"samples": len(self), "labelled": self._labels is not None, "batch": self._batch}
        return card("Arrays", facts, name=self._name, more=table(("input", "shape"), rows))

    def __iter__(self) -> Iterator[Batch]:
        labels = self._labels.blocks(self._batch, self._start, self._stop) if self._labels else None
        seen: list[bytes] = []
        for block in self._blocks(self._batch):
            start, rows = len(seen), len(next(iter(block.values())))
            names = tuple(map(self.sample_name, range(start, start + rows)))
            seen += self._hashes[start : start + rows] if self._hashes else hash_batch(Batch(block))
            yield Batch(
                self._preprocessed(block, names[0]),
                labels=next(labels).astype(np.int64) if labels else None,
                names=names,
                hashes=tuple(map(short, seen[start:])),
            )
        self._hashes = tuple(seen)

    def pictures(self, samples: Collection[int]) -> Iterator[tuple[int, Image.Image]]:
        """Yield pictures of these rows as they are in the file; none where they are not uint8 pixels of one input."""
        wanted = frozenset(samples)
        if len(self._inputs) != 1 or not wanted:
            return
        start, last = 0, max(wanted)
        for block in self._blocks(self._rows_at_once()):
            (rows,) = block.values()
            for index in sorted(wanted & set(range(start, start + len(rows)))):
                found = picture_of_row(rows[index - start])
                if found is not None:
                    yield index, found
            start += len(rows)
            if start > last:
                return

    def picture(self, sample: int | str) -> Image.Image | None:
        """Return a picture of a row by its place or its hash (`Batch.hashes`); None where there is none."""
        places = (
            [sample]
            if isinstance(sample, int)
            else [i for i, one in enumerate(self._all_hashes()) if short(one) == sample]
        )
        return next((found for _, found in self.pictures(places[:1])), None)

    def _all_hashes(self) -> tuple[bytes, ...]:
        if self._hashes is None:
            blocks = self._blocks(self._rows_at_once())
            self._hashes = tuple(digest for block in blocks for digest in hash_batch(Batch(block)))
        return self._hashes

    def _rows_at_once(self) -> int:
        """Return how many rows are read to be hashed or looked at: large ones one by one."""
        row = sum(prod(column.shape[1:]) * column.dtype.itemsize for column in self._inputs.values())
        return max(1, min(_HASHED_ROWS, _HASHED_BYTES // max(1, row)))

    def _blocks(self, rows: int) -> Iterator[dict[str, AnyArray]]:
        columns = [column.blocks(rows, self._start, self._stop) for column in self._inputs.values()]
        for blocks in zip(*columns, strict=True):
            yield dict(zip(self._inputs, blocks, strict=True))

    def _preprocessed(self, block: dict[str, AnyArray], first: str) -> dict[str, AnyArray]:
        if self._preprocess is None:
            return block
        ((name, rows),) = block.items()
        try:
            return {name: np.stack([self._preprocess.apply_array(row) for row in rows])}
        except InputError as error:
            raise InputError(f"The samples from {first} on cannot be used: {error}") from error


def arrays(
    source: str | PathLike[str],
    *,
    preprocess: Preprocess | None = None,
    batch: int = 32,
    label: str | None = "label",
    input: str | None = None,  # noqa: A002 - the word for it
    name: str | None = None,
    ignore: Collection[str] = ("index",),
) -> Arrays:
    """Make a data set of the arrays in a file.

    Parameters
    ----------
    source
        A .npz, .npy or .h5 (.hdf5) file. Every array's key is an input of the model, its first dimension the
        samples.
    preprocess
        What happens to each row of the only input, an image [H, W], [H, W, 1] or [H, W, 3]; None passes the
        rows on as they are.
    batch
        Samples a batch; the last one may be smaller.
    label
        Key of the labels, integers [N]; None if every array is an input.
    input
        The model's input for the file's only one, where it is called otherwise.
    name
        The set's name; by default the file's without ending.
    ignore
        Keys that are neither inputs nor labels.

    Raises
    ------
    InputError
        When the file is missing, damaged or of another kind, holds objects or links to other files, has no
        input or no sample, or the arrays' counts or the labels do not fit.
    UsageError
        When `input` or `preprocess` is given for several inputs, or the batch size is not positive.
    """
    if not isinstance(source, str | PathLike):
        raise UsageError(
            f"arrays reads a file; give its path, or hand arrays in memory to stream, not {type(source).__name__}."
        )
    checked_preprocess(preprocess)
    path = Path(source)
    columns = {key: column for key, column in read_columns(path).items() if key not in ignore}
    labels = columns.pop(label, None) if label is not None else None
    if labels is None and label not in {None, "label"}:
        raise InputError(f"{path} has no labels «{label}»; it holds {_listed(columns)}.")
    if not columns:
        raise InputError(f"{path} holds no input, only {_listed({'label': labels} if labels else {})}.")
    _check_counts(path, columns if labels is None else columns | {str(label): labels})
    _check_labels(path, labels)
    if len(columns) > 1 and (input is not None or preprocess is not None):
        option = "`input` names" if input is not None else "`preprocess` takes"
        raise UsageError(f"{option} one input, but {path} holds several: {_listed(columns)}.")
    if input is not None:
        columns = {input: next(iter(columns.values()))}
    return Arrays(columns, labels, preprocess, batch=checked_batch_size(batch), name=name or path.stem)


def _check_counts(path: Path, columns: Mapping[str, Column]) -> None:
    scalars = [key for key, column in columns.items() if not column.shape]
    if scalars:
        raise InputError(f"«{_shown(scalars[0])}» in {path} is a scalar; its first dimension must count the samples.")
    counts = {key: column.shape[0] for key, column in columns.items()}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"«{_shown(key)}» {count}" for key, count in counts.items())
        raise InputError(f"The arrays in {path} have different numbers of samples: {listed}.")
    if 0 in counts.values():
        raise InputError(f"{path} holds no sample.")


def _check_labels(path: Path, labels: Column | None) -> None:
    if labels is not None and (labels.dtype.kind not in "iu" or len(labels.shape) != 1):
        raise InputError(
            f"The labels in {path} are {labels.dtype}{list(labels.shape)}; they must be one integer a sample."
        )


def _listed(columns: Collection[str]) -> str:
    return ", ".join(f"«{_shown(key)}»" for key in columns) or "nothing"


def _shown(key: str) -> str:
    return key if key != UNNAMED else "the array"
