"""Comparing in parts: what travels to a worker, and what it observes there."""

from collections.abc import Mapping
from dataclasses import dataclass

from quantlab.calibration.scale_table import ScaleTable
from quantlab.comparison.labelled import LabelledBatches
from quantlab.comparison.one_pass import Pair, observe
from quantlab.comparison.tensors import TensorPlace, TensorProbe
from quantlab.data.batch import Batch
from quantlab.engines.engine import Engine, Opening
from quantlab.errors import InputError
from quantlab.metrics.labels import Labels
from quantlab.metrics.metric import Metric
from quantlab.numerics.arrays import AnyArray
from quantlab.workers.collecting import head_of
from quantlab.workers.opening import opening_of
from quantlab.workers.pool import Count, Facts, Job
from quantlab.workers.seen import Seen, merged_seen


@dataclass(frozen=True, slots=True, eq=False)
class _SentProbe:
    """A probe whose engines are numbers of openings."""

    fp32: int
    int8: int
    tensors: tuple[str, ...] | None
    table: ScaleTable | None
    batch: int | None
    places: Mapping[str, TensorPlace]

    def open(self, engines: tuple[Engine, ...]) -> TensorProbe:
        """Return the probe over these engines."""
        return TensorProbe(
            engines[self.fp32],
            engines[self.int8],
            tensors=self.tensors,
            table=self.table,
            batch=self.batch,
            places=self.places,
        )


@dataclass(frozen=True, slots=True, eq=False)
class _SentPair:
    """A pair whose engines are numbers of openings."""

    fp32: int
    int8: int
    probe: _SentProbe | None

    def open(self, engines: tuple[Engine, ...]) -> Pair:
        """Return the pair over these engines."""
        return Pair(engines[self.fp32], engines[self.int8], None if self.probe is None else self.probe.open(engines))


@dataclass(frozen=True, slots=True, eq=False)
class CompareTask:
    """What a worker needs to compare on its parts.

    Attributes
    ----------
    openings
        Of every engine, once.
    pairs
        Which of them are held against each other.
    labels, metrics
        As for `compare`.
    """

    openings: tuple[Opening, ...]
    pairs: Mapping[str, _SentPair]
    labels: Labels | None
    metrics: tuple[Metric, ...]

    @classmethod
    def of(cls, pairs: Mapping[str, Pair], labels: Labels | None, metrics: tuple[Metric, ...]) -> "CompareTask":
        """Return the task of pairs whose engines are open here.

        Raises
        ------
        UsageError
            For an engine that cannot be opened elsewhere.
        """
        every = {id(engine): engine for pair in pairs.values() for engine in engines_of(pair).values()}
        number = {key: place for place, key in enumerate(every)}
        sent = {
            name: _SentPair(number[id(pair.fp32)], number[id(pair.int8)], _sent(pair.probe, number))
            for name, pair in pairs.items()
        }
        return cls(tuple(map(opening_of, every.values())), sent, labels, metrics)

    @property
    def gpus(self) -> int:
        """How many GPUs a worker needs."""
        return max(int(getattr(opening, "gpus", 0)) for opening in self.openings)

    def open(self, threads: int | None) -> "CompareBench":
        """Open the engines."""
        engines = tuple(opening.open(threads=threads) for opening in self.openings)
        pairs = {name: pair.open(engines) for name, pair in self.pairs.items()}
        return CompareBench(pairs, self.labels, self.metrics)


class CompareBench:
    """Pairs of engines that are compared on the parts that come."""

    def __init__(self, pairs: Mapping[str, Pair], labels: Labels | None, metrics: tuple[Metric, ...]) -> None:
        self._pairs, self._labels, self._metrics = pairs, labels, metrics
        every = [engine for pair in pairs.values() for engine in engines_of(pair).values()]
        self._engines = {id(engine): engine for engine in every}
        self.facts = Facts.of(*sorted({engine.backend for engine in every}))

    def do(self, job: Job) -> bytes:
        """Compare on a span, or merge parts."""
        if not isinstance(job, Count):
            return merged_seen([Seen.parse(data) for data in job.parts]).render()
        part = job.data
        labels = None if self._labels is None else _From(self._labels, job.start)
        try:
            found = observe(self._pairs, LabelledBatches(part, labels), self._metrics)
        except InputError:
            if len(getattr(part, "left_out", ())) < len(part):
                raise
            found = {}  # not one file of the part could be read
        return Seen(head_of(job, self.facts), found).render()

    def close(self) -> None:
        """Free the engines."""
        for engine in self._engines.values():
            engine.close()


def engines_of(pair: Pair) -> dict[str, Engine]:
    """Return a pair's engines by their roles."""
    shown = {} if pair.probe is None else {"probe fp32": pair.probe.fp32, "probe int8": pair.probe.int8}
    return {"fp32": pair.fp32, "int8": pair.int8, **shown}


@dataclass(frozen=True, slots=True, eq=False)
class _From:
    """Labels of a part that begins at sample `start`."""

    labels: Labels
    start: int

    def of(self, batch: Batch, start: int) -> AnyArray:
        """Return the labels of a batch of the part."""
        return self.labels.of(batch, self.start + start)

    def check(self, samples: int) -> None:
        """Accept any number: the whole set was checked."""


def _sent(probe: TensorProbe | None, number: Mapping[int, int]) -> _SentProbe | None:
    if probe is None:
        return None
    one, two = number[id(probe.fp32)], number[id(probe.int8)]
    return _SentProbe(one, two, probe.tensors, probe.table, probe.batch, dict(probe.places))
