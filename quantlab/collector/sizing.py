"""How the collector cuts the data for the engine: into batches of which size, in how many passes, under a memory budget."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from quantlab.engines.cuda.device_array import as_array
from quantlab.engines.engine import Engine, free_sizes
from quantlab.errors import InputError
from quantlab.numerics.arrays import AnyArray, Tensors

LARGEST_BATCH = 4
"""Larger batches measured no faster on a CPU, and take memory in proportion; an engine's `largest_batch` overrules it.

An engine that takes no single sample says so by `smallest_batch`; fewer rows are filled up with repeats.
"""


@dataclass(frozen=True, slots=True)
class Sizing:
    """The tensors of each pass over the data, and the engine's batch for a sample of any shape.

    Attributes
    ----------
    passes
        Tensors that fit the budget together.
    whole
        The model mixes the rows of a batch, or the inputs have no common first dimension: batches run as they come.
    fixed
        The model's own batch size; None where it is free.
    """

    engine: Engine
    tensors: tuple[str, ...]
    budget: int
    passes: tuple[tuple[str, ...], ...]
    whole: bool
    fixed: int | None

    def batch(self, row: Tensors) -> int:
        """Return how many samples of this one's shape run at once: it depends on nothing else of the data."""
        if self.fixed is not None:
            return self.fixed
        least = _smallest(self.engine)
        few = _repeated({name: np.asarray(value)[None] for name, value in row.items()}, least)
        size = max(sum(_bytes(self.engine, self.tensors, few).values()), 1)
        fits = max(min(_largest(self.engine), self.budget * least // size), 1)
        return max(1 << (int(fits).bit_length() - 1), least)


def measure(engine: Engine, tensors: tuple[str, ...], first: Tensors, budget: int) -> Sizing:
    """Return the sizing for a model, the shape of its samples and a budget, however the user batched.

    Raises
    ------
    InputError
        When the batch does not fit the model.
    """
    arrays = {name: np.asarray(value) for name, value in first.items()}
    rows = {value.shape[0] if value.ndim else None for value in arrays.values()}
    if len(rows) != 1 or None in rows:
        return Sizing(engine, tensors, budget, _passes(_bytes(engine, tensors, arrays), budget), True, None)
    fixed = _fixed_batch(engine)
    least = _smallest(engine)
    sizes = _bytes(engine, tensors, _repeated(arrays, fixed or least))
    passes = _passes(sizes, budget)
    alone = (fixed or _largest(engine)) == 1
    whole = not alone and _mixes_rows(engine, passes, arrays, fixed or max(least, 2))
    if whole:
        passes = _passes(_bytes(engine, tensors, arrays), budget)
    return Sizing(engine, tensors, budget, passes, whole, fixed)


def _smallest(engine: Engine) -> int:
    return int(getattr(engine, "smallest_batch", 1))


def _largest(engine: Engine) -> int:
    return int(getattr(engine, "largest_batch", LARGEST_BATCH))


def _fixed_batch(engine: Engine) -> int | None:
    leading = {spec.shape[0] for spec in engine.inputs.values() if spec.shape}
    whole = {size for size in leading if isinstance(size, int)}
    if len(whole) > 1:
        raise InputError(f"The model's inputs have different fixed batch sizes, {sorted(whole)}.")
    return whole.pop() if whole else None


def _mixes_rows(engine: Engine, passes: tuple[tuple[str, ...], ...], arrays: Mapping[str, AnyArray], size: int) -> bool:
    """Tell whether any tensor's rows are not the batch's samples: other company must not change a sample's row."""
    alone = _repeated(arrays, size)
    company = {name: value.copy() for name, value in alone.items()}
    for name, value in company.items():
        value[1:] = arrays[name][1] if len(arrays[name]) > 1 else np.zeros_like(value[0])
    for tensors in passes:
        with engine.restrict(tensors) as part:
            one = {name: _first_row(value, size) for name, value in part.run(alone).items()}
            two = {name: _first_row(value, size) for name, value in part.run(company).items()}
            if any(row is None or not _same(row, two[name]) for name, row in one.items()):
                return True
    return False


def _first_row(output: object, size: int) -> AnyArray | None:
    """Return a copy of an output's first row, on the host; None where it has not as many rows as the batch."""
    array = as_array(output)
    return np.array(array[:1]) if array.shape[:1] == (size,) else None


def _same(one: AnyArray, two: AnyArray | None) -> bool:
    return two is not None and np.array_equal(one, two, equal_nan=True)


def _bytes(engine: Engine, tensors: tuple[str, ...], batch: Tensors) -> dict[str, int]:
    """Return the size of each output for a batch: from the model's shapes where they tell, else by running it."""
    sizes = free_sizes(engine.inputs, batch) if set(batch) == set(engine.inputs) else {}
    shapes = {tensor: engine.outputs[tensor].resolved(sizes) for tensor in tensors}
    unknown = tuple(tensor for tensor, shape in shapes.items() if shape is None)
    if unknown or not sizes:
        with engine.restrict(unknown or tensors[:1]) as part:
            shapes.update({tensor: as_array(value).shape for tensor, value in part.run(batch).items()})
    return {t: prod(shape) * engine.outputs[t].dtype.itemsize for t, shape in shapes.items() if shape is not None}


def _repeated(arrays: Mapping[str, AnyArray], size: int) -> dict[str, AnyArray]:
    return {name: np.repeat(value[:1], size, axis=0) for name, value in arrays.items()}


def _passes(sizes: Mapping[str, int], budget: int) -> tuple[tuple[str, ...], ...]:
    """Split the tensors, in order, into groups within the budget; one that exceeds it alone is a group of its own."""
    groups: list[list[str]] = [[]]
    used = 0
    for tensor, size in sizes.items():
        if groups[-1] and used + size > budget:
            groups.append([])
            used = 0
        groups[-1].append(tensor)
        used += size
    return tuple(tuple(group) for group in groups if group)
