"""Scales of weights: the largest magnitude of a channel, or the scale of least squared error."""

from dataclasses import replace

from quantlab.calibration.weight_methods import SquaredErrorWeights
from quantlab.tuning.ladder import Ladder

RUNG = "weights"


def climb(ladder: Ladder) -> None:
    """Try scales of least squared error."""
    best = ladder.best
    other = replace(best, options=replace(best.options, weight_method=SquaredErrorWeights()))
    ladder.attempt(RUNG, "squared error", "each channel's scale of least squared error", lambda: other)
