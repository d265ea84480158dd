"""Bias correction: what rounding shifts on average, taken back."""

from __future__ import annotations

from quantlab.tuning.bias_correction import EmpiricalBias
from quantlab.tuning.ladder import Ladder
from quantlab.tuning.walking import analytic, walked

RUNG = "bias correction"


def climb(ladder: Ladder) -> None:
    """Try the correction from FP32's channel means, and the sequential one."""
    ladder.attempt(RUNG, "analytic", "biases take back what rounding the weights shifts", lambda: analytic(ladder))
    if not ladder.done:
        ladder.attempt(
            RUNG,
            "empirical",
            "biases take back each operator's mean error, one after the other",
            lambda: walked(ladder, EmpiricalBias()),
        )
