"""A candidate over another float model: what its activations are now is counted anew."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from quantlab import engines
from quantlab.calibration.histogram_set import HistogramSet
from quantlab.calibration.scale_table import ScaleTable
from quantlab.collector.collect import collect
from quantlab.graph.model import Model
from quantlab.tuning.candidate import Candidate
from quantlab.tuning.held import Held
from quantlab.tuning.ladder import Ladder, Methods


@dataclass(frozen=True, slots=True, eq=False)
class Counts:
    """What was counted of prepared models, so that several candidates over one share it."""

    known: dict[tuple[str, int | None], HistogramSet] = field(default_factory=dict)

    def of(self, ladder: Ladder, model: Model, samples: int | None) -> HistogramSet:
        """Return the histograms of a model's activations over at most `samples` calibration samples; None: all."""
        key = (model.digest, samples)
        if key not in self.known:
            ground, target = ladder.ground, ladder.best.options.target
            with engines.ort(model, expose="quantizable", target=target, threads=ground.threads) as engine:
                data = ground.data if samples is None else Held.of(ground.data, engine.inputs, samples)
                self.known[key] = collect(engine, data)
        return self.known[key]


def recollected(
    ladder: Ladder,
    model: Model,
    changed: Collection[str] | None,
    methods: Methods,
    *,
    samples: int | None = None,
    counts: Counts | None = None,
) -> Candidate:
    """Return the best candidate on `model`, which computes the same: tensors in `changed`, and new ones, get new scales.

    None stands for all tensors. They are counted over at most `samples` calibration samples; None takes all.
    """
    best = ladder.best
    fresh = methods.table((counts or Counts()).of(ladder, model, samples))
    kept = {} if changed is None else {row.tensor: row for row in best.table.rows if row.tensor not in set(changed)}
    rows = [kept.get(row.tensor, row) for row in fresh.rows]
    table = ScaleTable(tuple(rows), best.table.provenance)
    return best.with_exact(model, table)
