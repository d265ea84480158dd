"""Scores of both engines and their difference, for shares, means and scores of one's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from quantlab.comparison.metric_score import MetricScore
from quantlab.comparison.paired import PairedValues
from quantlab.comparison.statistics import PairedCounts, mcnemar, newcombe
from quantlab.errors import InputError
from quantlab.numerics.arrays import AnyArray, Tensors
from tests.comparison.laws import law

bits = hnp.arrays(np.float64, st.integers(1, 40), elements=st.sampled_from([0.0, 1.0]))


@dataclass(frozen=True)
class Own:
    """A user's metric: the outputs themselves."""

    name: str = "own"
    higher_is_better: bool = True

    def per_sample(self, outputs: Tensors, labels: Any) -> AnyArray:
        return outputs["y"]


@dataclass(frozen=True)
class F1(Own):
    """A score that is no mean: columns are true positives, false positives and false negatives."""

    def score(self, values: AnyArray) -> float:
        hits, false, missed = values.sum(axis=0)
        return float(2 * hits / max(2 * hits + false + missed, 1))


def pairs(fp32: object, int8: object) -> PairedValues:
    return PairedValues(np.asarray(fp32, np.float64), np.asarray(int8, np.float64))


@law
@given(bits, st.randoms(use_true_random=False))
def test_a_share_is_counted_and_given_in_points(fp32: AnyArray, random: Any) -> None:
    int8 = np.array([random.choice([0.0, 1.0]) for _ in fp32])
    found = MetricScore.of(Own(), pairs(fp32, int8))
    table = [
        sum(1 for pair in zip(fp32, int8, strict=True) if pair == which) for which in ((1, 1), (1, 0), (0, 1), (0, 0))
    ]
    counts = PairedCounts(*table)
    assert (found.unit, found.worse, found.better) == ("points", counts.first_only, counts.second_only)
    assert found.drop == pytest.approx(100 * (found.fp32 - found.int8), abs=1e-9)
    assert found.interval == newcombe(counts).scaled(100)
    assert found.p_value == mcnemar(counts.first_only, counts.second_only)


def test_of_an_error_share_more_is_worse() -> None:
    found = MetricScore.of(Own(higher_is_better=False), pairs([0, 0, 0, 1], [0, 1, 1, 0]))
    assert (found.fp32, found.int8, found.drop, found.worse, found.better) == (0.25, 0.5, 25.0, 2, 1)
    assert found.interval.low < 25 < found.interval.high


def test_other_values_keep_their_unit_and_are_bootstrapped() -> None:
    random = np.random.default_rng(0)
    fp32 = random.normal(5, 1, 100)
    int8 = fp32 - 0.25 + random.normal(0, 0.1, 100)
    found = MetricScore.of(Own(), pairs(fp32, int8))
    assert (found.unit, found.p_value) == ("", None)
    assert found.drop == pytest.approx(np.mean(fp32 - int8))
    assert 0.2 < found.interval.low < found.drop < found.interval.high < 0.3
    assert found.worse == np.sum(fp32 > int8)


def test_of_a_loss_less_is_better() -> None:
    found = MetricScore.of(Own(higher_is_better=False), pairs([0.5, 1.5], [1.0, 2.5]))
    assert (found.fp32, found.int8, found.drop, found.worse, found.better) == (1.0, 1.75, 0.75, 2, 0)


def test_a_score_of_ones_own_is_no_mean() -> None:
    fp32, int8 = [[1, 0, 0], [1, 1, 0], [2, 0, 0]], [[1, 0, 0], [0, 1, 1], [1, 1, 1]]
    found = MetricScore.of(F1(), pairs(fp32, int8))
    assert found.fp32 == pytest.approx(8 / 9)
    assert found.int8 == pytest.approx(4 / 8)
    assert (found.unit, found.worse, found.better) == ("", None, None)
    assert found.interval.low <= found.drop <= found.interval.high


@settings(law, max_examples=8)
@given(hnp.arrays(np.float64, (12, 2), elements=st.floats(-10, 10)), st.permutations(range(12)))
def test_the_samples_order_changes_no_bit(values: AnyArray, order: list[int]) -> None:
    one = MetricScore.of(Own(), pairs(values[:, 0], values[:, 1]))
    two = MetricScore.of(Own(), pairs(values[order, 0], values[order, 1]))
    assert one == two


@law
@given(bits, bits)
def test_merging_values_equals_measuring_together(one: AnyArray, two: AnyArray) -> None:
    together = PairedValues.of(Own(), {"y": np.append(one, two)}, {"y": np.append(one, two)}, None)
    merged = PairedValues.of(Own(), {"y": one}, {"y": one}, None).merge(
        PairedValues.of(Own(), {"y": two}, {"y": two}, None)
    )
    assert np.array_equal(merged.fp32, together.fp32)
    assert np.array_equal(merged.int8, together.int8)


def test_values_are_copied_from_the_engines_buffers() -> None:
    buffer = np.zeros(3)
    found = PairedValues.of(Own(), {"y": buffer}, {"y": buffer}, None)
    buffer[:] = 7
    assert found.fp32.tolist() == [0, 0, 0]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_no_number_is_refused(value: float) -> None:
    with pytest.raises(InputError, match=r"«own» gives (nan|inf) for sample 1 of the batch"):
        PairedValues.of(Own(), {"y": np.array([0.0, value])}, {"y": np.zeros(2)}, None)


def test_engines_that_give_another_number_of_values_are_refused() -> None:
    with pytest.raises(InputError, match=r"shape \[2\] for FP32 and \[3\] for INT8"):
        PairedValues.of(Own(), {"y": np.zeros(2)}, {"y": np.zeros(3)}, None)


def test_several_values_a_sample_need_a_score() -> None:
    with pytest.raises(InputError, match=r"shape \[2\] for each sample: give one, or a method `score"):
        MetricScore.of(Own(), pairs(np.zeros((4, 2)), np.zeros((4, 2))))


def test_a_score_that_is_no_number_is_refused() -> None:
    class Empty(Own):
        def score(self, values: AnyArray) -> float:
            return float("nan") * len(values)

    with pytest.raises(InputError, match="«own» has the score nan"):
        MetricScore.of(Empty(), pairs([1.0], [1.0]))
