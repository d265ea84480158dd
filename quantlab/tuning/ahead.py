"""Runs the batches of a set ahead, on one engine a core: what is asked for next is there."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from itertools import chain
from queue import SimpleQueue

import numpy as np
from typing_extensions import Self

from quantlab.calibration.provenance import DataIdentity
from quantlab.data.batch import Batch
from quantlab.engines.engine import Engine, TensorSpec
from quantlab.graph.derive import Derivation
from quantlab.numerics.arrays import AnyArray, Tensors

_DEPTH = 2
"""Batches that wait for each engine."""


class Ahead:
    """An engine over known batches, which must be asked for in their order; an Engine.

    Parameters
    ----------
    open_engine
        Opens one engine on one thread; its answers may not depend on which batches it ran before.
    engines
        How many to open.
    batches
        What will be run.
    """

    def __init__(self, open_engine: Callable[[], Engine], engines: int, batches: Iterable[Batch]) -> None:
        self._stack = ExitStack()
        self._free: SimpleQueue[Engine] = SimpleQueue()
        try:
            opened = [self._stack.enter_context(open_engine()) for _ in range(engines)]
            self._pool = self._stack.enter_context(ThreadPoolExecutor(engines))
        except BaseException:
            self._stack.close()
            raise
        for engine in opened:
            self._free.put(engine)
        self._first = opened[0]
        self._coming: Iterator[Batch] = iter(batches)
        self._running = deque[tuple[Batch, Future[dict[str, AnyArray]]]]()
        self._depth = engines * (_DEPTH + 1)

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        """The engine's."""
        return self._first.inputs

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        """The engine's."""
        return self._first.outputs

    @property
    def derivations(self) -> Mapping[str, Derivation]:
        """The engine's."""
        return self._first.derivations

    @property
    def chosen_on(self) -> tuple[DataIdentity, ...]:
        """The engine's."""
        return self._first.chosen_on

    @property
    def model_digest(self) -> str:
        """The engine's."""
        return self._first.model_digest

    @property
    def model_name(self) -> str:
        """The engine's."""
        return self._first.model_name

    @property
    def backend(self) -> str:
        """The engine's."""
        return self._first.backend

    def run(self, batch: Tensors) -> Mapping[str, AnyArray]:
        """Return the answers to the next batch; another one is run on the spot."""
        self._fill()
        if self._running and _same(self._running[0][0], batch):
            return self._running.popleft()[1].result()
        return self._answer(batch)

    def go_on(self, batches: Iterable[Batch]) -> None:
        """Say what will be run after all that was said before."""
        self._coming = chain(self._coming, batches)

    def restrict(self, outputs: tuple[str, ...]) -> Engine:
        """Return one engine with these outputs only."""
        return self._first.restrict(outputs)

    def exposing(self, outputs: tuple[str, ...]) -> Engine:
        """Return one engine with these tensors as outputs."""
        return self._first.exposing(outputs)

    def close(self) -> None:
        """Stop, and close the engines."""
        for _, future in self._running:
            future.cancel()
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _fill(self) -> None:
        while len(self._running) < self._depth:
            batch = next(self._coming, None)
            if batch is None:
                return
            self._running.append((batch, self._pool.submit(self._answer, batch)))

    def _answer(self, batch: Tensors) -> dict[str, AnyArray]:
        engine = self._free.get()
        try:
            return {name: np.array(values) for name, values in engine.run(batch).items()}
        finally:
            self._free.put(engine)


def _same(one: Tensors, other: Tensors) -> bool:
    """Tell whether these are the same arrays."""
    return one.keys() == other.keys() and all(one[name] is other[name] for name in one)
