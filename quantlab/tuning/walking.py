"""A candidate after a walk: operator by operator, FP32 and INT8 side by side."""

from __future__ import annotations

from dataclasses import replace

from quantlab.graph.model import Model
from quantlab.tuning.activation_scales import ActivationScales
from quantlab.tuning.analytic_bias import SAMPLES, analytic_bias
from quantlab.tuning.candidate import Candidate
from quantlab.tuning.ladder import Ladder
from quantlab.tuning.layer import Correction
from quantlab.tuning.walk import WalkOptions, walk


def walked(
    ladder: Ladder,
    correction: Correction | None,
    scales: ActivationScales | None = None,
    candidate: Candidate | None = None,
    *,
    samples: int | None = None,
) -> Candidate:
    """Return a candidate, or the best, with weights, biases or scales that a walk corrected, from its exact network on.

    At most `samples` go along, and no more than on any walk.
    """
    ground, best = ladder.ground, candidate or ladder.best
    settings = WalkOptions(
        correction=correction,
        scales=scales,
        threads=ground.threads,
        progress=lambda done, total: ground.watch("walk through the network", done, total),
        samples=min(samples or ground.walk["samples"], ground.walk["samples"]),
        memory=ground.walk["memory"],
    )
    start = plain(best)
    found = walk(start.model, start.table, best.options, ground.data, settings=settings)
    return best.corrected(_named(found.model, best.model), found.table)


def analytic(ladder: Ladder) -> Candidate:
    """Return the best with biases corrected from FP32's statistics, from its exact network on."""
    ground, best = ladder.ground, ladder.best
    start = plain(best)
    model, table = analytic_bias(
        start.model, start.table, best.options, ground.data, samples=min(SAMPLES, ground.walk["samples"]),
        threads=ground.threads,
    )  # fmt: skip
    return best.corrected(_named(model, best.model), table)


def plain(candidate: Candidate) -> Candidate:
    """Return a candidate before any walk: its exact network, and scales of activations alone."""
    rows = tuple(row for row in candidate.table.rows if row.role != "weight")
    return candidate.with_exact(candidate.start, replace(candidate.table, rows=rows))


def _named(model: Model, like: Model) -> Model:
    return replace(model, path=like.path)
