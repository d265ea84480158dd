"""What a search comes to, in words."""

from __future__ import annotations

from dataclasses import replace

from quantlab.comparison.statistics import Interval
from quantlab.tuning.score import Score
from quantlab.tuning.target import Target
from quantlab.tuning.verdict import verdict

SHOWN = Score(10_000, {"logits": 31.25}, 0.9964, "top-1", 0.12, Interval(-0.09, 0.33), 0.76)
UNSHOWN = Score(200, {"logits": 31.25}, 0.995, "top-1", 0.0, Interval(-2.0, 2.0), 0.76)
MISSED = Score(10_000, {"logits": 9.5}, 0.91, "top-1", 4.0, Interval(3.5, 4.5), 0.76)
FEATURES = Score(1234, {"a": 28.0, "b": 33.0})


FIGURES = "0.12 ± 0.21 points of top-1 lost, agreement 0.9964, SQNR 31.2 dB"
HALF = "what was asked (at most 0.5 points lost)"


def told(target: Target, score: Score, *, final: bool = True, floats: int = 0) -> str:
    return verdict(target, score, final=final, floats=floats)


def test_a_target_that_holds() -> None:
    assert told(Target(0.5), SHOWN) == f"PTQ reaches {FIGURES}, on 10,000 samples that chose nothing: {HALF} holds."


def test_a_target_that_is_likely_says_how_many_samples_could_show_it() -> None:
    assert told(Target(0.5), UNSHOWN) == (
        "PTQ reaches 0.00 ± 2.00 points of top-1 lost, agreement 0.9950, SQNR 31.2 dB, on 200 samples that chose nothing: "
        f"{HALF} is likely, but not shown at 95%; so few samples cannot show it: 557 could, if none changed."
    )


def test_a_likely_one_that_so_many_samples_could_show_is_not_put_down_to_them() -> None:
    wide = replace(SHOWN, drop_interval=Interval(-1.5, 1.5))
    assert told(Target(1.0, confidence=0.9), wide).endswith("(at most 1 points lost) is likely, but not shown at 90%.")


def test_no_number_of_samples_is_asked_for_that_could_not_show_it() -> None:
    words = "is likely, but not shown at 95%; no number of samples can show that not one changes."
    assert told(Target(0.0), UNSHOWN).endswith(words)


def test_a_target_that_is_missed_says_what_next() -> None:
    found = told(Target(0.5), MISSED, final=False, floats=3)
    assert found == (
        "PTQ stops at 4.00 ± 0.50 points of top-1 lost, agreement 0.9100, SQNR 9.5 dB with 3 operators in FP16 or FP32, "
        f"on 10,000 samples that it was chosen on: {HALF} is missed. QAT is worth it: start from these ranges and weights."
    )


def test_one_operator_is_one() -> None:
    assert "with 1 operator in FP16 or FP32, on" in told(Target(0.5), SHOWN, floats=1)


def test_the_worst_output_speaks_where_there_are_no_classes() -> None:
    found = told(Target(None, min_sqnr_db=25.0), FEATURES, final=False)
    assert found == (
        "PTQ reaches SQNR 28.0 dB, on 1,234 samples that it was chosen on: what was asked (SQNR ≥ 25 dB) holds."
    )


def test_without_labels_points_are_changed_and_not_lost() -> None:
    found = told(Target(0.5), replace(SHOWN, metric="other class", fidelity=0.5))
    assert found.startswith(
        "PTQ reaches 0.12 ± 0.21 points changed, agreement 0.9964, fidelity 0.5000, SQNR 31.2 dB, on"
    )


def test_a_drop_whose_interval_holds_the_limit_is_not_called_missed() -> None:
    score = Score(244, {"y": 22.8}, 0.9918, "top-1", 0.82, Interval(-0.94, 2.75), fp32=0.9)
    target = Target(0.5, min_agreement=0.985)
    assert target.undecided(score)
    assert "cannot tell: it is undecided. Give more of them." in verdict(
        target, score, final=True, floats=0, stopped=True
    )
    assert not Target(0.5, min_agreement=0.995).undecided(score)
    assert not target.undecided(Score(5000, {"y": 22.8}, 0.9918, "top-1", 0.9, Interval(0.6, 1.2), fp32=0.9))
    assert Target(0.5).undecided(score)
