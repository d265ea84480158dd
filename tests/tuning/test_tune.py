"""The whole search, on the network and images that ship and on small ones that are hard."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from math import isfinite
from typing import Any

import numpy as np
import pytest

from quantlab import engines
from quantlab.builder import QuantizeOptions
from quantlab.comparison.statistics import Interval
from quantlab.data.stream import stream
from quantlab.errors import UsageError
from quantlab.numerics.arrays import AnyArray, Tensors
from quantlab.tuning.target import Target
from quantlab.tuning.trial import COLUMNS, Trial
from quantlab.tuning.tune import RUNGS, TuneOptions, tune
from quantlab.tuning.tuned import Tuned
from tests.diagnosis.fashion import NETWORK, labels, pixels, prepared
from tests.tuning.nets import Rows, classes, classifier, matmul_net, smooth, spread_net, tokens

CHEAP = ("thresholds", "weights", "equalization", "bias correction")
OPTIONS = TuneOptions(rungs=CHEAP, walk_samples=16, ranking=16, threads=1)
SAMPLES = {"calibration": 100, "tuning": 300, "evaluation": 400}


@cache
def fashion(part: str) -> Rows:
    count = SAMPLES[part]
    return Rows({"image": prepared(pixels(count, part=part))}, 50, labels(count, part=part), part)


def fashionable(target: Target, **settings: Any) -> Tuned:
    return tune(
        NETWORK,
        fashion("calibration"),
        tuning=fashion("tuning"),
        evaluation=fashion("evaluation"),
        target=target,
        options=replace(OPTIONS, **settings),
    )


def small(target: Target, data: Rows | None = None, **settings: Any) -> Tuned:
    return tune(classifier(), data or classes(48), target=target, options=replace(OPTIONS, **settings))


def test_the_shipped_network_reaches_its_target() -> None:
    found = fashionable(Target(1.5))
    assert found.final is not None
    assert (found.final.samples, found.score.samples) == (400, 300)
    assert found.final.metric == "top-1"
    assert found.standing in ("holds", "likely")
    assert found.verdict.startswith("PTQ reaches ")
    assert "on 400 samples that chose nothing" in found.verdict
    provenance = found.table.provenance
    assert provenance is not None
    assert [used.name for used in provenance.chosen_on] == ["calibration", "tuning"]


def test_a_last_word_on_too_few_samples_is_undecided_and_not_missed() -> None:
    found = fashionable(Target(1.5))
    assert found.final is not None
    wide = replace(found.final, drop=2.0, drop_interval=Interval(-1.0, 5.0))
    clear = replace(found.final, drop=4.0, drop_interval=Interval(2.5, 5.5))
    told = [replace(found, final=final) for final in (wide, clear)]
    assert [each.standing for each in told] == ["undecided", "misses"]
    assert [("it is undecided" in each.verdict) for each in told] == [True, False]
    assert told[0].to_json()["standing"] == "undecided"
    missed = replace(told[0], score=replace(found.score, drop=9.0, drop_interval=Interval(8.0, 10.0)))
    assert missed.standing == "misses"


def test_the_final_score_is_that_of_the_model_it_returns() -> None:
    found = fashionable(Target(None, min_sqnr_db=99.0), rungs=("thresholds",), samples=60)
    data = fashion("evaluation")
    with found.candidate.engine(1) as int8, engines.ort(NETWORK, threads=1) as fp32:
        answers = [next(iter(engine.run(data.inputs).values())).argmax(axis=1) for engine in (fp32, int8)]
    shares = [(each == data.labels).mean() for each in answers]
    assert found.final is not None
    assert found.final.drop == pytest.approx(100 * (shares[0] - shares[1]))
    assert found.final.agreement == pytest.approx((answers[0] == answers[1]).mean())
    assert found.quantized().model.digest == found.candidate.quantized().model.digest


def test_rungs_raise_the_best_and_a_target_that_is_out_of_reach_is_missed() -> None:
    found = small(Target(None, min_sqnr_db=99.0))
    best = [trial.best_db for trial in found.trials if trial.score is not None]
    assert best == sorted(best)
    assert best[-1] > best[0] + 3
    assert found.standing == "misses"
    assert found.verdict.endswith("is missed. QAT is worth it: start from these ranges and weights.")
    assert {trial.rung for trial in found.trials} == set(CHEAP)


def test_a_target_that_holds_at_once_ends_the_search() -> None:
    found = small(Target(None, min_sqnr_db=10.0), modes=False)
    assert len(found.trials) == 1
    assert found.standing == "holds"
    assert found.final is None
    assert "on 48 samples that it was chosen on: what was asked (SQNR ≥ 10 dB) holds." in found.verdict


def test_so_few_samples_cannot_show_it_and_the_verdict_says_how_many_could() -> None:
    found = small(Target(0.5))
    assert found.standing == "likely"
    assert "but not shown at 95%; so few samples cannot show it: " in found.verdict
    assert found.score.drop_interval is not None
    assert found.score.drop_interval.high > 0.5


def test_operators_stay_float_by_wish_through_all_rungs() -> None:
    options = QuantizeOptions(keep_float=("n4",))
    found = small(Target(None, min_sqnr_db=99.0), quantize=options)
    assert found.candidate.options.keep_float == ("n4",)
    assert "n4" in found.quantized().floats
    assert {trial.floats for trial in found.trials if trial.score is not None} == {1}
    assert "with 1 operator in FP16 or FP32" in found.verdict
    with pytest.raises(UsageError, match="«relu6» is no weighted operator"):
        small(Target(1.0), quantize=replace(options, keep_float=("relu6",)))


def test_without_labels_changed_classes_count() -> None:
    data = replace(classes(60), labels=None)
    found = small(Target(50.0), data)
    assert found.score.metric == "other class"
    assert "points changed" in found.verdict
    assert small(Target(50.0), classes(60), metrics=()).score.metric == "other class"


def closeness(exact: Tensors, int8: Tensors) -> AnyArray:
    x, y = exact["y"], int8["y"]
    axes = tuple(range(1, x.ndim))
    return np.asarray(1 - np.abs(x - y).sum(axis=axes) / np.abs(x).sum(axis=axes))


def test_a_comparison_of_one_s_own_is_a_target() -> None:
    options = replace(OPTIONS, fidelity=closeness)
    found = tune(matmul_net(), tokens(), target=Target(None, min_fidelity=0.8), options=options)
    assert found.standing == "holds"
    assert found.score.fidelity is not None
    assert 0.8 <= found.score.fidelity < 1
    assert "what was asked (fidelity ≥ 0.8) holds." in found.verdict


def test_a_drop_that_cannot_be_measured_is_not_claimed_beside_what_can() -> None:
    found = tune(matmul_net(), tokens(), target=Target(0.5, min_sqnr_db=10.0), options=OPTIONS)
    assert found.standing == "holds"
    assert "what was asked (SQNR ≥ 10 dB) holds." in found.verdict


def test_a_fixed_batch_is_searched_like_a_free_one() -> None:
    data, options = classes(42), replace(OPTIONS, ranking=64)  # 42 is no multiple of 8
    target = Target(None, min_sqnr_db=99.0)
    fixed = tune(classifier(batch=8), data, target=target, options=options)
    free = tune(classifier(), data, target=target, options=options)
    assert fixed.score.samples == free.score.samples == 42
    assert [trial.key for trial in fixed.trials] == [trial.key for trial in free.trials]
    assert fixed.score.mean_sqnr_db == pytest.approx(free.score.mean_sqnr_db, abs=0.5)
    assert fixed.score.drop == pytest.approx(free.score.drop, abs=3)


def test_other_modes_are_measured_and_never_kept() -> None:
    found = small(Target(None, min_sqnr_db=10.0), modes=True)
    others = [trial for trial in found.trials if trial.rung == "other modes"]
    assert [trial.label for trial in others] == ["weights INT8", "weights INT4, blocks of 32", "dynamic"]
    assert all(trial.score is not None for trial in others)
    assert not any(trial.kept for trial in others)
    assert found.candidate.quantized().floats == small(Target(None, min_sqnr_db=10.0)).quantized().floats


def test_onnx_runtime_is_a_target_too() -> None:
    found = small(Target(None, min_sqnr_db=99.0), quantize=QuantizeOptions(target="ort"))
    assert found.score.mean_sqnr_db > 15
    assert all(isfinite(choice.amax) for choice in found.choices)


@pytest.fixture(scope="module")
def spread() -> Tuned:
    data = Rows({"x": smooth(32, size=8)}, 16)
    return tune(spread_net(), data, target=Target(None, min_sqnr_db=99.0), options=replace(OPTIONS, modes=True))


def test_the_outcome_is_json(spread: Tuned) -> None:
    found = json.loads(json.dumps(spread.to_json(), allow_nan=False))
    assert (found["schema"], found["verdict"], found["standing"]) == ("quantlab-tuned", spread.verdict, "misses")
    assert len(found["trials"]) == len(spread.trials)
    assert len(found["choices"]) == len(spread.choices) == 2
    assert found["final"] is None
    assert found["score"]["sqnr_db"]["y"] == pytest.approx(spread.score.worst_sqnr_db)


def test_the_outcome_is_a_table_in_which_names_are_text(spread: Tuned) -> None:
    named = replace(spread, trials=(*spread.trials, Trial("r", "<script>alert(1)</script>", "a & b")))
    html = named._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert "a &amp; b" in html
    frame = named.frame()
    assert list(frame.columns) == list(COLUMNS)
    assert len(frame) == len(named.trials)
    assert set(spread.choices_frame()["tensor"]) == {
        row.tensor for row in spread.table.rows if row.role == "activation"
    }


def test_batches_in_memory_and_streams_will_do() -> None:
    batches = list(tokens())
    for data in (batches, stream(batches), [dict(batch) for batch in batches]):
        found = tune(matmul_net(), data, target=Target(None, min_sqnr_db=10.0), options=OPTIONS)
        assert found.score.samples == 24


def test_every_rung_can_be_climbed() -> None:
    data = tokens(16)
    seen: list[str] = []
    options = replace(
        OPTIONS, rungs=tuple(RUNGS), watch=lambda what, _done, _total: seen.append(what), walk_samples=8, ranking=8
    )
    found = tune(matmul_net(), data, target=Target(None, min_sqnr_db=99.0), options=options)
    assert {trial.rung for trial in found.trials} >= set(RUNGS)
    assert "histograms of the calibration samples" in seen
    assert "walk through the network" in seen
