"""Scale migration: outliers of the inputs of matrix products become part of their weights (SmoothQuant)."""

from __future__ import annotations

from functools import partial

from quantlab.graph.normalise import normalise
from quantlab.graph.smooth import Smoothed, SmoothOptions, smooth, wanted
from quantlab.tuning.candidate import Candidate
from quantlab.tuning.ladder import Ladder
from quantlab.tuning.peaks import channel_peaks
from quantlab.tuning.recollect import recollected

RUNG = "smoothing"
_ALPHAS = (0.5, 0.65, 0.8, 0.9)
_LEAST = 3  # a classifier's last product alone is no transformer


def climb(ladder: Ladder) -> None:
    """Rank a few strengths, with and without inserted Mul, and try the best."""
    model = normalise(ladder.best.start).model
    tensors = wanted(model)
    if len(tensors) < _LEAST:
        ladder.skip(RUNG, f"{len(tensors)} inputs of matrix products: this is for transformers")
        return
    ground = ladder.ground
    peaks = channel_peaks(model, dict.fromkeys(tensors, -1), ground.data, threads=ground.threads)
    ways = {alpha: smooth(model, peaks, options=SmoothOptions(alpha=alpha)) for alpha in _ALPHAS}
    ladder.attempt_best(
        RUNG,
        {f"alpha {alpha:g}": (_change(made), partial(_prepared, ladder, made)) for alpha, made in ways.items()},
    )


def _prepared(ladder: Ladder, made: Smoothed, samples: int | None) -> Candidate:
    return recollected(ladder, made.model, made.changed, ladder.methods, samples=samples)


def _change(made: Smoothed) -> str:
    inserted = sum(migration.cost != "nothing" for migration in made.migrations)
    return f"{len(made.migrations)} inputs scaled, {inserted} of them by a Mul of its own"
