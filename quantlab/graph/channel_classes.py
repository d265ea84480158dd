"""Channels that must share one scale, as classes of numbers (union-find)."""

from __future__ import annotations

import numpy as np

from quantlab.numerics.arrays import I64, AnyArray


class Classes:
    """Channels 0 … n−1 in classes that share one scale; a fixed class keeps the scale 1, for a reason."""

    def __init__(self) -> None:
        self._parents: list[int] = []
        self._reasons: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._parents)

    def new(self, count: int) -> I64:
        """Return `count` new channels, each a class of its own."""
        first = len(self._parents)
        self._parents.extend(range(first, first + count))
        return np.arange(first, first + count, dtype=np.int64)

    def join(self, one: I64, other: I64) -> I64:
        """Make one class of each pair of channels, shapes broadcast; return one of each pair, in that shape."""
        left, right = np.broadcast_arrays(one, other)
        pairs = np.unique(np.stack([left.reshape(-1), right.reshape(-1)], axis=1), axis=0)
        for a, b in pairs.tolist():
            self._join(a, b)
        return left.copy()

    def joined_along(self, ids: I64, axes: tuple[int, ...]) -> I64:
        """Make one class of the channels along `axes`; return the array with these axes of size 1."""
        first = ids[tuple(slice(0, 1) if i in axes else slice(None) for i in range(ids.ndim))]
        if first.size < ids.size:
            self.join(first, ids)
        return first

    def fix(self, ids: I64, reason: str) -> None:
        """Keep the scale of these channels at 1; the first reason given for a class is the one it keeps."""
        for root in np.unique(self.roots(ids)).tolist():
            self._reasons.setdefault(root, reason)

    def roots(self, ids: AnyArray) -> I64:
        """Return the number that stands for the class of each channel, in the shape of `ids`."""
        distinct, back = np.unique(ids, return_inverse=True)
        found = np.array([self._root(i) for i in distinct.tolist()], np.int64)
        return found[back].reshape(ids.shape) if ids.size else np.zeros(ids.shape, np.int64)

    def reason(self, ids: I64) -> str | None:
        """Return why the scale of the first fixed channel among `ids` is 1; None if none is fixed."""
        roots = (self._root(i) for i in np.unique(ids).tolist())
        return next((self._reasons[root] for root in roots if root in self._reasons), None)

    def are_fixed(self, ids: I64) -> bool:
        """Tell whether the class of each of these channels is fixed."""
        return all(self._root(i) in self._reasons for i in np.unique(ids).tolist())

    def fixed(self) -> AnyArray:
        """Return whether the class of each channel is fixed, bool [n]."""
        everything = self.roots(np.arange(len(self), dtype=np.int64))
        return np.isin(everything, np.array(sorted(self._reasons), np.int64))

    def _root(self, number: int) -> int:
        root = number
        while self._parents[root] != root:
            root = self._parents[root]
        while self._parents[number] != root:
            self._parents[number], number = root, self._parents[number]
        return root

    def _join(self, one: int, other: int) -> None:
        a, b = self._root(one), self._root(other)
        if a == b:
            return
        root, gone = min(a, b), max(a, b)
        self._parents[gone] = root
        reason = self._reasons.pop(gone, None)
        if reason is not None:
            self._reasons.setdefault(root, reason)
