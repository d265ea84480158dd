"""What a search comes to, in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from quantlab.comparison.statistics import Interval
from quantlab.tuning.score import Score
from quantlab.tuning.target import Target
from quantlab.tuning.verdict import verdict

SHOWN = Score(10_000, {"logits": 31.25}, 0.9964, "top-1", 0.12, Interval(-0.09, 0.33), 0.76)
UNSHOWN = Score(200, {"logits": 31.25}, 0.995, "top-1", 0.0, Interval(-2.0, 2.0), 0.76)
MISSED = Score(10_000, {"logits": 9.5}, 0.91, "top-1", 4.0, Interval(3.5, 4.5), 0.76)
FEATURES = Score(1234, {"a": 28.0, "b": 33.0})


@pytest.mark.parametrize(
    ("target", "score", "floats", "final", "words"),
    [
        (
            Target(0.5), SHOWN, 0, True,
            "PTQ reaches 0.12 ± 0.21 points of top-1 lost, agreement 0.9964, SQNR 31.2 dB, on 10,000 samples that chose "
            "nothing: what was asked (at most 0.5 points lost) holds.",
        ),
        (
            Target(0.5), UNSHOWN, 1, True,
            "PTQ reaches 0.00 ± 2.00 points of top-1 lost, agreement 0.9950, SQNR 31.2 dB with 1 operator in FP16 or FP32, on "
            "200 samples that chose nothing: what was asked (at most 0.5 points lost) is likely, but not shown at 95%; so "
            "few samples cannot show it: 557 could, if none changed.",
        ),
        (
            Target(1.0), replace(SHOWN, drop_interval=Interval(-1.5, 1.5)), 0, False,
            "PTQ reaches 0.12 ± 1.50 points of top-1 lost, agreement 0.9964, SQNR 31.2 dB, on 10,000 samples that it was "
            "chosen on: what was asked (at most 1 points lost) is likely, but not shown at 95%.",
        ),
        (
            Target(0.0), UNSHOWN, 0, True,
            "PTQ reaches 0.00 ± 2.00 points of top-1 lost, agreement 0.9950, SQNR 31.2 dB, on 200 samples that chose nothing: "
            "what was asked (at most 0 points lost) is likely, but not shown at 95%; no number of samples can show that not "
            "one changes.",
        ),
        (
            Target(0.5), MISSED, 3, False,
            "PTQ stops at 4.00 ± 0.50 points of top-1 lost, agreement 0.9100, SQNR 9.5 dB with 3 operators in FP16 or FP32, on "
            "10,000 samples that it was chosen on: what was asked (at most 0.5 points lost) is missed. QAT is worth it: "
            "start from these ranges and weights.",
        ),
        (
            Target(None, min_sqnr_db=25.0), FEATURES, 0, False,
            "PTQ reaches SQNR 28.0 dB, on 1,234 samples that it was chosen on: what was asked (SQNR ≥ 25 dB) holds.",
        ),
        (
            Target(0.5), replace(SHOWN, metric="other class", fidelity=0.5), 0, True,
            "PTQ reaches 0.12 ± 0.21 points changed, agreement 0.9964, fidelity 0.5000, SQNR 31.2 dB, on 10,000 samples that "
            "chose nothing: what was asked (at most 0.5 points lost) holds.",
        ),
    ],
    ids=["holds", "likely", "likely-with-enough", "zero", "missed", "features", "unlabelled"],
)  # fmt: skip
def test_the_verdict_says_what_is_reached_how_sure_and_what_next(
    target: Target, score: Score, floats: int, final: bool, words: str  # noqa: FBT001
) -> None:  # fmt: skip
    assert verdict(target, score, final=final, floats=floats) == words
