"""Correlations and cosines of embeddings, against scipy on the same pairs."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr, spearmanr

import quantlab as ql
from quantlab.comparison.metric_score import MetricScore
from quantlab.comparison.paired import PairedValues
from quantlab.errors import InputError, UsageError
from quantlab.metrics.correlation import Correlation
from quantlab.metrics.embedding_cosine import EmbeddingCosine
from quantlab.metrics.pair_correlation import PairCorrelation, pair_labels
from quantlab.numerics.arrays import F64, AnyArray
from tests.comparison.laws import law

SCIPY: dict[str, Any] = {"spearman": spearmanr, "pearson": pearsonr}


def embedded(seed: int, samples: int = 8) -> AnyArray:
    return np.random.default_rng(seed).normal(size=(samples, 5)).astype(np.float32)


def judged(seed: int, samples: int = 8) -> tuple[list[tuple[int, int]], F64]:
    pairs = list(combinations(range(samples), 2))
    return pairs, np.random.default_rng(seed).integers(0, 5, len(pairs)).astype(np.float64)


def cosine(one: AnyArray, two: AnyArray) -> float:
    a, b = one.astype(float), two.astype(float)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@law
@given(st.integers(0, 1000), st.sampled_from(["spearman", "pearson"]))
def test_pairs_correlate_as_scipy_has_it(seed: int, kind: str) -> None:
    rows, (pairs, human) = embedded(seed), judged(seed)
    labels = pair_labels(len(rows), [(i, j, v) for (i, j), v in zip(pairs, human, strict=True)])
    metric = PairCorrelation(kind)  # type: ignore[arg-type]
    cosines = [cosine(rows[i], rows[j]) for i, j in pairs]
    assert metric.score(metric.per_sample({"e": rows}, labels)) == pytest.approx(SCIPY[kind](cosines, human).statistic)


@settings(law, max_examples=20)
@given(st.integers(0, 1000), st.permutations(range(8)), st.integers(0, 8))
def test_neither_batches_nor_order_change_the_pairs(seed: int, order: list[int], cut: int) -> None:
    rows, (pairs, human) = embedded(seed), judged(seed)
    labels = pair_labels(len(rows), [(i, j, v) for (i, j), v in zip(pairs, human, strict=True)])
    metric = PairCorrelation()
    whole = metric.per_sample({"e": rows}, labels)
    parts = [metric.per_sample({"e": rows[part]}, labels[part]) for part in (slice(cut), slice(cut, None))]
    assert np.array_equal(np.concatenate(parts), whole)
    assert metric.score(whole[order]) == pytest.approx(metric.score(whole))


def test_a_sample_drawn_twice_brings_its_pairs_twice() -> None:
    rows = embedded(0, 3)
    labels = pair_labels(3, [(0, 1, 1.0), (1, 2, 5.0), (0, 2, 3.0)])
    metric = PairCorrelation()
    values = metric.per_sample({"e": rows}, labels)
    pairs = [(0, 1, 1.0)] * 4 + [(1, 2, 5.0)] * 2 + [(0, 2, 3.0)] * 2
    cosines = [cosine(rows[i], rows[j]) for i, j, _ in pairs]
    twin = spearmanr(cosines, [human for _, _, human in pairs]).statistic
    assert metric.score(values[[0, 0, 1, 1, 2]]) == pytest.approx(twin)
    assert metric.weighted(values)(np.array([2, 2, 1])) == pytest.approx(twin)
    assert np.isnan(metric.score(values[[0, 0]]))


def test_predictions_correlate_as_scipy_has_it() -> None:
    random = np.random.default_rng(1)
    predicted, human = random.normal(size=(30, 1)).astype(np.float32), random.normal(size=30)
    for kind, twin in SCIPY.items():
        metric = Correlation(kind)  # type: ignore[arg-type]
        found = metric.score(metric.per_sample({"p": predicted}, human))
        assert found == pytest.approx(twin(predicted[:, 0].astype(float), human).statistic)


def test_a_correlation_that_is_not_known_is_nan_and_no_warning() -> None:
    assert np.isnan(Correlation().score(np.array([[1.0, 2.0]])))
    assert np.isnan(Correlation("pearson").score(np.array([[1.0, 2.0], [1.0, 3.0]])))


def test_an_interval_of_a_correlation_holds_its_drop() -> None:
    rows, (pairs, human) = embedded(3, 12), judged(3, 12)
    labels = pair_labels(12, [(i, j, v) for (i, j), v in zip(pairs, human, strict=True)])
    noisy = rows + np.random.default_rng(4).normal(0, 0.5, rows.shape).astype(np.float32)
    pair = PairedValues.of(PairCorrelation(), {"e": rows}, {"e": noisy}, labels)
    found = MetricScore.of(PairCorrelation(), pair)
    assert found.unit == "points"
    assert found.drop == pytest.approx(100 * (found.fp32 - found.int8))
    assert found.interval.low <= found.drop <= found.interval.high


def test_weighing_samples_draws_the_interval_that_copying_them_draws() -> None:
    rows, (pairs, human) = embedded(5, 6), judged(5, 6)
    labels = pair_labels(6, [(i, j, v) for (i, j), v in zip(pairs, human, strict=True)])
    weighing = PairCorrelation("pearson")
    copying = ql.metric(weighing.per_sample, name=weighing.name, score=weighing.score)
    pair = PairedValues.of(weighing, {"e": rows}, {"e": rows[:, ::-1] + 1}, labels)
    one, two = MetricScore.of(weighing, pair), MetricScore.of(copying, pair)
    assert one.interval == two.interval.scaled(100)
    share = ql.metric(weighing.per_sample, name=weighing.name, score=weighing.score, in_points=True)
    assert MetricScore.of(share, pair) == one


def test_the_cosine_is_of_both_engines_embeddings_and_1_for_fp32_itself() -> None:
    one, two = embedded(0), embedded(1)
    pair = PairedValues.of(EmbeddingCosine(), {"e": one}, {"e": two}, None)
    assert pair.fp32 == pytest.approx(np.ones(8))
    assert pair.int8 == pytest.approx([cosine(a, b) for a, b in zip(one, two, strict=True)])
    found = MetricScore.of(EmbeddingCosine(), pair)
    assert found.unit == ""
    assert found.drop == pytest.approx(1 - found.int8)


def test_zeros_have_no_direction() -> None:
    assert EmbeddingCosine().per_sample({"e": np.zeros((2, 3), np.float32)}, None).tolist() == [0, 0]


def test_pairs_that_cannot_be_are_refused() -> None:
    for pair in ((0, 0, 1.0), (0, 3, 1.0), (-1, 0, 1.0), (0, 1, np.nan)):
        with pytest.raises(InputError, match="There is no pair"):
            pair_labels(3, [pair])


def test_labels_and_outputs_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="needs judgements of pairs as labels"):
        PairCorrelation().per_sample({"e": embedded(0)}, None)
    with pytest.raises(InputError, match="needs judgements of pairs as labels"):
        PairCorrelation().per_sample({"e": embedded(0)}, np.arange(8))
    with pytest.raises(InputError, match="embeddings"):
        EmbeddingCosine().per_sample({"e": np.zeros((2, 3, 4), np.float32)}, None)
    with pytest.raises(InputError, match="needs 2 numbers here as labels"):
        Correlation().per_sample({"p": np.zeros(2, np.float32)}, np.array(["a", "b"]))
    with pytest.raises(InputError, match="needs labels, a number a sample"):
        Correlation().per_sample({"p": np.zeros(2, np.float32)}, None)
    with pytest.raises(UsageError, match="not «kendall»"):
        PairCorrelation("kendall")  # type: ignore[arg-type]
