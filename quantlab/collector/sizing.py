"""How many samples the engine runs at once, and in how many passes, under a memory budget."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from quantlab.engines.engine import Engine, free_sizes
from quantlab.errors import InputError
from quantlab.numerics.arrays import AnyArray, Tensors

LARGEST_BATCH = 4
"""Larger batches measured no faster, and their activations leave the cache before they are counted."""


@dataclass(frozen=True, slots=True)
class Sizing:
    """The engine's batch size, and the tensors of each pass over the data."""

    batch: int
    passes: tuple[tuple[str, ...], ...]


def measure(engine: Engine, tensors: tuple[str, ...], first: Tensors, budget: int) -> Sizing:
    """Return a sizing that depends on the model, the shape of a sample and the budget, not on how the user batched.

    Raises
    ------
    InputError
        When the model's fixed batch cannot be filled from single samples.
    """
    arrays = {name: np.asarray(value) for name, value in first.items()}
    if len({value.shape[0] if value.ndim else None for value in arrays.values()} | {None}) != 2:
        return Sizing(1, _passes(_bytes(engine, tensors, arrays), budget))
    fixed = _fixed_batch(engine)
    one = _repeated(arrays, fixed or 1)
    sizes = _bytes(engine, tensors, one)
    if fixed is not None:
        return Sizing(fixed, _passes(sizes, budget))
    fits = min(LARGEST_BATCH, max(budget // max(sum(sizes.values()), 1), 1))
    batch = 1 << (int(fits).bit_length() - 1)
    if batch > 1 and not _scales(engine, tensors, arrays):
        batch = 1
    return Sizing(batch, _passes({name: size * batch for name, size in sizes.items()}, budget))


def output_shapes(engine: Engine, tensors: tuple[str, ...], batch: Tensors) -> dict[str, tuple[int, ...]]:
    """Return the outputs' shapes for a batch: from the model where it tells, else by running it."""
    sizes = free_sizes(engine.inputs, batch) if set(batch) == set(engine.inputs) else {}
    shapes = {tensor: engine.outputs[tensor].resolved(sizes) for tensor in tensors}
    unknown = tuple(tensor for tensor, shape in shapes.items() if shape is None)
    if unknown or not sizes:
        with engine.restrict(unknown or tensors[:1]) as part:
            shapes.update({tensor: value.shape for tensor, value in part.run(batch).items()})
    return {tensor: shape for tensor, shape in shapes.items() if shape is not None}


def _fixed_batch(engine: Engine) -> int | None:
    leading = {spec.shape[0] for spec in engine.inputs.values() if spec.shape}
    whole = {size for size in leading if isinstance(size, int)}
    if len(whole) > 1:
        raise InputError(f"The model's inputs have different fixed batch sizes, {sorted(whole)}.")
    return whole.pop() if whole else None


def _scales(engine: Engine, tensors: tuple[str, ...], arrays: Mapping[str, AnyArray]) -> bool:
    """Tell whether each tensor's first dimension, and no other, is the batch."""
    one = output_shapes(engine, tensors, _repeated(arrays, 1))
    two = output_shapes(engine, tensors, _repeated(arrays, 2))
    return all(one[t][:1] == (1,) and two[t] == (2, *one[t][1:]) for t in tensors)


def _repeated(arrays: Mapping[str, AnyArray], size: int) -> dict[str, AnyArray]:
    return {name: np.repeat(value[:1], size, axis=0) for name, value in arrays.items()}


def _bytes(engine: Engine, tensors: tuple[str, ...], batch: Tensors) -> dict[str, int]:
    shapes = output_shapes(engine, tensors, batch)
    return {tensor: prod(shapes[tensor]) * engine.outputs[tensor].dtype.itemsize for tensor in tensors}


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
