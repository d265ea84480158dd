"""The figures of a candidate, with labels and without, and which of two is kept."""

from __future__ import annotations

from dataclasses import replace
from math import isnan, log10

import numpy as np
import pytest

from quantlab.comparison.statistics import Interval, wilson
from quantlab.graph.model import load_model
from quantlab.metrics.top_k import TopK
from quantlab.tuning.score import Score
from quantlab.tuning.scoring import Scorer
from tests.tuning.nets import Rows, candidate_of, classes, classifier, int8_outputs, matmul_net, outputs, table_of

INF = float("inf")


def test_labels_give_points_of_the_metric_and_its_own_share() -> None:
    data, model = classes(120), classifier()
    score = Scorer.begin(load_model(model), data, metrics=(TopK(1),), threads=1).score(candidate_of(model, data.inputs))
    int8 = int8_outputs(model, table_of(model, data.inputs), data.inputs, "tensorrt").argmax(axis=1)
    exact = outputs(model, data.inputs).argmax(axis=1)
    assert (score.samples, score.metric, score.fp32) == (120, "top-1", 0.9)
    assert score.drop == pytest.approx(100 * ((exact == data.labels).mean() - (int8 == data.labels).mean()))
    assert score.agreement == pytest.approx((exact == int8).mean())
    assert score.drop_interval is not None
    assert score.drop is not None
    assert score.drop_interval.low < score.drop < score.drop_interval.high
    assert score.fidelity is None


def test_without_labels_the_drop_is_bounded_by_changed_classes() -> None:
    data, model = replace(classes(120), labels=None), classifier()
    score = Scorer.begin(load_model(model), data, threads=1).score(candidate_of(model, data.inputs))
    assert score.agreement is not None
    changed = round(120 * (1 - score.agreement))
    assert (score.metric, score.drop, score.fp32) == ("other class", 100 * changed / 120, 1.0)
    assert score.drop_interval == wilson(changed, 120).scaled(100)


def test_without_classes_there_is_neither_drop_nor_agreement() -> None:
    data = Rows({"x": np.random.default_rng(0).normal(size=(30, 4, 12)).astype("f")})
    model = matmul_net()
    score = Scorer.begin(load_model(model), data, threads=1).score(candidate_of(model, data.inputs))
    assert (score.drop, score.drop_interval, score.agreement, score.metric, score.fp32) == (None, None, None, "", None)
    assert 10 < score.worst_sqnr_db == score.mean_sqnr_db < 80


def at(db: float, drop: float | None = None, fidelity: float | None = None) -> Score:
    interval = None if drop is None else Interval(drop - 2, drop + 2)
    error = None if fidelity is None else 0.01
    return Score(100, {"y": db}, drop=drop, drop_interval=interval, fidelity=fidelity, fidelity_error=error)


@pytest.mark.parametrize(
    ("new", "old", "better"),
    [
        (at(20.1), at(20), True),
        (at(20.04), at(20), False),
        (at(20), at(20), False),
        (at(30, drop=2.9), at(20, drop=1), True),
        (at(30, drop=3.1), at(20, drop=1), False),
        (at(19, drop=0), at(20, drop=1), False),
        (at(30, fidelity=0.891), at(20, fidelity=0.9), True),
        (at(30, fidelity=0.85), at(20, fidelity=0.9), False),
        (at(30, drop=9, fidelity=0.9), at(20, drop=0, fidelity=0.9), True),
        (at(INF), at(20), True),
        (at(INF), at(INF), False),
        (at(-50), at(-INF), True),
        (at(float("nan")), at(-INF), False),
        (at(-50), at(float("nan")), True),
    ],
)
def test_a_trial_is_kept_for_less_noise_unless_what_counts_is_worse(new: Score, old: Score, better: bool) -> None:
    assert new.better_than(old, 0.05) is better


def test_the_worst_output_is_judged_and_the_mean_noise_ranks() -> None:
    score = Score(10, {"y": 30.0, "z": 10.0})
    assert score.worst_sqnr_db == 10.0
    assert score.mean_sqnr_db == pytest.approx(-10 * log10((1e-3 + 1e-1) / 2))
    assert Score(10, {"y": INF, "z": INF}).mean_sqnr_db == INF
    assert Score(10, {"y": INF, "z": -INF}).mean_sqnr_db == -INF


@pytest.mark.parametrize("outputs_db", [(30.0, float("nan")), (float("nan"), 30.0)])
def test_nan_is_the_worst_in_any_order(outputs_db: tuple[float, float]) -> None:
    score = Score(10, dict(zip("yz", outputs_db, strict=True)))
    assert isnan(score.worst_sqnr_db)
    assert isnan(score.mean_sqnr_db)


def noisy(*noise: float) -> Score:
    return Score(len(noise), {"y": -10 * float(np.log10(sum(noise)))}, noise=noise)


def test_behind_is_what_has_more_noise_by_more_than_chance() -> None:
    start = noisy(*[0.01] * 16)
    assert noisy(*[0.012] * 16).behind(start, 0.5)
    assert not noisy(*[0.012] * 16).behind(start, 1.0)
    assert not start.behind(noisy(*[0.012] * 16), 0.0)
    assert not noisy(*[0.01] * 15, 0.1).behind(start, 0.5)  # one sample alone tells nothing
    assert not noisy(*[0.01] * 16).behind(start, 0.5)
    assert not start.behind(Score(16, {"y": float("nan")}), 0.5)
    assert Score(16, {"y": float("nan")}).behind(start, 0.5)
    loyal = replace(noisy(*[0.012] * 16), fidelity=1.0)
    assert not loyal.behind(replace(start, fidelity=0.9), 0.5)
