"""Measuring on a set kept in memory: which samples, in which batches, and what the user's own comparison gives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlab import engines
from quantlab.data.batch import Batch
from quantlab.data.fingerprint import hash_batch, identify
from quantlab.data.stream import as_dataset
from quantlab.engines.engine import TensorSpec
from quantlab.errors import InputError
from quantlab.graph.model import load_model
from quantlab.metrics.top_k import TopK
from quantlab.numerics.arrays import AnyArray, Tensors
from quantlab.tuning.score import Score
from quantlab.tuning.scoring import Held, Scorer
from tests.graph.nets import net, net_of
from tests.networks import image_batch
from tests.tuning.nets import Rows, candidate_of, classes, classifier

FREE = {"x": TensorSpec("x", np.dtype("f"), (None, 2))}


def numbered(count: int, batch: int = 7) -> Rows:
    """Samples that hold their own number, which is their label too."""
    return Rows({"x": np.repeat(np.arange(count, dtype="f")[:, None], 2, axis=1)}, batch, np.arange(count), named=True)


def numbers(held: Held) -> list[int]:
    return [int(row[0]) for batch in held for row in batch["x"]]


@given(st.integers(1, 200), st.integers(1, 200), st.integers(1, 40))
def test_a_part_is_spread_evenly_and_always_the_same(count: int, limit: int, batch: int) -> None:
    held = Held.of(numbered(count, batch), FREE, limit)
    found = numbers(held)
    assert found == numbers(Held.of(numbered(count, batch + 3), FREE, limit))
    assert len(held) == len(found) == min(count, limit)
    gaps = set(np.diff(found).tolist())
    assert gaps <= {max(1, count // limit), max(1, -(-count // limit))}


@given(st.integers(1, 200), st.integers(1, 40), st.sampled_from([(4, 16), (5, 17), (16, 64, 100)]))
def test_stages_are_even_choices_each_from_the_next(count: int, batch: int, sizes: tuple[int, ...]) -> None:
    held = Held.of(numbered(count, batch), FREE, stages=sizes)
    parts = [numbers(part) for part in held.stages]
    assert [len(part) for part in parts] == [*(size for size in sizes if size < count), count]
    assert sorted(parts[-1]) == list(range(count))
    for one, other in pairwise(parts):
        assert other[: len(one)] == one
    assert parts == [numbers(part) for part in Held.of(numbered(count, batch + 3), FREE, stages=sizes).stages]
    for part in parts:
        assert max(np.diff(sorted(part)), default=0) <= 4 * -(-count // len(part))


def test_stages_are_filled_batches_with_their_labels_and_names() -> None:
    held = Held.of(numbered(100, 3), FREE, stages=(20, 40))
    assert [batch.samples for batch in held] == [20, 20, 60]
    for batch in held:
        assert batch.labels is not None
        assert batch.labels.tolist() == [int(row[0]) for row in batch["x"]]
        assert batch.names == tuple(f"rows[{label}]" for label in batch.labels)


def test_a_candidate_s_stages_are_its_scores_on_these_samples_and_it_goes_on_only_when_told() -> None:
    data, model = classes(60), classifier()
    candidate = candidate_of(model, data.inputs)
    scorer = Scorer.begin(load_model(model), data, stages=(6, 24), metrics=(TopK(1),), fidelity=cosine, threads=1)
    seen: list[int] = []

    def goes_on(scores: tuple[Score, ...]) -> bool:
        seen.append(scores[-1].samples)
        return scores[-1].samples < 24

    every = scorer.staged(candidate, scorer.stages, lambda _scores: True)
    some = scorer.staged(candidate, scorer.stages, goes_on)
    assert seen == [6, 24]
    assert [score.samples for score in every] == [6, 24, 60]
    assert [timeless(score) for score in some] == [timeless(score) for score in every[:2]]
    assert [timeless(stage.score(candidate)) for stage in scorer.stages] == [timeless(score) for score in every]
    assert [len(score.noise) for score in every] == [6, 24, 0]
    for score in every[:2]:
        assert -10 * np.log10(sum(score.noise)) == pytest.approx(score.mean_sqnr_db, abs=1e-6)


def timeless(score: Score) -> Score:
    return replace(score, seconds=0.0, noise=())


def test_labels_and_names_stay_with_their_samples() -> None:
    held = Held.of(numbered(50), FREE, 13)
    assert held.labelled
    for batch in held:
        assert batch.labels is not None
        assert batch.labels.tolist() == [int(row[0]) for row in batch["x"]]
        assert batch.names == tuple(f"rows[{label}]" for label in batch.labels)
    assert as_dataset(held) is held
    assert held.identity == numbered(50).identity
    assert not Held.of(replace(numbered(50), labels=None), FREE).labelled


def test_labels_are_told_apart_that_an_identity_is_not() -> None:
    one, other = numbered(9), replace(numbered(9), labels=np.arange(9)[::-1])
    assert one.identity == other.identity
    assert Held.of(one, FREE).labels_digest != Held.of(other, FREE).labels_digest
    assert Held.of(one, FREE).labels_digest == Held.of(replace(one, batch=2), FREE).labels_digest


@pytest.mark.parametrize("size", [1, 4, 16])
def test_a_fixed_batch_sets_the_size_of_the_pieces(size: int) -> None:
    fixed = {"x": TensorSpec("x", np.dtype("f"), (size, 2))}
    assert {batch.samples for batch in Held.of(numbered(32, 32), fixed)} == {size}


def test_large_samples_run_few_at_a_time_and_small_ones_many() -> None:
    large = Rows({"x": np.zeros((10, 1 << 16), "f")}, 10)
    assert {batch.samples for batch in Held.of(large, FREE)} == {2}
    assert {batch.samples for batch in Held.of(numbered(64, 64), FREE)} == {64}


def test_a_set_without_samples_is_refused() -> None:
    with pytest.raises(InputError, match="«rows» hold no sample to measure on"):
        Held.of(numbered(0), FREE)


TWO = "g (float[N,4] x, float[N,4] z) => (float[N,6] y) { a = Add(x, z) \n b = MatMul(a, w1) \n y = MatMul(b, w2) }"


def test_several_inputs_are_cut_together() -> None:
    random = np.random.default_rng(0)
    data = Rows({"x": random.normal(size=(40, 4)).astype("f"), "z": random.normal(size=(40, 4)).astype("f")})
    model = net(TWO, w1=(4, 8), w2=(8, 6))
    score = Scorer.begin(load_model(model), data, limit=21, threads=1).score(candidate_of(model, data.inputs))
    assert (score.samples, score.metric) == (21, "other class")
    assert score.mean_sqnr_db > 15


@dataclass(frozen=True)
class Whole:
    """Batches that cannot be cut into rows: inputs of different lengths."""

    parts: tuple[Tensors, ...]

    @property
    def identity(self) -> Any:
        return identify("whole", (digest for part in self.parts for digest in hash_batch(Batch(part))))

    def __len__(self) -> int:
        return len(self.parts)

    def __iter__(self) -> Iterator[Batch]:
        return (Batch(part) for part in self.parts)


def test_batches_without_rows_are_a_sample_each() -> None:
    text = (
        "g (float[1,R,4] x, float[4,6] z) => (float[1,6] y) { a = MatMul(x, w) \n"
        "m = ReduceMax<axes = [1], keepdims = 0>(a) \n b = MatMul(m, v) \n s = ReduceMean<axes = [0]>(z) \n y = Add(b, s) }"
    )
    random = np.random.default_rng(0)
    parts = tuple(
        {"x": random.normal(size=(1, 3 + i % 2, 4)).astype("f"), "z": random.normal(size=(4, 6)).astype("f")}
        for i in range(6)
    )
    model = net(text, w=(4, 5), v=(5, 6))
    scorer = Scorer.begin(load_model(model), Whole(parts), threads=1)
    assert scorer.score(candidate_of(model, parts[0])).samples == len(scorer.data) == 6
    assert len(scorer.first(2).data) == 2


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_the_data_s_batch_size_changes_nothing(batch: int) -> None:
    data, model = classes(60), classifier()
    one, other = (
        Scorer.begin(load_model(model), rows, metrics=(TopK(1),), fidelity=cosine, threads=1).score(
            candidate_of(model, data.inputs)
        )
        for rows in (data, replace(data, batch=batch))
    )
    assert (one.samples, one.drop, one.drop_interval, one.agreement) == (
        other.samples, other.drop, other.drop_interval, other.agreement,
    )  # fmt: skip
    assert one.mean_sqnr_db == pytest.approx(other.mean_sqnr_db, abs=0.01)
    assert one.fidelity == pytest.approx(other.fidelity, abs=1e-4)


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_change_nothing(threads: int) -> None:
    data, model = classes(60), classifier()
    candidate = candidate_of(model, data.inputs)
    scorer = Scorer.begin(load_model(model), data, metrics=(TopK(1),), threads=threads)
    assert replace(scorer.score(candidate), seconds=0) == replace(
        replace(scorer, threads=1).score(candidate), seconds=0
    )


def cosine(exact: Tensors, int8: Tensors) -> AnyArray:
    x, y = exact["logits"], int8["logits"]
    return np.asarray((x * y).sum(axis=1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1))


@pytest.mark.parametrize("size", ["batch", 8])
def test_the_comparison_of_one_s_own_is_the_mean_over_the_samples(size: str | int) -> None:
    free, data = classifier(), replace(classes(21), labels=None)
    candidate = candidate_of(free, data.inputs)
    scorer = Scorer.begin(load_model(classifier(batch=size)), data, fidelity=cosine, threads=1)
    with candidate.engine(threads=1) as int8, engines.ort(free, threads=1) as fp32:
        values = cosine(fp32.run(data.inputs), int8.run(data.inputs))
    with replace(candidate, model=scorer.reference).engine(threads=1) as engine:
        score = scorer.score_engine(engine)
    assert score.fidelity == pytest.approx(values.mean(), abs=1e-4)
    assert score.fidelity_error == pytest.approx(values.std(ddof=1) / 21**0.5, rel=0.05)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, "gives None for a batch of 16 samples; one finite number a sample is due"),
        (0.5, "gives 0.5 for"),
        ("good", "gives 'good' for"),
        (np.ones((16, 5)), r"gives \[16, 5\] numbers for"),
        (np.ones(3), r"gives \[3\] numbers for"),
        ([[1], [2, 3]], "gives .*1.*2, 3.* for a batch"),
        (np.full(16, np.nan), r"gives \[16\] numbers, NaN or infinity among them, for"),
    ],
)
def test_a_comparison_that_gives_no_number_a_sample_is_refused(given: Any, words: str) -> None:
    data, model = replace(classes(32), labels=None), classifier()
    scorer = Scorer.begin(load_model(model), data, fidelity=lambda _exact, _int8: given, threads=1)
    with pytest.raises(InputError, match=words):
        scorer.score(candidate_of(model, data.inputs))


def test_fp32_against_itself_loses_nothing() -> None:
    scorer = Scorer.begin(load_model(classifier()), classes(32), metrics=(TopK(1),), fidelity=cosine, threads=1)
    score = scorer.score_engine(scorer.recorded.engine())
    assert (score.drop, score.agreement, score.worst_sqnr_db) == (0, 1, float("inf"))
    assert score.fidelity == pytest.approx(1)


def test_fewer_samples_for_ranking_are_the_same_ones() -> None:
    scorer = Scorer.begin(load_model(classifier()), classes(90), threads=1)
    part = scorer.first(30)
    assert len(part.data) == 30
    assert scorer.first(90) is scorer
    every = {row.tobytes() for batch in scorer.data for row in batch["image"]}
    assert {row.tobytes() for batch in part.data for row in batch["image"]} < every


def logarithm() -> onnx.ModelProto:
    text = "g (float[N,4] x) => (float[N,3] y) { a = MatMul(x, w1) \n b = MatMul(a, w2) \n y = Log(b) }"
    return net_of(text, w1=np.ones((4, 4), "f"), w2=np.ones((4, 3), "f"))


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_an_answer_of_fp32_that_is_no_number_is_refused(value: float) -> None:
    rows = np.ones((10, 4), "f")
    rows[3:5] = value
    with pytest.raises(InputError, match="FP32's own output «y» holds NaN or infinity for 2 of 10 samples of «rows»"):
        Scorer.begin(load_model(logarithm()), Rows({"x": rows}), threads=1)


def test_samples_that_the_network_cannot_take_are_refused() -> None:
    with pytest.raises(InputError, match="image"):
        Scorer.begin(load_model(classifier()), Rows({"image": image_batch(8)[:, :2]}), threads=1)


@pytest.mark.parametrize(("room", "kept"), [(1 << 20, True), (10, False)])
def test_only_a_set_that_fits_is_kept_in_memory(room: int, kept: bool) -> None:
    data = numbered(20)
    found = Held.within(data, FREE, room)
    assert isinstance(found, Held) is kept
    assert len(found) == 20
    assert [int(row[0]) for batch in found for row in batch["x"]] == list(range(20))
