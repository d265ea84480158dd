"""Collecting in parts: what travels to a worker, what it counts, and how parts become one set of histograms."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from quantlab.calibration.histogram_set import HistogramSet
from quantlab.calibration.provenance import Provenance
from quantlab.collector.collect import CollectOptions, Counting
from quantlab.collector.deriving import Plan
from quantlab.engines.engine import Engine, Opening
from quantlab.errors import InputError
from quantlab.numerics.histogram import Histogram
from quantlab.storage import histograms_h5
from quantlab.workers.part_form import Head, LeftOut, check_hashes, opened, render
from quantlab.workers.pool import Count, Facts, Job

_GROUP = "histograms"


@dataclass(frozen=True, slots=True, eq=False)
class Counted:
    """What a part of the data showed; parts that follow one another merge exactly.

    Attributes
    ----------
    head
        Its samples.
    histograms
        By tensor; empty where all samples were left out.
    """

    head: Head
    histograms: Mapping[str, Histogram]

    def merge(self, other: "Counted") -> "Counted":
        """Return both, this one's samples first."""
        if not self.histograms or not other.histograms:
            return Counted(self.head.merge(other.head), self.histograms or other.histograms)
        merged = {name: found.merge(other.histograms[name]) for name, found in self.histograms.items()}
        return Counted(self.head.merge(other.head), merged)

    def render(self) -> bytes:
        """Return the part as it is stored."""
        provenance = Provenance("", "", (), {}, "log-linear")
        stored = HistogramSet(self.histograms, provenance, {}, {})
        return render(self.head, {}, lambda file: histograms_h5.write(file.create_group(_GROUP), stored))

    @classmethod
    def parse(cls, data: bytes) -> "Counted":
        """Read what `render` returned.

        Raises
        ------
        InputError
            When it is no such part.
        """
        with opened(data) as (head, _, file):
            stored = histograms_h5.read(file[_GROUP])
        return cls(head, {name: found for name, found in stored.items() if isinstance(found, Histogram)})

    @classmethod
    def without(cls, left_out: Sequence[LeftOut]) -> "Counted":
        """Return the part of samples that are all left out."""
        return cls(Head(left_out=tuple(left_out)), {})


@dataclass(frozen=True, slots=True, eq=False)
class CollectTask:
    """What a worker needs to count its parts.

    Attributes
    ----------
    opening
        Of an engine with exactly the counted tensors.
    plan
        What is counted.
    budget, nonfinite
        As in `CollectOptions`.
    """

    opening: Opening
    plan: Plan
    budget: int
    nonfinite: Literal["refuse", "count"]

    @property
    def gpus(self) -> int:
        """How many GPUs a worker needs."""
        return int(getattr(self.opening, "gpus", 0))

    def open(self, threads: int | None) -> "CollectBench":
        """Open the engine."""
        settings = CollectOptions(budget=self.budget, nonfinite=self.nonfinite, workers=threads)
        return CollectBench(self.opening.open(threads=threads), self.plan, settings)


class CollectBench:
    """An engine that counts the parts it is told to."""

    def __init__(self, engine: Engine, plan: Plan, settings: CollectOptions) -> None:
        self.facts = Facts.of(engine.backend)
        self._engine = engine
        self._counting = Counting(engine, plan, replace(settings, progress=None))

    def do(self, job: Job) -> bytes:
        """Count a span, or merge parts."""
        if isinstance(job, Count):
            found = self._counting.count(job.data)
            return Counted(head_of(job, self.facts), found).render()
        return merged([Counted.parse(data) for data in job.parts]).render()

    def close(self) -> None:
        """Free the engine."""
        self._engine.close()


def head_of(job: Count, facts: Facts) -> Head:
    """Return the head of a part whose data were read to their end.

    Raises
    ------
    StaleError
        When these were other samples than the job's: nothing may be stored of them.
    """
    skipped = tuple(job.start + place for place in getattr(job.data, "left_out", ()))
    head = Head((facts,), job.data.sample_hashes, (), skipped)
    check_hashes(job.hashes, head, job.start)
    return head


def merged(parts: Sequence[Counted]) -> Counted:
    """Return all parts as one, merged like a tree: neighbours first.

    Raises
    ------
    InputError
        When there is none.
    """
    if not parts:
        raise InputError("There is nothing to calibrate on: the data hold no sample.")
    level = list(parts)
    while len(level) > 1:
        pairs = [one.merge(two) for one, two in zip(level[::2], level[1::2], strict=False)]
        level = pairs + level[2 * len(pairs) :]
    return level[0]
