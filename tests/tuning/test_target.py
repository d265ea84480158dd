"""When a score holds a target: shown, likely or missed, and how many samples could show it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlab.comparison.statistics import Interval, PairedCounts, newcombe, wilson
from quantlab.errors import UsageError
from quantlab.tuning.score import Score
from quantlab.tuning.target import Standing, Target

DB = {"y": 30.0, "z": 20.0}


def scored(samples: int, lost: int = 0, gained: int = 0, *, share: float = 0.75, level: float = 0.95) -> Score:
    """Return the score of a labelled classifier that INT8 lost and gained so many samples of."""
    right = round(share * samples)
    counts = PairedCounts(right - lost, lost, gained, samples - right - gained)
    interval = newcombe(counts, level).scaled(100)
    return Score(samples, DB, 0.99, "top-1", 100 * (lost - gained) / samples, interval, right / samples, fidelity=0.9)


def unlabelled(samples: int, changed: int) -> Score:
    interval = wilson(changed, samples).scaled(100)
    return Score(samples, DB, 1 - changed / samples, "other class", 100 * changed / samples, interval, 1.0)


@pytest.mark.parametrize(
    ("lost", "gained", "standing"),
    [(0, 0, "holds"), (10, 30, "holds"), (40, 0, "likely"), (50, 0, "likely"), (51, 0, "misses"), (900, 0, "misses")],
)
def test_a_drop_holds_where_its_interval_does(lost: int, gained: int, standing: Standing) -> None:
    assert Target(0.5).judged(scored(10_000, lost, gained)) == standing


def test_the_bound_is_newcombes() -> None:
    score = scored(10_000, 40)
    bound = newcombe(PairedCounts(7460, 40, 0, 2500)).high * 100
    assert score.drop_interval is not None
    assert score.drop_interval.high == pytest.approx(bound)
    assert Target(bound + 1e-9).judged(score) == "holds"
    assert Target(bound - 1e-9).judged(score) == "likely"


@pytest.mark.parametrize(
    ("target", "standing"),
    [
        (Target(None, min_agreement=0.99), "holds"),
        (Target(None, min_agreement=0.991), "misses"),
        (Target(None, min_sqnr_db=20.0), "holds"),
        (Target(None, min_sqnr_db=20.1), "misses"),
        (Target(None, min_fidelity=0.9), "holds"),
        (Target(None, min_fidelity=0.91), "misses"),
        (Target(None, 0.9, 10.0, 0.8), "holds"),
        (Target(None, 0.9, 10.0, 0.95), "misses"),
        (Target(0.5, min_sqnr_db=20.0), "holds"),
        (Target(0.5, min_sqnr_db=25.0), "misses"),
        (Target(None), "misses"),
    ],
)
def test_every_limit_counts_and_the_worst_output(target: Target, standing: Standing) -> None:
    assert target.judged(scored(10_000)) == standing


def test_what_was_not_measured_does_not_hold() -> None:
    bare = Score(100, DB)
    assert Target(0.5).judged(bare) == "misses"
    assert Target(None, min_agreement=0.0).judged(bare) == "misses"
    assert Target(None, min_fidelity=-9.0).judged(bare) == "misses"
    assert Target(None, min_sqnr_db=-9.0).judged(Score(100, {"y": float("nan")})) == "misses"


@pytest.mark.parametrize("score", [scored(500), scored(500, share=0.5), scored(500, share=1.0), unlabelled(500, 0)])
@pytest.mark.parametrize("points", [0.3, 1.0, 5.0])
def test_so_many_samples_show_it_and_one_less_does_not(score: Score, points: float) -> None:
    target = Target(points)
    needed = target.samples_needed(score)
    assert needed is not None
    assert target.can_be_shown(replace(score, samples=needed))
    assert not target.can_be_shown(replace(score, samples=needed - 1))
    if score.metric == "other class":
        assert target.judged(unlabelled(needed, 0)) == "holds"
        assert target.judged(unlabelled(needed - 1, 0)) == "likely"


@given(st.integers(20, 3000), st.floats(0.5, 1.0), st.floats(0.1, 8))
def test_a_set_can_show_a_drop_exactly_where_no_change_holds(samples: int, share: float, points: float) -> None:
    score, target = scored(samples, share=share), Target(points)
    assert target.can_be_shown(score) == (target.judged(score) == "holds")


def test_no_number_of_samples_shows_that_nothing_changes() -> None:
    assert Target(0.0).samples_needed(scored(500)) is None
    assert not Target(0.0).can_be_shown(scored(500))
    assert Target(0.0).judged(scored(500)) == "likely"


def test_a_metric_without_shares_and_other_limits_can_always_be_shown() -> None:
    score = Score(50, DB, metric="mAP", drop=0.1, drop_interval=Interval(-1, 1))
    assert Target(0.5).can_be_shown(score)
    assert Target(0.5).samples_needed(score) == 1
    assert Target(None, min_sqnr_db=99.0).can_be_shown(scored(5))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"max_drop": -0.1}, "at least 0, not -0.1"),
        ({"max_drop": float("nan")}, "not nan"),
        ({"min_agreement": 99.0}, "share from 0 to 1, not 99"),
        ({"confidence": 95}, "between 0 and 1"),
        ({"confidence": 1.0}, "between 0 and 1"),
        ({"min_sqnr_db": float("nan")}, "SQNR that is asked for"),
        ({"min_fidelity": float("nan")}, "fidelity that is asked for"),
    ],
)
def test_impossible_targets_are_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Target(**fields)


FEATURES = Score(100, DB)


@pytest.mark.parametrize(
    ("target", "exact", "words"),
    [
        (Target(None), scored(9), "asks for nothing: give a largest drop"),
        (Target(0.5), FEATURES, r"no drop in points can be measured: give a least SQNR, or a fidelity"),
        (Target(None, min_agreement=0.9), FEATURES, "no agreement to reach: give a least SQNR"),
        (Target(0.5, min_fidelity=0.9), FEATURES, "give the function that compares"),
        (Target(0.5, min_fidelity=0.9), replace(FEATURES, fidelity=0.0), "FP32 against itself has 0: larger must be"),
    ],
)
def test_what_cannot_be_measured_or_reached_is_refused(target: Target, exact: Score, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        target.fitting(exact)


def test_only_what_is_measured_is_claimed() -> None:
    asked = Target(0.5, min_sqnr_db=15.0)
    assert asked.fitting(scored(9)) == asked
    assert asked.fitting(FEATURES).sentence() == "SQNR ≥ 15 dB"


def test_the_sentence_names_all_that_is_asked() -> None:
    asked = Target(0.5, 0.99, 25.0, 0.95)
    assert asked.sentence() == "at most 0.5 points lost, agreement ≥ 0.99, SQNR ≥ 25 dB, fidelity ≥ 0.95"
    assert Target(None).sentence() == "nothing"
