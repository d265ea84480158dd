"""Adaptive rounding: which integer each weight becomes is chosen by the operator's output, on what INT8 feeds it."""

from __future__ import annotations

from quantlab.tuning.activation_scales import ActivationScales
from quantlab.tuning.adaptive_rounding import AdaptiveRounding
from quantlab.tuning.ladder import Ladder
from quantlab.tuning.walking import walked

RUNG = "adaptive rounding"
SCALES = "learned scales"


def climb(ladder: Ladder) -> None:
    """Choose the integers of all weights."""
    ladder.attempt(
        RUNG, "all operators", "weights rounded by their output's error", lambda: walked(ladder, AdaptiveRounding())
    )


def climb_scales(ladder: Ladder) -> None:
    """Choose each activation's scale by the error of what reads it, with the weights."""
    ladder.attempt(
        SCALES,
        "with rounding",
        "activations' scales chosen by the next operator's error",
        lambda: walked(ladder, AdaptiveRounding(), ActivationScales()),
    )
