"""A few samples of a stream, chosen by their content, so that neither order nor batches matter."""

from bisect import insort
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from quantlab.numerics.arrays import I64, AnyArray

_BYTES = 256 * 2**20
"""Chosen samples hold no more memory than this."""


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """Samples of one shape: the inputs, a row a sample, and the labels, if all have one."""

    inputs: Mapping[str, AnyArray]
    labels: I64 | None = None

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values()))) if self.inputs else 0


class SampleChoice:
    """Keeps the samples of the smallest hash that have the first kept one's shape."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: list[tuple[bytes, int, dict[str, AnyArray], int | None]] = []
        self._seen = 0

    def offer(self, digest: bytes, inputs: Mapping[str, AnyArray], label: int | None) -> None:
        """Take the sample or leave it; a sample that repeats another is left."""
        self._seen += 1
        size = sum(value.nbytes for value in inputs.values())
        most = min(self._most, _BYTES // max(size, 1))
        full = len(self._kept) >= most
        if most == 0 or (full and digest >= self._kept[-1][0]) or any(kept[0] == digest for kept in self._kept):
            return
        copied = {name: np.array(value) for name, value in inputs.items()}
        insort(self._kept, (digest, self._seen, copied, label), key=lambda kept: kept[0])
        del self._kept[most:]

    @property
    def chosen(self) -> Chosen:
        """The samples kept, stacked, in the order of their hashes."""
        if not self._kept:
            return Chosen({})
        shapes = {name: value.shape for name, value in self._kept[0][2].items()}
        alike = [kept for kept in self._kept if {name: value.shape for name, value in kept[2].items()} == shapes]
        inputs = {name: np.stack([kept[2][name] for kept in alike]) for name in shapes}
        labels = [kept[3] for kept in alike if kept[3] is not None]
        return Chosen(inputs, np.array(labels, np.int64) if len(labels) == len(alike) else None)
