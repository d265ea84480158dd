"""A two-layer network in NumPy, row by row in float64, so that no number depends on the batch; and data for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from quantlab.calibration.provenance import DataIdentity
from quantlab.data.batch import Batch
from quantlab.data.fingerprint import hash_batch, identify
from quantlab.engines.engine import TensorSpec, check_batch
from quantlab.graph.derive import Derivation
from quantlab.numerics.arrays import AnyArray, Tensors

FEATURES, HIDDEN, CLASSES = 6, 8, 4
_RANDOM = np.random.default_rng(0)
FIRST = _RANDOM.normal(size=(FEATURES, HIDDEN))
SECOND = _RANDOM.normal(size=(HIDDEN, CLASSES))
SHAPES: dict[str, tuple[int | str, ...]] = {"hidden": ("n", HIDDEN), "logits": ("n", CLASSES)}


class Network:
    """logits = relu(x · FIRST) · SECOND with both matrices rounded to multiples of `step`; an Engine.

    `rows` is its batch size, free or fixed. The returned arrays are overwritten by the next run, as the protocol allows.
    """

    def __init__(
        self,
        step: float = 0.0,
        outputs: tuple[str, ...] = ("logits",),
        *,
        rows: int | str = "n",
        chosen_on: tuple[DataIdentity, ...] = (),
    ) -> None:
        self.inputs = {"x": TensorSpec("x", np.dtype(np.float32), (rows, FEATURES))}
        self.chosen_on = chosen_on
        self.outputs = {name: TensorSpec(name, np.dtype(np.float64), SHAPES[name]) for name in outputs}
        self.derivations = dict[str, Derivation]()
        self.model_digest, self.model_name = f"sha256:{step}", "network"
        self.backend = f"numpy {np.__version__} step {step}"
        self.largest_batch = 0
        self._step = step
        self._buffers: dict[tuple[str, int], NDArray[np.float64]] = {}

    def run(self, batch: Tensors) -> Mapping[str, AnyArray]:
        x = check_batch(self.inputs, batch)["x"].astype(np.float64)
        self.largest_batch = max(self.largest_batch, len(x))
        hidden = np.stack([np.maximum(row @ _rounded(FIRST, self._step), 0) for row in x])
        found = {"hidden": hidden, "logits": np.stack([row @ _rounded(SECOND, self._step) for row in hidden])}
        return {name: self._kept(name, found[name]) for name in self.outputs}

    def _kept(self, name: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
        buffer = self._buffers.setdefault((name, len(values)), np.empty_like(values))
        buffer[:] = values
        return buffer

    def restrict(self, outputs: tuple[str, ...]) -> Network:
        return Network(self._step, outputs, chosen_on=self.chosen_on)

    exposing = restrict

    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None: ...


class Constant(Network):
    """A network that answers the given logits, row after row."""

    def __init__(self, logits: object) -> None:
        super().__init__()
        self._logits, self._next = np.asarray(logits, np.float64), 0

    def run(self, batch: Tensors) -> Mapping[str, AnyArray]:
        start, self._next = self._next, self._next + len(batch["x"])
        return {"logits": self._logits[start : self._next]}


class Samples:
    """A data set in memory."""

    def __init__(
        self, x: AnyArray, labels: AnyArray | None = None, *, batch: int = 7, names: bool = True, random: bool = False
    ) -> None:
        self.x, self.labels, self.batch, self.names, self.random = x, labels, batch, names, random

    @property
    def identity(self) -> DataIdentity:
        return identify("evaluation", hash_batch(Batch({"x": self.x})), random=self.random)

    def __len__(self) -> int:
        return len(self.x)

    def __iter__(self) -> Iterator[Batch]:
        for start in range(0, len(self.x), self.batch):
            part = slice(start, start + self.batch)
            rows = self.x[part]
            labels = None if self.labels is None else self.labels[part]
            names = tuple(f"sample {start + i}.png" for i in range(len(rows))) if self.names else ()
            yield Batch({"x": rows}, labels=labels, names=names)


def samples(count: int = 40, *, batch: int = 7, seed: int = 1) -> Samples:
    """Return random rows with the exact network's classes as labels, a fifth of them wrong."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(count, FEATURES)).astype(np.float32)
    labels = np.argmax(np.maximum(x.astype(np.float64) @ FIRST, 0) @ SECOND, axis=1).astype(np.int64)
    wrong = random.random(count) < 0.2
    return Samples(x, np.where(wrong, random.integers(0, CLASSES, count), labels).astype(np.int64), batch=batch)


def _rounded(weights: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    return np.rint(weights / step) * step if step else weights
