"""Sensitivity: every figure is that of a candidate measured by hand, and nothing measured is lost."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf, log10, nan

import matplotlib as mpl
import numpy as np
import onnx
import pytest

from quantlab.errors import InputError, UsageError
from quantlab.graph.model import load_model
from quantlab.graph.normalise import normalise
from quantlab.graph.patterns import WEIGHTED
from quantlab.graph.view import Graph, operator
from quantlab.plots.tuned import sensitivity
from quantlab.tuning.blocks import LARGEST, blocks, units
from quantlab.tuning.float_trials import EQUAL_DB, FloatTrial, Memory, decibels, noise
from quantlab.tuning.score import Score
from quantlab.tuning.sensitivity import CurvePoint, Sensitivity, SensitivityRow, measure_sensitivity
from tests.graph.nets import net, residual_net
from tests.tuning.nets import smooth
from tests.tuning.weak_place import COARSE, coarse, inputs, subject

mpl.use("Agg")


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    from matplotlib import pyplot as plt

    plt.close("all")


def test_each_row_is_what_its_two_candidates_score() -> None:
    scorer, candidate = subject(residual_net(), inputs(size=16))
    found = measure_sensitivity(scorer, candidate)
    names = [row.name for row in found.rows]
    full = scorer.score(candidate)
    assert len(names) == 5
    for row in found.rows:
        alone = scorer.score(candidate.with_floats(tuple(name for name in names if name != row.name)))
        without = scorer.score(candidate.with_floats((row.name,)))
        assert row.nodes == (row.name,)
        assert (row.alone_drop, row.without_drop) == (alone.drop, without.drop)
        assert row.alone_db == pytest.approx(alone.mean_sqnr_db)
        assert row.without_db == pytest.approx(without.mean_sqnr_db)
        assert row.gain_db == pytest.approx(without.mean_sqnr_db - full.mean_sqnr_db)
    assert found.full_db == pytest.approx(full.mean_sqnr_db)
    assert (found.samples, found.metric) == (24, full.metric)


def test_the_operator_behind_a_coarse_scale_comes_first() -> None:
    scorer, candidate = coarse()
    found = measure_sensitivity(scorer, candidate)
    assert found.rows[0].name == found.by_gain[0].name == COARSE
    assert found.rows[0].gain_db > 10
    assert found.curve[1].sqnr_db == found.rows[0].without_db


def test_the_curve_leaves_the_first_rows_float_together() -> None:
    scorer, candidate = coarse()
    found = measure_sensitivity(scorer, candidate)
    assert [point.rows for point in found.curve] == [0, 1, 2]
    for point in found.curve:
        kept = tuple(row.name for row in found.rows[: point.rows])
        assert point.sqnr_db == pytest.approx(scorer.score(candidate.with_floats(kept)).mean_sqnr_db)
        left = 1 - sum(row.share for row in found.rows[: point.rows])
        assert point.coverage == pytest.approx(left - 5 * 6 / (5 * 6 + 64 * (24 + 32 + 48 + 72)))


def test_multiply_accumulates_and_shares_are_those_of_the_network() -> None:
    scorer, candidate = coarse()
    rows = {row.name: row for row in measure_sensitivity(scorer, candidate).rows}
    macs = {name: 64 * count for name, count in (("Conv0", 24), ("Conv2", 32), ("Conv4", 48), ("Conv6", 72))}
    assert {name: row.macs for name, row in rows.items()} == macs
    assert sum(row.share for row in rows.values()) == pytest.approx(sum(macs.values()) / (sum(macs.values()) + 30))


def test_a_group_is_measured_as_one_and_others_stand_for_themselves() -> None:
    scorer, candidate = coarse()
    found = measure_sensitivity(scorer, candidate, groups={"both": ("Conv6", "Conv4", "Gemm10")})
    rows = {row.name: row for row in found.rows}
    assert rows.keys() == {"both", "Conv0", "Conv2"}
    assert rows["both"].nodes == ("Conv4", "Conv6")  # the head is not quantized
    expected = scorer.score(candidate.with_floats(("Conv4", "Conv6"))).mean_sqnr_db
    assert rows["both"].without_db == pytest.approx(expected)


def test_a_large_network_is_measured_by_block() -> None:
    count = 66
    body = " \n ".join(f"t{i + 1} = Conv(t{i}, w)" for i in range(count))
    proto = net(f"g (float[N,2,2,2] t0) => (float[N,2,2,2] t{count}) {{ {body} }}", w=(2, 2, 1, 1))
    proto.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.eye(2, dtype="f")[:, :, None, None], "w"))
    for i, node in enumerate(proto.graph.node):
        node.name = f"/layer.{i // 6}/conv{i}"
    scorer, candidate = subject(proto, {"t0": smooth(4, channels=2, size=2)})
    found = measure_sensitivity(scorer, candidate)
    assert {row.name for row in found.rows} == {f"/layer.{i}" for i in range(11)}
    assert sum(len(row.nodes) for row in found.rows) == count - 1


def test_operators_that_stay_float_by_wish_stay_so_and_get_no_row() -> None:
    scorer, candidate = coarse()
    found = measure_sensitivity(scorer, candidate.with_floats((COARSE,)))
    assert COARSE not in {row.name for row in found.rows}
    assert found.full_db == pytest.approx(scorer.score(candidate.with_floats((COARSE,))).mean_sqnr_db)


def test_fewer_samples_are_those_of_the_scorer_cut_down() -> None:
    scorer, candidate = coarse()
    assert measure_sensitivity(scorer, candidate, samples=8) == measure_sensitivity(scorer.first(8), candidate)


def test_an_interrupted_measurement_goes_on_and_ends_the_same() -> None:
    scorer, candidate = coarse()
    kept: dict[str, Score] = {}

    def stop(trial: FloatTrial) -> None:
        kept[trial.key] = trial.score
        if len(kept) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure_sensitivity(scorer, candidate, memory=Memory(on_trial=stop))
    later: list[FloatTrial] = []
    resumed = measure_sensitivity(scorer, candidate, memory=Memory(kept, later.append))
    every: list[FloatTrial] = []
    assert resumed == measure_sensitivity(scorer, candidate, memory=Memory(on_trial=every.append))
    assert {trial.key for trial in later}.isdisjoint(kept)
    assert {trial.key for trial in later} | kept.keys() == {trial.key for trial in every}


def test_what_other_samples_gave_is_not_taken_for_known() -> None:
    scorer, candidate = coarse()
    first: list[FloatTrial] = []
    measure_sensitivity(scorer, candidate, samples=8, memory=Memory(on_trial=first.append))
    second: list[FloatTrial] = []
    known = {trial.key: trial.score for trial in first}
    measure_sensitivity(scorer, candidate, samples=16, memory=Memory(known, second.append))
    assert len(second) == len(first)


def test_progress_ends_at_its_total() -> None:
    scorer, candidate = coarse()
    told: list[tuple[int, int]] = []
    measure_sensitivity(scorer, candidate, progress=lambda done, total: told.append((done, total)))
    assert told == [(i + 1, 11) for i in range(11)]


def test_json_gives_the_same_value_back() -> None:
    scorer, candidate = coarse()
    found = measure_sensitivity(scorer, candidate)
    assert Sensitivity.from_json(found.to_json()) == found
    with pytest.raises(InputError, match=r"rows\.0\.share"):
        Sensitivity.from_json(found.to_json() | {"rows": [found.to_json()["rows"][0] | {"share": "much"}]})


def test_the_frame_and_the_drawing_show_the_rows_in_order() -> None:
    scorer, candidate = coarse()
    found = measure_sensitivity(scorer, candidate)
    frame = found.frame()
    assert list(frame["name"]) == [row.name for row in found.rows]
    assert frame["noise_share"][0] == pytest.approx(10 ** ((found.full_db - found.rows[0].alone_db) / 10))
    assert list(found.curve_frame()["rows"]) == [0, 1, 2]
    axes = sensitivity(found)
    assert [label.get_text() for label in axes.get_yticklabels()] == list(frame["name"])
    assert axes.patches[0].get_width() == pytest.approx(100 * frame["noise_share"][0])  # type: ignore[attr-defined]


def test_an_operator_that_is_the_only_one_is_measured_against_the_float_network() -> None:
    proto = net(
        "g (float[N,3,4,4] x) => (float[N,2,4,4] y) { a = Conv(x, w) \n y = Conv(a, v) }",
        w=(3, 3, 1, 1),
        v=(2, 3, 1, 1),
    )
    scorer, candidate = subject(proto, inputs(size=4))
    (row,) = measure_sensitivity(scorer, candidate).rows
    assert (row.name, row.without_db) == ("Conv0", EQUAL_DB)


def test_wrong_questions_are_refused() -> None:
    scorer, candidate = coarse()
    with pytest.raises(UsageError, match="at least one sample"):
        measure_sensitivity(scorer, candidate, samples=0)
    with pytest.raises(UsageError, match="«Conv4» is in two groups"):
        measure_sensitivity(scorer, candidate, groups={"a": ("Conv4",), "b": ("Conv4",)})
    with pytest.raises(UsageError, match="«Conv0» has the name of an operator"):
        measure_sensitivity(scorer, candidate, groups={"Conv0": ("Conv4",)})


def test_noise_is_averaged_over_outputs_as_power() -> None:
    assert noise(Score(1, {"a": 20.0, "b": inf})) == pytest.approx(0.005)
    assert decibels(Score(1, {"a": 20.0, "b": 30.0})) == pytest.approx(-10 * log10(0.0055))
    assert decibels(Score(1, {"a": inf})) == EQUAL_DB
    assert decibels(Score(1, {"a": -inf})) == -EQUAL_DB
    with pytest.raises(InputError, match="no value"):
        noise(Score(1, {"a": 20.0, "b": nan}))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["/stem/conv", "/a/a.0/x", "/a/a.0/y", "/a/a.1/x"], ["/stem", "/a", "/a", "/a"]),
        ([f"/a/a.{i // 4}/c{i}" for i in range(12)], [f"/a/a.{i // 4}" for i in range(12)]),
        ([f"m.{i // 5}.c{i}" for i in range(15)], [f"m.{i // 5}" for i in range(15)]),
    ],
)
def test_blocks_are_the_shortest_prefixes_of_at_most_eight(names: list[str], expected: list[str]) -> None:
    body = " \n ".join(f"t{i + 1} = Conv(t{i}, w)" for i in range(len(names)))
    proto = net(f"g (float[N,2,4,4] t0) => (float[N,2,4,4] t{len(names)}) {{ {body} }}", w=(2, 2, 1, 1))
    for node, name in zip(proto.graph.node, names, strict=True):
        node.name = name
    wanted: dict[str, list[str]] = {}
    for title, name in zip(expected, names, strict=True):
        wanted.setdefault(title, []).append(name)
    assert blocks(load_model(proto)) == {title: tuple(members) for title, members in wanted.items()}


def test_without_telling_names_a_residual_block_stays_whole() -> None:
    model = normalise(load_model(residual_net())).model
    found = list(blocks(model).values())
    graph = Graph(model.proto)
    assert [name for block in found for name in block] == [n.name for n in graph.nodes if operator(n) in WEIGHTED]
    assert any({"Conv3", "Conv5"} <= set(block) for block in found)
    assert max(map(len, found)) <= LARGEST


def test_a_stretch_without_a_cut_is_divided_by_eight() -> None:
    body = " \n ".join(f"t{i + 1} = Conv(t{i}, w)" for i in range(19))
    text = f"g (float[N,2,4,4] t0) => (float[N,2,4,4] y) {{ {body} \n y = Add(t19, t0) }}"
    found = blocks(load_model(net(text, w=(2, 2, 1, 1))))
    assert [len(block) for block in found.values()] == [8, 8, 3]
    assert next(iter(found)) == "Conv0 … Conv7"


def test_blocks_are_as_small_as_asked() -> None:
    names = [f"/l.{i}/{part}" for i in range(3) for part in ("a/q", "a/k", "a/v", "up", "down")]
    body = " \n ".join(f"t{i + 1} = Conv(t{i}, w)" for i in range(len(names)))
    proto = net(f"g (float[N,2,4,4] t0) => (float[N,2,4,4] t{len(names)}) {{ {body} }}", w=(2, 2, 1, 1))
    for node, name in zip(proto.graph.node, names, strict=True):
        node.name = name
    found = blocks(load_model(proto), largest=3)
    assert list(found)[:3] == ["/l.0/a", "/l.0/up", "/l.0/down"]
    assert [len(block) for block in found.values()] == [3, 1, 1] * 3
    assert [len(block) for block in blocks(load_model(proto), largest=5).values()] == [5] * 3


def test_units_hold_each_operator_once() -> None:
    assert units(["a", "b", "c"], {"p": ["c", "a", "z"]}) == {"p": ("a", "c"), "b": ("b",)}
    assert units(["a", "b"], None) == {"a": ("a",), "b": ("b",)}


def test_where_multiply_accumulates_are_unknown_the_middle_row_stands_for_them() -> None:
    known = [SensitivityRow(name, (name,), 100, share, 30.0, 21.0, 1.0) for name, share in (("a", 0.1), ("c", 0.5))]
    unknown = SensitivityRow("b", ("b",), None, 0.0, 30.0, 21.0, 1.0)
    free = SensitivityRow("z", ("z",), 0, 0.0, 30.0, 21.0, 1.0)
    found = Sensitivity((*known, unknown, free), (CurvePoint(0, 0, 0.9, 20.0),), 8)
    assert [row.name for row in found.by_gain] == ["z", "a", "b", "c"]
    assert np.isnan(found.frame()["macs"]).tolist() == [False, False, True, False]
