"""What each engine costs: time a batch, size, and what it loses; one line an engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from quantlab.comparison.cost import Cost
from quantlab.comparison.lineup import Entry, Lineup
from quantlab.comparison.metric_score import MetricScore
from quantlab.report.report_score import Score


@dataclass(frozen=True, slots=True)
class EngineTime:
    """How long one batch takes.

    Attributes
    ----------
    batch, graph
        Samples, and whether it ran as a CUDA graph.
    median_ms, p90_ms
        Milliseconds a batch; None where the ninth decile was not kept.
    speed
        The pacing engine's time over this one's; None for the pace itself.
    """

    batch: int
    graph: bool
    median_ms: float
    p90_ms: float | None
    speed: float | None


@dataclass(frozen=True, slots=True)
class EngineRow:
    """One engine.

    Attributes
    ----------
    name, precision, backend
        What it is called, computes in, and runs on.
    times
        By batch size, as far as measured.
    model_bytes, build_seconds, watts
        None where not measured.
    metric, output_db
        What it loses against the reference; None for the reference.
    """

    name: str
    precision: str
    backend: str
    times: tuple[EngineTime, ...] = ()
    model_bytes: int | None = None
    build_seconds: float | None = None
    watts: float | None = None
    metric: MetricScore | None = None
    output_db: float | None = None


@dataclass(frozen=True, slots=True)
class Engines:
    """All engines; `pace` is the one whose time the speeds are held against."""

    rows: tuple[EngineRow, ...]
    pace: str

    @property
    def batches(self) -> tuple[tuple[int, bool], ...]:
        """The batch sizes that were timed, and whether as a CUDA graph."""
        return tuple(sorted({(t.batch, t.graph) for row in self.rows for t in row.times}, key=lambda k: (k[1], k[0])))


def engines_of(lineup: Lineup | None, scores: Sequence[Score]) -> Engines | None:
    """Return the engines of a lineup, else those that the scores' latencies name; None where nothing was timed."""
    if lineup is not None:
        pace = lineup.paced_by or "reference"
        first = EngineRow("reference", "", lineup.reference, *_costs("", lineup.reference_cost, lineup))
        return Engines((first, *(_entry(entry, lineup) for entry in lineup.entries)), pace)
    timed = [score for score in scores if score.latency is not None]
    if not timed:
        return None
    rows = [row for score in timed for row in _pair(score)]
    return Engines(tuple(rows), "FP32")


def _entry(entry: Entry, lineup: Lineup) -> EngineRow:
    found = entry.comparison
    metric = found.metrics[0] if found.metrics else None
    costs = _costs(entry.name, entry.cost, lineup)
    return EngineRow(entry.name, entry.precision, found.backends.int8, *costs, metric, entry.sqnr_db)


def _costs(
    name: str, cost: Cost, lineup: Lineup
) -> tuple[tuple[EngineTime, ...], int | None, float | None, float | None]:
    paces = name == lineup.paced_by
    times = tuple(
        EngineTime(
            t.batch,
            t.graph,
            t.median_ms,
            t.p90_ms,
            None if paces else _speed(lineup, name, t.batch, graph=t.graph),
        )
        for t in cost.times
    )
    return times, cost.model_bytes, cost.build_seconds, cost.power.watts if cost.power else None


def _speed(lineup: Lineup, name: str, batch: int, *, graph: bool) -> float | None:
    pace = lineup.cost_of(lineup.paced_by).time(batch, graph=graph)
    own = lineup.cost_of(name).time(batch, graph=graph)
    return pace.median_ms / own.median_ms if pace and own else None


def _pair(score: Score) -> tuple[EngineRow, ...]:
    """Return the two engines that one comparison ran in turn."""
    found = score.latency
    if found is None:
        return ()
    fp32, int8 = (score.sized.fp32, score.sized.int8) if score.sized else (None, None)
    return (
        EngineRow(
            f"FP32 beside {score.model}",
            "FP32",
            found.backends.fp32,
            (EngineTime(found.batch, False, found.fp32_ms, None, None),),
            fp32,
        ),
        EngineRow(
            score.model,
            "INT8",
            found.backends.int8,
            (EngineTime(found.batch, False, found.int8_ms, None, found.speed),),
            int8,
            metric=score.main,
            output_db=score.output_db,
        ),
    )
