"""Training samples: batches of any loader as tensors, in an order that a seed repeats."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from typing_extensions import Self

from quantlab.data.batch import Batch
from quantlab.errors import InputError, UsageError
from quantlab.qat.distributed import rank, world_size

_LABELS = ("labels", "label")


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Some samples.

    Attributes
    ----------
    inputs
        The network's arguments, the samples along axis 0.
    labels
        None where there are none.
    names
        One an input: they are keyword arguments; empty: positional ones.
    """

    inputs: tuple[Tensor, ...]
    labels: Tensor | None = None
    names: tuple[str, ...] = ()

    @classmethod
    def of(cls, given: Any, order: Sequence[str] = ()) -> Self:
        """Read what a loader yields.

        Parameters
        ----------
        given
            (inputs, labels), inputs being an array, a sequence or a mapping of them; a batch of quantlab's; a mapping
            with a key `labels` or `label`; an array alone, without labels.
        order
            The network's inputs: arrays under exactly these names are positional arguments.

        Raises
        ------
        InputError
            For anything else.
        """
        if isinstance(given, Batch):
            return cls(_positional(given, order), None if given.labels is None else _tensor(given.labels))
        if isinstance(given, Mapping):
            rest = dict(given)
            found = [rest.pop(key) for key in _LABELS if key in rest]
            return cls._named(rest, order, _tensor(found[0]) if found and found[0] is not None else None)
        if isinstance(given, tuple | list) and len(given) == 2:
            inputs, labels = given[0], None if given[1] is None else _tensor(given[1])
            if isinstance(inputs, Mapping):
                return cls._named(inputs, order, labels)
            several = isinstance(inputs, tuple | list)
            return cls(tuple(_tensor(each) for each in inputs) if several else (_tensor(inputs),), labels)
        if isinstance(given, Tensor | np.ndarray):
            return cls((_tensor(given),))
        raise InputError(
            f"A training batch is (inputs, labels), a mapping or an array, not {type(given).__name__}: "
            "let the loader yield one of these."
        )

    @classmethod
    def _named(cls, inputs: Mapping[str, Any], order: Sequence[str], labels: Tensor | None) -> Self:
        if set(inputs) == set(order):
            return cls(_positional(inputs, order), labels)
        return cls(tuple(_tensor(each) for each in inputs.values()), labels, tuple(inputs))

    def __len__(self) -> int:
        return len(self.inputs[0]) if self.inputs and self.inputs[0].ndim else 0

    def through(self, module: nn.Module) -> Any:
        """Return what the module makes of the inputs."""
        return module(**dict(zip(self.names, self.inputs, strict=True))) if self.names else module(*self.inputs)

    def rows(self, index: Tensor) -> Self:
        """Return the samples of these rows."""
        labels = None if self.labels is None else self.labels[index]
        return type(self)(tuple(each[index] for each in self.inputs), labels, self.names)

    def to(self, device: torch.device) -> Self:
        """Return them on a device."""
        labels = None if self.labels is None else self.labels.to(device)
        return type(self)(tuple(each.to(device) for each in self.inputs), labels, self.names)

    @property
    def finite(self) -> bool:
        """Whether no input holds NaN or an infinity."""
        return all(bool(each.isfinite().all()) for each in self.inputs)


class Feed(Protocol):
    """Training samples, epoch after epoch."""

    @property
    def batches(self) -> int | None:
        """Batches an epoch; None where that is not known."""
        ...

    @property
    def digest(self) -> str:
        """Tells samples apart, as far as they are known beforehand."""
        ...

    def epoch(self, number: int) -> Iterator[Samples]:
        """Yield the batches of an epoch: the same ones for the same number."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """All samples in memory, drawn in another order each epoch; what fills no batch waits for another epoch.

    Attributes
    ----------
    samples
        All of them.
    batch
        Samples a batch and rank.
    seed
        Of the order.
    """

    samples: Samples
    batch: int
    seed: int

    @property
    def batches(self) -> int:
        """At least 1."""
        return max(len(self.samples) // (self.batch * world_size()), 1)

    @property
    def digest(self) -> str:
        """Of all values."""
        known = [*self.samples.inputs, *([] if self.samples.labels is None else [self.samples.labels])]
        return digest_of((str(i), tensor) for i, tensor in enumerate(known))

    def epoch(self, number: int) -> Iterator[Samples]:
        """Yield this rank's batches of an epoch."""
        draw = torch.Generator().manual_seed(mixed(self.seed, "order", number))
        order = torch.randperm(len(self.samples), generator=draw)
        together = self.batch * world_size()
        for start in range(0, self.batches * together, together):
            yield self.samples.rows(order[start : start + together][rank() :: world_size()])


@dataclass(frozen=True, slots=True, eq=False)
class Streamed:
    """Batches as a loader yields them; its own shuffling repeats itself if it draws from torch's generator.

    Attributes
    ----------
    source
        Can be read again and again.
    order
        The network's inputs.
    seed
        Of torch's generator at the start of each epoch.
    batches
        As far as known.
    """

    source: Callable[[], Iterable[Any]]
    order: tuple[str, ...]
    seed: int
    batches: int | None

    @property
    def digest(self) -> str:
        """Nothing is known before it is read."""
        return "streamed"

    def epoch(self, number: int) -> Iterator[Samples]:
        """Yield the batches in the loader's order."""
        torch.manual_seed(mixed(self.seed, "epoch", number))
        for given in self.source():
            yield Samples.of(given, self.order)


def held(data: Any, order: Sequence[str], *, batch: int, seed: int, memory: int) -> Held:
    """Read all samples into memory.

    Raises
    ------
    InputError
        When there is none, or the batches do not fit together.
    UsageError
        When they take more than `memory` bytes.
    """
    parts: list[Samples] = []
    size = 0
    for given in iterable(data)():
        parts.append(Samples.of(given, order))
        size += sum(each.nbytes for each in parts[-1].inputs)
        if size > memory:
            raise UsageError(
                f"The training samples take more than {memory >> 20} MiB: give `shuffle=False` and a loader that "
                "shuffles by itself, or a larger `memory`."
            )
    if not sum(len(part) for part in parts):
        raise InputError("There is no sample to train on.")
    first = parts[0]
    if any((part.labels is None) != (first.labels is None) or part.names != first.names for part in parts):
        raise InputError("Some training batches have labels or inputs that others lack: let all have the same.")
    try:
        inputs = tuple(torch.cat(each) for each in zip(*(part.inputs for part in parts), strict=True))
        labels = None if first.labels is None else torch.cat([p.labels for p in parts if p.labels is not None])
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"The training batches differ in shape ({error}): give `shuffle=False` to take each as it comes."
        ) from error
    if any(len(each) != len(inputs[0]) for each in (*inputs, *([] if labels is None else [labels]))):
        raise InputError(f"There are {len(inputs[0])} training samples, and not as many labels: give each its label.")
    return Held(Samples(inputs, labels, first.names), batch, seed)


def streamed(data: Any, order: Sequence[str], *, seed: int, count: bool) -> Streamed:
    """Take batches as they come; `count` reads all once where their number is not known.

    Raises
    ------
    InputError
        For an iterator, which ends after one epoch, or where there is no batch.
    """
    source = iterable(data)
    if not callable(data) and isinstance(data, Iterator):
        raise InputError("The training data can be read only once: give a list, a loader, or a function that opens it.")
    known = isinstance(data, list | tuple | torch.utils.data.DataLoader)
    batches = len(data) if known else sum(1 for _ in source()) if count else None
    if batches == 0:
        raise InputError("There is no sample to train on.")
    return Streamed(source, tuple(order), seed, batches)


def iterable(data: Any) -> Callable[[], Iterable[Any]]:
    """Return what opens the data.

    Raises
    ------
    UsageError
        When they cannot be iterated over.
    """
    if hasattr(data, "__iter__") or hasattr(data, "__getitem__"):
        return lambda: data
    if callable(data):
        return data
    raise UsageError(
        f"Training needs an iterable of (inputs, labels) or a function that returns one, not {data!r:.60}."
    )


def mixed(seed: int, what: str, number: int) -> int:
    """Return a seed for one of many draws, unrelated to its neighbours'."""
    digest = hashlib.blake2b(f"{seed} {what} {number}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def digest_of(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """Return a hash of names, shapes, types and values."""
    found = hashlib.blake2b(digest_size=16)
    for name, tensor in tensors:
        found.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def _positional(inputs: Mapping[str, Any], order: Sequence[str]) -> tuple[Tensor, ...]:
    names = order if set(inputs) == set(order) else tuple(inputs)
    return tuple(_tensor(inputs[name]) for name in names)


def _tensor(value: Any) -> Tensor:
    try:
        # A copy, as torch takes neither read-only arrays nor reversed ones.
        return value if isinstance(value, Tensor) else torch.from_numpy(np.array(value, order="C"))
    except (TypeError, ValueError) as error:
        raise InputError(f"A training batch holds {type(value).__name__} where an array is due: {error}.") from error
