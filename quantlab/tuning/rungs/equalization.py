"""Cross-layer equalization: channels of like size, in a float network that computes the same."""

from __future__ import annotations

from functools import partial

from quantlab.graph.equalize import Equalized, equalize, wanted
from quantlab.graph.normalise import normalise
from quantlab.tuning.candidate import Candidate
from quantlab.tuning.ladder import Ladder
from quantlab.tuning.peaks import channel_peaks
from quantlab.tuning.recollect import Counts, recollected
from quantlab.tuning.rungs.thresholds import FIRST

RUNG = "equalization"
ANEW = ", thresholds anew"
_PEAKS = 64  # calibration samples whose largest magnitudes are balanced


def climb(ladder: Ladder) -> None:
    """Try balancing weights against weights, and activations against weights."""
    if ladder.smoothed:
        ladder.skip(RUNG, "smoothing has balanced what reads against what makes already")
        return
    model = normalise(ladder.best.start).model
    by_weights = equalize(model)
    if not by_weights.pairs:
        why = next(iter(by_weights.skipped.values()), "no weighted operator feeds another")
        ladder.skip(RUNG, f"nothing to balance: {why}")
        return
    ground = ladder.ground
    peaks = channel_peaks(model, wanted(model), ground.data, samples=_PEAKS, threads=ground.threads)
    ways, counts = {"by weights": by_weights, "by activations": equalize(model, peaks)}, Counts()
    kept = ladder.attempt_best(
        RUNG,
        {
            **{label: (_change(made), partial(_prepared, ladder, made, counts)) for label, made in ways.items()},
            **{f"{label}{ANEW}": (_change(made), partial(_anew, ladder, made, counts)) for label, made in ways.items()},
        },
    )
    if kept is not None and kept.endswith(ANEW):
        ladder.methods = FIRST


def _prepared(ladder: Ladder, made: Equalized, counts: Counts, samples: int | None) -> Candidate:
    return recollected(ladder, made.model, made.changed, ladder.methods, samples=samples, counts=counts)


def _anew(ladder: Ladder, made: Equalized, counts: Counts, samples: int | None) -> Candidate:
    """Forget the thresholds: what suited channels of unlike size need not suit like ones."""
    return recollected(ladder, made.model, None, FIRST, samples=samples, counts=counts)


def _change(made: Equalized) -> str:
    return f"channels of {len(made.pairs)} pairs of operators scaled; {len(made.skipped)} operators skipped"
