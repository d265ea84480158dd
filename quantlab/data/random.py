"""Random samples for a model's inputs: to try things out, never to calibrate unawares."""

import zlib
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np

from quantlab.calibration.provenance import DataIdentity
from quantlab.data.batch import Batch, checked_batch_size
from quantlab.data.fingerprint import hash_arrays, identify, short
from quantlab.errors import UsageError
from quantlab.numerics.arrays import AnyArray
from quantlab.numerics.markup import card, table


class InputSpec(Protocol):
    """What is needed of a model's input: its type and shape, free dimensions as a name or None."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        ...

    @property
    def shape(self) -> tuple[int | str | None, ...]:
        """Size of each dimension."""
        ...


class RandomData:
    """Seeded random samples; `identity.random` is True for ever.

    Sample i of an input depends on the seed, i and the input's name alone, not on the batch size or on the
    other inputs.
    """

    __slots__ = ("_batch", "_identity", "_samples", "_seed", "_shapes", "_start")

    def __init__(
        self, shapes: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]], samples: int, seed: int, batch: int
    ) -> None:
        self._shapes = dict(shapes)
        self._samples = samples
        self._seed = seed
        self._batch = batch
        self._identity: DataIdentity | None = None
        self._start = 0

    @property
    def batch(self) -> int:
        """Samples a batch."""
        return self._batch

    @property
    def sample_hashes(self) -> tuple[bytes, ...]:
        """The hash of every sample, in order; they are drawn for it."""
        return tuple(hash_arrays(self._sample(index)) for index in range(self._start, self._start + self._samples))

    def sample_name(self, place: int) -> str:
        """Return what a sample is called in messages."""
        return f"random[{self._start + place}]"

    def part(self, start: int, stop: int) -> "RandomData":
        """Return the samples from `start` to before `stop`, the same ones."""
        found = RandomData(self._shapes, stop - start, self._seed, self._batch)
        found._start = self._start + start
        return found

    @property
    def identity(self) -> DataIdentity:
        """What the samples are; they are drawn once for it."""
        if self._identity is None:
            self._identity = identify("random", self.sample_hashes, random=True)
        return self._identity

    def _repr_html_(self) -> str:
        rows = ((name, str(kind), list(shape)) for name, (kind, shape) in self._shapes.items())
        facts = {"samples": self._samples, "seed": self._seed, "batch": self._batch}
        return card("RandomData", facts, more=table(("input", "type", "shape of a sample"), rows))

    def __len__(self) -> int:
        return self._samples

    def __iter__(self) -> Iterator[Batch]:
        end = self._start + self._samples
        for start in range(self._start, end, self._batch):
            indices = range(start, min(start + self._batch, end))
            drawn = [self._sample(index) for index in indices]
            rows = {name: np.stack([sample[name] for sample in drawn]) for name in self._shapes}
            hashes = tuple(short(hash_arrays(sample)) for sample in drawn)
            yield Batch(rows, names=tuple(f"random[{index}]" for index in indices), hashes=hashes)

    def _sample(self, index: int) -> dict[str, AnyArray]:
        return {
            name: _draw(np.random.default_rng([self._seed, index, zlib.crc32(name.encode())]), dtype, shape)
            for name, (dtype, shape) in self._shapes.items()
        }


def random_data(
    inputs: Mapping[str, InputSpec],
    samples: int,
    seed: int,
    *,
    batch: int | None = None,
    sizes: Mapping[str, int] | None = None,
) -> RandomData:
    """Make random samples for a model's inputs.

    Floats are standard normal. Integers of 8 bits take their whole range; wider ones, which may be token ids,
    masks or segment ids, are 0 or 1, like Booleans.

    Parameters
    ----------
    inputs
        Type and shape by input name; the first dimension counts the samples.
    samples, seed
        How many samples, and what they depend on.
    batch
        Samples a batch; by default the inputs' first dimension where that is fixed, else 32.
    sizes
        The size of each other free dimension, by its name, or by «input:axis» where it has none.

    Raises
    ------
    UsageError
        When there is no input, a number is not positive, an input has no dimension for the samples or another
        free one without a size, or its type cannot be drawn.
    """
    if not inputs:
        raise UsageError("Random data need at least one input.")
    for what, number, least in (("number of samples", samples, 1), ("seed", seed, 0)):
        if isinstance(number, bool) or not isinstance(number, int) or number < least:
            raise UsageError(f"The {what} of random data must be a whole number, at least {least}, not {number!r}.")
    shapes = {name: (_drawable(name, spec), _sample_shape(name, spec, sizes or {})) for name, spec in inputs.items()}
    return RandomData(shapes, samples, seed, checked_batch_size(_fixed_batch(inputs) if batch is None else batch))


def _drawable(name: str, spec: InputSpec) -> np.dtype[Any]:
    dtype = np.dtype(spec.dtype)
    if dtype.kind not in "biuf":
        raise UsageError(f"Input «{name}» holds {dtype}, for which no random data can be drawn: give real data.")
    return dtype


def _sample_shape(name: str, spec: InputSpec, sizes: Mapping[str, int]) -> tuple[int, ...]:
    if not spec.shape:
        raise UsageError(f"Input «{name}» is a scalar, with no dimension for the samples: give data from a script.")
    dims: list[int] = []
    for axis, dim in enumerate(spec.shape[1:], start=1):
        key = dim if isinstance(dim, str) and dim else f"{name}:{axis}"
        size = dim if isinstance(dim, int) and dim >= 0 else sizes.get(key)
        if size is None or size < 0:
            raise UsageError(f"Dimension {axis} of input «{name}» is free: give its size as «{key}» in `sizes`.")
        dims.append(size)
    return tuple(dims)


def _fixed_batch(inputs: Mapping[str, InputSpec]) -> int:
    fixed = {spec.shape[0] for spec in inputs.values() if isinstance(spec.shape[0], int) and spec.shape[0] > 0}
    return min((size for size in fixed if isinstance(size, int)), default=32)


def _draw(rng: np.random.Generator, dtype: np.dtype[Any], shape: tuple[int, ...]) -> AnyArray:
    if dtype.kind == "f":
        return rng.standard_normal(shape).astype(dtype)
    if dtype.kind in "iu" and dtype.itemsize == 1:
        info = np.iinfo(dtype)
        return rng.integers(info.min, info.max, size=shape, dtype=dtype, endpoint=True)
    return rng.integers(0, 2, size=shape).astype(dtype)
