"""The table of samples: it merges as its samples do, and says what one pass over both engines saw of each."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlab.comparison.comparison import Comparison, compare
from quantlab.comparison.paired import PairedValues
from quantlab.comparison.sample_table import MOST_PICTURES, MetricKind, SampleTable
from quantlab.data import stream
from quantlab.errors import InputError
from quantlab.metrics.top_k import TopK
from quantlab.numerics.arrays import AnyArray, Tensors
from tests.comparison.laws import law
from tests.comparison.networks import FIRST, SECOND, Constant, Network, Samples, samples

KINDS = {"top-1": MetricKind("top-1"), "loss": MetricKind("loss", higher_is_better=False)}


@dataclass(frozen=True)
class Gap:
    """A user's metric of several values a sample, of which less is better."""

    name: str = "gap"
    higher_is_better: bool = False
    needs_labels: bool = False

    def per_sample(self, outputs: Tensors, labels: Any) -> AnyArray:
        return np.asarray(outputs["logits"][:, :2])

    def score(self, values: AnyArray) -> float:
        return float(values.max())


@st.composite
def tables(draw: st.DrawFn) -> SampleTable:
    """Return tables of the same metrics, with and without the columns that may be missing."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = draw(st.integers(1, 40))

    def classes() -> AnyArray | None:
        return random.integers(-1, 3, count) if draw(st.booleans()) else None

    flips, pair = classes(), [random.integers(0, 2, count).astype(np.float64) for _ in range(4)]
    return SampleTable(
        random.random(count),
        random.random(count),
        keys=tuple(f"{value:016x}" for value in random.integers(0, 2**62, count)) if draw(st.booleans()) else (),
        names=tuple(f"{value}.png" for value in random.integers(0, 9, count)) if draw(st.booleans()) else (),
        labels=classes(),
        fp32_class=flips,
        int8_class=None if flips is None else random.integers(-1, 3, count),
        confidence=None if flips is None else random.integers(0, 3, count) / 4,
        values={"top-1": PairedValues(pair[0], pair[1]), "loss": PairedValues(pair[2], pair[3])},
        metrics=KINDS,
        pictures={row: bytes([row]) for row in range(count) if draw(st.booleans())},
    )


def same(one: SampleTable, two: SampleTable) -> bool:
    for field in fields(one):
        mine, theirs = getattr(one, field.name), getattr(two, field.name)
        if field.name == "values":
            if not all(
                np.array_equal(getattr(mine[n], s), getattr(theirs[n], s)) for n in mine for s in ("fp32", "int8")
            ):
                return False
        elif isinstance(mine, np.ndarray):
            if not np.array_equal(mine, theirs, equal_nan=True):
                return False
        elif mine != theirs:
            return False
    return True


# ---- merging


@law
@given(tables(), tables(), tables())
def test_merging_is_associative(one: SampleTable, two: SampleTable, three: SampleTable) -> None:
    assert same(one.merge(two).merge(three), one.merge(two.merge(three)))


@law
@given(tables(), tables())
def test_merging_keeps_every_sample_in_order(one: SampleTable, two: SampleTable) -> None:
    both = one.merge(two)
    assert len(both) == len(one) + len(two)
    assert np.array_equal(both.signal, [*one.signal, *two.signal])
    assert np.array_equal(both.values["loss"].int8, [*one.values["loss"].int8, *two.values["loss"].int8])
    assert both.keys == (one.keys + two.keys if one.keys and two.keys else ())
    assert (both.labels is None) == (one.labels is None or two.labels is None)


@law
@given(st.integers(1, 12), st.integers(1, 12))
def test_neither_batches_nor_their_merging_change_the_table(one: int, two: int) -> None:
    found = [
        compare(Network(), Network(0.5), samples(12, batch=size), metrics=(TopK(1),)).samples_table
        for size in (one, two)
    ]
    assert found[0] is not None
    assert found[1] is not None
    assert same(found[0], found[1])


def test_tables_of_other_metrics_do_not_merge() -> None:
    bare = SampleTable(np.ones(1), np.ones(1))
    with pytest.raises(InputError, match="make no one table"):
        bare.merge(seen(samples(3)))


# ---- what one pass saw


def logits(step: float, x: AnyArray) -> AnyArray:
    one, two = (np.rint(weights / step) * step if step else weights for weights in (FIRST, SECOND))
    return np.asarray(np.maximum(x.astype(np.float64) @ one, 0) @ two)


def seen(data: Samples, *metrics: Any, found: Comparison | None = None) -> SampleTable:
    table = (found or compare(Network(), Network(0.5), data, metrics=metrics or (TopK(1),))).samples_table
    assert table is not None
    return table


def test_every_row_is_what_numpy_says() -> None:
    data = samples(30)
    exact, got = logits(0, data.x), logits(0.5, data.x)
    table = seen(data)
    assert data.labels is not None
    assert table.labels is not None
    assert table.confidence is not None
    assert np.array_equal(table.labels, data.labels)
    assert np.array_equal(table.fp32_class, np.argmax(exact, axis=1))  # type: ignore[arg-type]
    assert np.array_equal(table.int8_class, np.argmax(got, axis=1))  # type: ignore[arg-type]
    assert np.allclose(table.signal, (exact**2).sum(axis=1))
    assert np.allclose(table.noise, ((exact - got) ** 2).sum(axis=1))
    softmax = np.exp(exact) / np.exp(exact).sum(axis=1, keepdims=True)
    assert np.allclose(table.confidence, softmax.max(axis=1))
    assert np.array_equal(table.values["top-1"].fp32, np.argmax(exact, axis=1) == data.labels)
    assert table.names[3] == "sample 3.png"
    assert table.flipped == tuple(np.flatnonzero(np.argmax(exact, axis=1) != np.argmax(got, axis=1)))


def test_the_table_goes_with_the_comparisons_own_numbers() -> None:
    found = compare(Network(), Network(0.5), samples(40), metrics=(TopK(1), TopK(2)))
    table = seen(samples(40), found=found)
    assert table.flipped == tuple(flip.index for flip in found.flips)
    assert [pair.int8.mean() for pair in table.values.values()] == [score.int8 for score in found.metrics]
    assert table.noise.sum() == pytest.approx(found.outputs[0].accumulated.noise)


def test_scores_that_are_shares_are_not_softened_again() -> None:
    shares = [[0.1, 0.7, 0.1, 0.1], [0.25, 0.25, 0.25, 0.25], [np.nan, 0, 0, 1]]
    table = seen(samples(3), found=compare(Constant(shares), Constant(shares), samples(3), metrics=()))
    assert table.confidence is not None
    assert table.confidence[:2].tolist() == [0.7, 0.25]
    assert np.isnan(table.confidence[2])
    assert np.isnan(table.signal[2])


def test_metrics_of_one_name_are_told_apart() -> None:
    table = seen(samples(5), TopK(1), TopK(1, output="logits"), Gap())
    assert [*table.values] == ["top-1", "top-1 #2", "gap"]
    assert table.metrics["top-1 #2"] == MetricKind("top-1", in_points=True)
    assert table.metrics["gap"] == MetricKind("gap", higher_is_better=False, mean=False)
    assert table.values["gap"].fp32.shape == (5, 2)


def test_what_is_not_known_is_left_out_of_the_frame() -> None:
    bare = compare(Network(), Network(0.5), Samples(samples(5).x, names=False), metrics=(Gap(),))
    assert list(seen(samples(5), found=bare).frame()) == ["fp32_class", "int8_class", "confidence", "sqnr_db"]
    known = seen(samples(5)).frame()
    assert list(known)[:2] == ["name", "label"]
    assert list(known)[-2:] == ["top-1 fp32", "top-1 int8"]
    assert len(known) == 5


# ---- what is worth looking at


def table_of(fp32: list[int], int8: list[int], right: list[tuple[int, int]], sure: list[float]) -> SampleTable:
    count = len(fp32)
    values = np.array(right, np.float64)
    return SampleTable(
        np.ones(count),
        np.zeros(count),
        fp32_class=np.array(fp32),
        int8_class=np.array(int8),
        confidence=np.array(sure),
        values={"top-1": PairedValues(values[:, 0], values[:, 1])},
        metrics={"top-1": MetricKind("top-1")},
    )


def test_lost_answers_come_first_then_the_surest() -> None:
    table = table_of(
        [0, 1, 2, 3, 0, 1],
        [0, 2, 1, 0, 1, 2],
        [(1, 1), (0, 0), (1, 0), (0, 1), (1, 0), (0, 0)],
        [0.9, 0.5, 0.6, 0.99, 0.7, 0.8],
    )
    assert table.flipped == (1, 2, 3, 4, 5)
    assert table.worst() == (4, 2, 5, 1, 3)


def test_of_a_metric_of_which_less_is_better_more_is_lost() -> None:
    pair = PairedValues(np.array([1.0, 1.0, 1.0]), np.array([0.5, 3.0, 2.0]))
    table = SampleTable(
        np.ones(3), np.ones(3), values={"loss": pair}, metrics={"loss": MetricKind("loss", higher_is_better=False)}
    )
    assert table.worst() == (1, 2)


def test_of_too_many_pictures_the_worst_samples_stay() -> None:
    count = MOST_PICTURES + 5
    table = table_of(
        [1] * count, [2] * count, [(1, 0)] * count, [0.5 if row in (3, 9, 20, 21, 22) else 0.6 for row in range(count)]
    )
    kept = table.with_pictures(dict.fromkeys(range(count), b"a picture")).pictures
    assert sorted(set(range(count)) - set(kept)) == [3, 9, 20, 21, 22]


# ---- what is refused


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"noise": np.ones(2)}, "The column «noise» has 2 rows for 3 samples"),
        ({"keys": ("0" * 16,)}, "The column «keys» has 1 rows"),
        ({"keys": ("0" * 16, "1" * 16, "zebra")}, "«zebra» is no key of a sample"),
        ({"keys": ("0" * 16, "1" * 16, "A" * 16)}, "«AAAAAAAAAAAAAAAA» is no key"),
        ({"labels": np.arange(4)}, "The column «labels» has 4 rows"),
        ({"metrics": {"top-1": MetricKind("top-1")}}, r"values of \[\], but the metrics are \['top-1'\]"),
        ({"pictures": {3: b""}}, "There are 1 pictures for 3 samples"),
    ],
)
def test_columns_that_do_not_fit_are_refused(columns: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        SampleTable(**{"signal": np.ones(3), "noise": np.ones(3)} | columns)


def test_the_keys_are_those_of_the_data() -> None:
    data = stream([{"x": samples(9).x}])
    table = seen(samples(9), found=compare(Network(), Network(0.5), data, metrics=()))
    assert set(table.keys) == set(data.identity.sketch)
