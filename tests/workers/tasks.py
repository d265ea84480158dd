"""A task without an engine: counts rows of numbers, and does what its faults say when it meets certain samples."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from quantlab.errors import InputError
from quantlab.numerics.histogram import Histogram
from quantlab.workers.collecting import Counted, merged
from quantlab.workers.loop import Samples, ShardLoop, Survival
from quantlab.workers.part_form import Head, LeftOut
from quantlab.workers.pool import Count, Facts, Hiring, Job
from quantlab.workers.shelf import Part, Shelf


@dataclass(frozen=True)
class Rows:
    """What to count: `total` rows made from their numbers, and where it goes wrong."""

    total: int
    faults: Mapping[int, str] = field(default_factory=dict)
    marks: Path = Path()
    kinds: Sequence[str] = ("one",)
    """Processor names that workers claim, in the order of their opening."""
    seconds: float = 0.0

    gpus: ClassVar[int] = 0

    def __len__(self) -> int:
        return self.total

    @property
    def sample_hashes(self) -> tuple[bytes, ...]:
        return counted(0, self.total).head.hashes

    def sample_name(self, place: int) -> str:
        return f"row {place}"

    def part(self, start: int, stop: int) -> Any:
        return range(start, stop)

    def open(self, threads: int | None) -> Bench:
        if self.faults.get(-1) == "die":
            os._exit(3)
        return Bench(self)


@dataclass(frozen=True)
class Pictures(Rows):
    """Rows of files, some of which may be left out."""

    def recall(self, skipped: Sequence[int], others: Sequence[int] = ()) -> None:
        pass


class Bench:
    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        kind = rows.kinds[0]
        if len(rows.kinds) > 1:  # each worker takes the next mark
            kind = next(name for name in rows.kinds if taken(rows.marks / f"kind {name}"))
        self.facts = Facts({"counter": "1"}, kind)

    def do(self, job: Job) -> bytes:
        if not isinstance(job, Count):
            return merged([Counted.parse(part) for part in job.parts]).render()
        places: Any = job.data
        for place in places:
            time.sleep(self._rows.seconds)
            self._suffer(self._rows.faults.get(place, ""), place)
        return counted(job.start, job.stop, self.facts).render()

    def close(self) -> None:
        (self._rows.marks / "closed").touch()

    def _suffer(self, fault: str, place: int) -> None:
        if fault == "die":
            os._exit(7)
        if fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if fault == "kill once" and taken(self._rows.marks / f"died {place}"):
            os.kill(os.getpid(), signal.SIGKILL)
        if fault == "hang":
            time.sleep(3600)
        if fault == "hang once" and taken(self._rows.marks / f"hung {place}"):
            time.sleep(3600)
        if fault == "refuse":
            raise InputError("Tensor «c» holds 1 NaN.")
        if fault == "bug":
            raise ZeroDivisionError("nothing to divide by")
        if fault == "memory":
            raise MemoryError


def taken(mark: Path) -> bool:
    """Tell whether this process is the one that makes the mark."""
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def row(place: int) -> Any:
    return np.random.default_rng(place).standard_normal(5).astype(np.float32)


def counted(start: int, stop: int, facts: Facts | None = None) -> Counted:
    """Return the part of these rows."""
    places = range(start, stop)
    values = np.concatenate([row(place) for place in places]) if places else np.zeros(0, np.float32)
    hashes = tuple(place.to_bytes(32, "big") for place in places)
    return Counted(Head((facts,) if facts else (), hashes), {"x": Histogram.of(values)})


def without(places: Sequence[int], total: int) -> Histogram:
    """Return what all rows but some hold."""
    kept = [row(place) for place in range(total) if place not in places]
    return Histogram.of(np.concatenate(kept))


def loop(rows: Rows, hiring: Hiring, folder: Path, *, shard: int = 4, **survival: Any) -> ShardLoop:
    def empty(left_out: Sequence[LeftOut]) -> bytes:
        return Counted.without(left_out).render()

    data: Any = rows  # what of a data set the loop asks for
    samples = Samples(data, rows.sample_hashes, shard, 1, empty)
    shelf = Shelf(folder / "parts", "0" * 32)
    return ShardLoop(hiring.pool(rows), shelf, samples, survival=Survival(**survival), progress=None)


def total(parts: Sequence[Part], folder: Path) -> Counted:
    """Return all parts as one."""
    shelf = Shelf(folder / "parts", "0" * 32)
    return merged([Counted.parse(shelf.read(part)) for part in parts])
