"""Parameters told apart by their values: exporters make one initializer of those that are equal."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from quantlab.numerics.arrays import AnyArray

_MOST = 0.25
"""By how much of its largest magnitude a tensor is changed at most: variances stay positive, networks finite."""

_NUMPY = (torch.float16, torch.float32, torch.float64)

_Key = tuple[tuple[int, ...], str]


@dataclass(frozen=True, slots=True)
class Parameters:
    """The float parameters and buffers of a module, by the values they had while they were distinct.

    Attributes
    ----------
    found
        Shape and digest of the values → name, and whether it is the transposed tensor that has them.
    doubtful
        Values that several have.
    """

    found: Mapping[_Key, tuple[str, bool]]
    doubtful: frozenset[_Key]

    @classmethod
    def of(cls, module: nn.Module) -> Parameters:
        """Read those of a module as they are now."""
        found: dict[_Key, tuple[str, bool]] = {}
        counts: Counter[_Key] = Counter()
        for name, tensor in _tensors(module).items():
            for turned, key in enumerate(_keys(tensor)):
                found.setdefault(key, (name, bool(turned)))
                counts[key] += 1
        return cls(found, frozenset(key for key, count in counts.items() if count > 1))

    def holding(self, values: AnyArray) -> tuple[str, bool] | str:
        """Return the name of the one that held these values and whether transposed, or why none can be told."""
        key = _key(values)
        if key in self.doubtful:
            return "several parameters of the module hold the values that this constant had"
        return self.found.get(key, "no parameter of the module holds this constant's values")


@contextmanager
def distinct(module: nn.Module) -> Iterator[None]:
    """Change, for a while, every parameter and buffer that another could be mistaken for: no two have the same values.

    Changed are those that equal another, transposed or not, and those of one value, which exporters may leave out (a
    bias of zeros). Tensors get other storage: arrays that share memory with what is read meanwhile stay as they are.
    """
    tensors = _tensors(module)
    keys = {name: _keys(tensor) for name, tensor in tensors.items()}
    counts = Counter(key for several in keys.values() for key in several)
    alike = [n for n, t in tensors.items() if _is_uniform(t) or any(counts[key] > 1 for key in keys[n])]
    used = {key for name in tensors.keys() - set(alike) for key in keys[name]}
    draw = torch.Generator().manual_seed(0)
    before = {name: tensors[name].data for name in alike}
    try:
        for name in alike:
            tensors[name].data = _other(before[name], used, draw)
        yield
    finally:
        for name, values in before.items():
            tensors[name].data = values


def _other(values: Tensor, used: set[_Key], draw: torch.Generator) -> Tensor:
    size = float(values.abs().max()) or 1.0
    while True:
        noise = torch.rand(values.shape, generator=draw).to(values.device, values.dtype)
        changed = values + size * _MOST * noise
        keys = _keys(changed)
        if len({*keys}) == len(keys) and not used & {*keys}:
            used.update(keys)
            return changed


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    named = dict(module.named_parameters()) | dict(module.named_buffers())
    return {n: t for n, t in named.items() if t.dtype in _NUMPY and t.numel() and bool(t.isfinite().all())}


def _is_uniform(tensor: Tensor) -> bool:
    return bool((tensor == tensor.reshape(-1)[0]).all())


def _keys(tensor: Tensor) -> list[_Key]:
    """Return what tells its values, and for a matrix those of the transposed one."""
    array = tensor.detach().cpu().numpy()
    return [_key(array), _key(array.T)] if array.ndim == 2 and array.size > 1 else [_key(array)]


def _key(array: AnyArray) -> _Key:
    return array.shape, hashlib.blake2b(np.ascontiguousarray(array).tobytes(), digest_size=16).hexdigest()
