"""A candidate over another float model: what its activations are now is counted anew."""

from __future__ import annotations

from collections.abc import Collection

from quantlab import engines
from quantlab.calibration.scale_table import ScaleTable
from quantlab.collector.collect import collect
from quantlab.graph.model import Model
from quantlab.tuning.candidate import Candidate
from quantlab.tuning.ladder import Ladder, Methods
from quantlab.tuning.scoring import Held


def recollected(
    ladder: Ladder, model: Model, changed: Collection[str] | None, methods: Methods, *, samples: int | None = None
) -> Candidate:
    """Return the best candidate on `model`, which computes the same: tensors in `changed`, and new ones, get new scales.

    None stands for all tensors. They are counted over at most `samples` calibration samples; None takes all.
    """
    ground, best = ladder.ground, ladder.best
    with engines.ort(model, expose="quantizable", target=best.options.target, threads=ground.threads) as engine:
        data = ground.data if samples is None else Held.of(ground.data, engine.inputs, samples)
        found = collect(engine, data)
    fresh = methods.table(found)
    kept = {} if changed is None else {row.tensor: row for row in best.table.rows if row.tensor not in set(changed)}
    rows = [kept.get(row.tensor, row) for row in fresh.rows]
    table = ScaleTable(tuple(rows), best.table.provenance)
    return best.with_exact(model, table)
