"""Pass, warn, fail, or nothing to judge, and in which words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlab.comparison.agreement import Agreement
from quantlab.comparison.backends import Backends
from quantlab.comparison.metric_score import MetricScore
from quantlab.comparison.observation import NanSamples
from quantlab.comparison.statistics import Interval
from quantlab.report.verdict import judge, samples_needed
from tests.report.runs import CALIBRATION, comparison, metric, score


def test_the_headline_says_what_is_kept_on_what_and_in_which_backend() -> None:
    assert judge(score(), max_drop=None, random=False).headline == (
        "INT8 has 92.88 % top-1, FP32 93.00 %: a drop of 0.12 points (95 % interval −0.18 … 0.42) on 5,000 samples "
        "of «evaluation», simulated in onnxruntime 1.31.1 CPU."
    )


@pytest.mark.parametrize(
    ("drop", "reach", "state"),
    [
        (0.1, 0.1, "pass"),
        (0.5, 0.0, "pass"),
        (0.4, 0.2, "warn"),
        (0.51, 0.0, "fail"),
        (0.9, 0.5, "fail"),
        (-1, 0.2, "pass"),
    ],
)
def test_drop_and_interval_against_the_limit_decide(drop: float, reach: float, state: str) -> None:
    found = judge(score(metrics=(metric(drop, reach),)), max_drop=0.5, random=False)
    assert found.state == state
    assert "0.5 points" in found.reason


def test_a_gain_is_called_a_gain() -> None:
    found = judge(score(metrics=(metric(-0.25),)), max_drop=None, random=False)
    assert "a gain of 0.25 points (95 % interval of the drop −0.55 … 0.05)" in found.headline
    assert "no drop (" in judge(score(metrics=(metric(0.0),)), max_drop=None, random=False).headline


def test_without_a_limit_nothing_is_judged() -> None:
    found = judge(score(), max_drop=None, random=False)
    assert (found.state, found.reason) == (
        "none",
        "No limit (max_drop) was given, so nothing is judged: a limit of 0.42 points or more would pass, one below 0.12 would fail.",
    )
    gained = judge(score(metrics=(metric(-0.25, 0.5),)), max_drop=None, random=False)
    assert gained.reason.endswith("nothing is judged: a limit of 0.25 points or more would pass.")
    assert judge(score(metrics=(metric(-0.25, 0.1),)), max_drop=None, random=False).reason.endswith(
        "any limit would pass."
    )


@pytest.mark.parametrize(("drop", "reach"), [(0.12, 0.3), (-0.25, 0.5), (1.237, 0.011)])
def test_the_limits_that_would_pass_or_fail_are_those_that_do(drop: float, reach: float) -> None:
    told = judge(score(metrics=(metric(drop, reach),)), max_drop=None, random=False).reason
    numbers = [float(word) for word in told.replace("−", "-").split() if word.replace(".", "").isdigit()]
    assert judge(score(metrics=(metric(drop, reach),)), max_drop=numbers[0], random=False).state == "pass"
    if drop > 0:
        assert judge(score(metrics=(metric(drop, reach),)), max_drop=numbers[1] - 0.01, random=False).state == "fail"


def test_without_a_comparison_nothing_was_measured() -> None:
    assert judge(None, max_drop=0.5, random=False).state == "none"


def test_random_numbers_never_pass() -> None:
    found = judge(score(metrics=(metric(0.0, 0.0),)), max_drop=0.5, random=True)
    assert (found.state, "random numbers" in found.reason) == ("warn", True)
    assert judge(score(), max_drop=None, random=True).state == "warn"


def test_a_set_that_had_a_say_gives_no_final_score() -> None:
    found = judge(score(data=CALIBRATION, final=False, metrics=(metric(0.0, 0.0),)), max_drop=0.5, random=False)
    assert (found.state, "«calibration» had a say" in found.reason) == ("warn", True)


def test_unknown_calibration_data_give_no_final_score() -> None:
    unknown = score(chosen_on=(), final=False, metrics=(metric(0.0, 0.0),))
    found = judge(unknown, max_drop=0.5, random=False)
    assert found.state == "warn"
    assert "nothing tells which data chose the scales, so this is no final score" in found.reason
    assert "no final score" in judge(unknown, max_drop=None, random=False).reason


def test_nan_never_passes() -> None:
    found = judge(score(nan=NanSamples(0, 3), metrics=(metric(0.0, 0.0),)), max_drop=0.5, random=False)
    assert (found.state, "NaN for 3 samples" in found.reason) == ("warn", True)


def test_a_metric_of_its_own_unit_is_told_in_that_unit() -> None:
    other = MetricScore("mAP", 0.401, 0.398, 0.003, "", Interval(0.001, 0.005), None, None, None)
    found = judge(score(metrics=(other,)), max_drop=0.5, random=False)
    assert "INT8 has mAP 0.398 where FP32 has 0.401 (95 % interval of the loss 0.001 … 0.005)" in found.headline
    assert (found.state, "fits no metric" in found.reason) == ("none", True)


def test_without_labels_agreement_or_else_the_outputs_speak() -> None:
    assert "gives FP32's answer for 99.94 %" in judge(score(metrics=()), max_drop=None, random=False).headline
    silent = score(metrics=(), agreement=Agreement())
    assert "FP32's to 24.2 dB" in judge(silent, max_drop=None, random=False).headline
    nothing = score(metrics=(), agreement=Agreement(), outputs=())
    assert judge(nothing, max_drop=None, random=False).headline.startswith("INT8 ran on 5,000 samples")


def test_integer_kernels_are_run_and_not_simulated() -> None:
    found = judge(score(backends=Backends("a", "onnxruntime 1 CPU (avx2)")), max_drop=None, random=False)
    assert "run in onnxruntime 1 CPU" in found.headline
    assert comparison().backends.int8 not in found.headline


@given(st.floats(-1, 0.9), st.floats(0.01, 5), st.integers(1, 10_000))
def test_so_many_samples_bring_the_interval_within_the_limit(drop: float, reach: float, samples: int) -> None:
    needed = samples_needed(metric(drop, reach), 1.0, samples)
    if needed is not None:
        assert drop + reach * (samples / needed) ** 0.5 <= 1.0 + 1e-9
    assert samples_needed(metric(1.0, reach), 1.0, samples) is None


def test_the_verdict_says_how_many_samples_would_decide() -> None:
    found = judge(score(metrics=(metric(0.3, 0.4),)), max_drop=0.5, random=False)
    assert found.reason.endswith("its interval reaches 0.70 points: about 20,000 samples like these would decide.")
