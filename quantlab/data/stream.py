"""Data sets from any iterable of {input name: array}."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from quantlab.calibration.provenance import DataIdentity
from quantlab.data.batch import Batch, Dataset
from quantlab.data.fingerprint import hash_batch, identify, short
from quantlab.errors import InputError, UsageError
from quantlab.numerics.arrays import AnyArray
from quantlab.numerics.markup import card

Batches = Iterable[Mapping[str, Any]] | Callable[[], Iterable[Mapping[str, Any]]]
"""What a stream reads: a list, a loader, a generator (once), or a function that returns one of them."""

_NOT_NUMBERS = "OSUMm"
"""Kinds of NumPy types that no engine takes: objects, text, times."""


class UnknownLengthError(InputError, TypeError):
    """A stream's length, asked for before its first full pass.

    It is a TypeError as well because `list(stream)` asks for the length and takes only that for «unknown».
    """


class Stream:
    """Batches in the order and size in which a user's iterable yields them.

    What the stream holds is known only after one full pass; until then `identity` and `len` raise InputError.
    Every pass is hashed, and a pass that yields other samples than the one before is refused when it ends,
    since no artefact could say on what it was made. A yielded `Batch` keeps its labels and names; its hashes are those
    of the arrays as they were yielded.
    """

    __slots__ = ("_identity", "_name", "_source", "_spent")

    def __init__(self, source: Batches, name: str) -> None:
        self._source = source
        self._name = name
        self._spent = False
        self._identity: DataIdentity | None = None

    @property
    def identity(self) -> DataIdentity:
        """What the samples are, once they have all been seen.

        Raises
        ------
        InputError
            Before the first full pass.
        """
        if self._identity is None:
            raise InputError(self._unseen())
        return self._identity

    @property
    def is_known(self) -> bool:
        """Whether all samples have been seen once."""
        return self._identity is not None

    def __len__(self) -> int:
        if self._identity is None:
            raise UnknownLengthError(self._unseen())
        return self._identity.count

    def _repr_html_(self) -> str:
        known = None if self._identity is None else self._identity.count
        return card("Stream", {"samples": "known after a full pass" if known is None else known}, name=self._name)

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[Batch]:
        hashes: list[bytes] = []
        first: Batch | None = None
        for index, item in enumerate(self._open()):
            batch = self._checked(item, index)
            first = batch if first is None else first
            if batch.keys() != first.keys():
                raise InputError(
                    f"Batch {index} of «{self._name}» has the inputs {_listed(batch)}, but the first one had "
                    f"{_listed(first)}: yield the same inputs every time."
                )
            new = list(hash_batch(batch))
            batch.hashes = tuple(map(short, new))
            hashes.extend(new)
            yield batch
        if not hashes:
            raise InputError(f"«{self._name}» yielded no sample.")
        self._keep(identify(self._name, hashes))

    def _open(self) -> Iterator[Any]:
        source: Any = self._source
        if not _is_iterable(source):
            source = source()
            if not _is_iterable(source):
                raise InputError(
                    f"«{self._name}» returned {_kind(source)}; it must return or yield batches, each "
                    "{input name: array}."
                )
            return iter(source)
        iterator = iter(source)
        if iterator is source:
            if self._spent:
                raise InputError(
                    f"The batches of «{self._name}» come from a generator, which can be read only once: give the "
                    "function that makes it, or a list."
                )
            self._spent = True
        return iterator

    def _checked(self, item: object, index: int) -> Batch:
        where = f"Batch {index} of «{self._name}»"
        if not isinstance(item, Mapping) or not item or not all(isinstance(key, str) for key in item):
            raise InputError(f"{where} is {_kind(item)}; it must be {{input name: array}}.")
        arrays = {key: _array(value, f"{where}, input «{key}»,") for key, value in item.items()}
        if isinstance(item, Batch):
            return Batch(arrays, labels=item.labels, names=item.names)
        return Batch(arrays)

    def _keep(self, identity: DataIdentity) -> None:
        if self._identity is not None and identity.digest != self._identity.digest:
            raise InputError(
                f"«{self._name}» yielded other samples in this pass than before ({identity.count}, before "
                f"{self._identity.count}): make it repeat itself, for instance with a fixed seed."
            )
        self._identity = identity

    def _unseen(self) -> str:
        return f"What «{self._name}» holds is known only after one full pass: iterate over it first."


def stream(source: Batches, *, name: str | None = None) -> Stream:
    """Make a data set of any iterable of {input name: array}.

    Parameters
    ----------
    source
        A list, a loader, or a function that returns an iterable: these can be read again. Or a generator:
        once.
    name
        The set's name; by default the function's, or «stream».

    Raises
    ------
    UsageError
        When `source` is neither iterable nor callable.
    """
    if not _is_iterable(source) and not callable(source):
        raise UsageError(f"A stream needs an iterable of {{input name: array}} or a function, not {_kind(source)}.")
    function = getattr(source, "__name__", "")
    return Stream(source, name or (function if function.isidentifier() else "stream"))


def as_dataset(batches: Any) -> Dataset:
    """Return a data set as it is, and anything else as a stream."""
    # isinstance(…, Dataset) would ask a stream for its identity, which it does not know before its first pass.
    return batches if hasattr(type(batches), "identity") else stream(batches)


def _is_iterable(source: object) -> bool:
    return hasattr(source, "__iter__") or hasattr(source, "__getitem__")


def _array(value: object, where: str) -> AnyArray:
    try:
        values = np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"{where} cannot be read as an array: {error}.") from error
    if values.dtype.kind in _NOT_NUMBERS:
        raise InputError(f"{where} holds {values.dtype} and no numbers: give a NumPy array.")
    return values


def _kind(value: object) -> str:
    if isinstance(value, Mapping):
        return "an empty dict" if not value else f"a dict with the keys {list(value)!r}"
    return "None" if value is None else f"a value of type {type(value).__name__}"


def _listed(batch: Batch) -> str:
    return ", ".join(f"«{name}»" for name in batch)
