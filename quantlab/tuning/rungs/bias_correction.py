"""Bias correction: what rounding shifts on average, taken back."""

from __future__ import annotations

from quantlab.tuning.bias_correction import AnalyticBias, EmpiricalBias
from quantlab.tuning.ladder import Ladder
from quantlab.tuning.walking import walked

RUNG = "bias correction"


def climb(ladder: Ladder) -> None:
    """Try the correction from FP32's channel means, and the sequential one."""
    ladder.attempt(
        RUNG, "analytic", "biases take back what rounding the weights shifts", lambda: walked(ladder, AnalyticBias())
    )
    if not ladder.done:
        ladder.attempt(
            RUNG,
            "empirical",
            "biases take back each operator's mean error, one after the other",
            lambda: walked(ladder, EmpiricalBias()),
        )
