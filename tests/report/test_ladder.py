"""The ladder: which rungs there are, what each gains, and how each stands to the limit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlab.comparison.statistics import Interval
from quantlab.errors import InputError
from quantlab.report.build import build
from quantlab.report.ladder import climb, standing_of
from quantlab.report.page import render
from quantlab.report.report_score import MethodRow, Score
from quantlab.report.run_folder import read_run
from quantlab.report.searched import Search, Training, read_search, read_training
from quantlab.storage.histograms_h5 import write_histograms
from quantlab.storage.scale_table_json import write_scale_table
from quantlab.tuning.score import Score as TuningScore
from quantlab.tuning.target import Target
from tests.report.html_tree import parse
from tests.report.runs import METHODS, comparison, metric, parts
from tests.report.test_run_folder import write_comparison

points = st.floats(-5, 5).map(lambda value: round(value, 2))


def scored(drop: float, reach: float = 0.3, **known: Any) -> dict[str, Any]:
    interval = {"low": drop - reach, "high": drop + reach, "level": 0.95}
    fields = {"samples": 500, "sqnr_db": {"logits": 20.0}, "agreement": 0.99, "metric": "top-1", "drop": drop}
    return fields | {"drop_interval": interval, "fp32": 0.9, "seconds": 1.0} | known


def trial(rung: str, drop: float | None, **known: Any) -> dict[str, Any]:
    score = None if drop is None else scored(drop)
    fields = {"rung": rung, "label": "one", "change": f"what {rung} does", "score": score, "kept": True, "seconds": 2.0}
    return fields | known


def search(*trials: dict[str, Any], **known: Any) -> dict[str, Any]:
    fields = {
        "schema": "quantlab-tuned", "version": 1, "verdict": "PTQ reaches it.", "standing": "holds",
        "target": {"max_drop": 0.5, "confidence": 0.95}, "score": scored(0.1), "final": scored(0.05, 0.1, samples=900),
        "trials": list(trials),
    }  # fmt: skip
    return fields | known


def training(**known: Any) -> dict[str, Any]:
    def rung(name: str, drop: float, standing: str) -> dict[str, Any]:
        interval = {"low": drop - 1, "high": drop + 1, "level": 0.95}
        fields = {
            "rung": name,
            "model": f"{name.lower()}.qdq.onnx",
            "standing": standing,
            "metric": "top-1",
            "fp32": 0.9,
        }
        return fields | {"points_lost": drop, "interval": interval, "sqnr_db": None, "samples": 400, "seconds": 61.0}

    fields = {
        "schema": "quantlab-training", "version": 1, "verdict": "QAT loses 0.20 points.", "standing": "likely",
        "best": "QAT", "target": {"max_drop": 0.5}, "rungs": [rung("PTQ", 3.0, "misses"), rung("QAT", 0.2, "likely")],
    }  # fmt: skip
    return fields | known


def parsed(value: dict[str, Any]) -> Search:
    return Search.model_validate(value)


def test_methods_and_the_result_are_rungs_and_none_of_them_gains_on_another_set() -> None:
    found = build(parts()).ladder
    assert found is not None
    assert [rung.name for rung in found.rungs] == ["FP32", *METHODS, "Result"]
    assert [rung.result for rung in found.rungs] == [False] * 4 + [True]
    assert [rung.gain for rung in found.rungs] == [None] * 5
    assert found.rungs[-1].drop == pytest.approx(0.12)
    assert found.limit == 0.5


def test_a_metric_in_its_own_unit_is_held_against_no_limit_in_points() -> None:
    own = replace(metric(0.003, 0.001, "perplexity"), unit="")
    found = climb(
        (), Score.of("m", comparison(metrics=(own,))), limit=0.5, search=parsed(search(trial("rounding", 0.2)))
    )
    assert found is not None
    result = next(rung for rung in found.rungs if rung.name == "Result")
    assert (result.metric, result.drop, result.interval, result.standing) == ("perplexity", None, None, "")


def test_one_way_alone_is_no_ladder() -> None:
    assert climb((), Score.of("m", comparison())) is None
    assert climb((), None) is None


def test_each_rung_of_a_search_has_its_last_kept_trial_the_time_of_all_and_the_gain() -> None:
    trials = (
        trial("thresholds", 2.0),
        trial("rounding", 1.5, kept=False),
        trial("rounding", 1.2, label="two"),
        trial("mixed", None, kept=False, note="no gain was likely"),
    )
    found = climb((), None, search=parsed(search(*trials)))
    assert found is not None
    base, first, second, third, last = found.rungs
    assert (base.kind, base.drop) == ("float", 0.0)
    assert (first.name, first.drop, first.gain, first.seconds) == ("tuned: thresholds", 2.0, None, 2.0)
    assert (second.drop, second.seconds) == (1.2, 4.0)
    assert second.gain == pytest.approx(0.8)
    assert (third.detail, third.drop, third.samples) == ("no gain was likely", None, 0)
    assert (last.where, last.result, last.gain) == ("evaluation samples", True, None)
    assert found.sentences == ("PTQ reaches it.",)


def test_what_a_rung_kept_nothing_of_is_said() -> None:
    found = climb(
        (), None, search=parsed(search(trial("rounding", 1.5, kept=False), trial("rounding", 1.4, kept=False)))
    )
    assert found is not None
    assert found.rungs[1].detail == "nothing kept of 2; best: what rounding does"


def test_the_best_rung_of_a_training_is_the_result_and_gains_on_the_one_before() -> None:
    found = climb((), None, training=Training.model_validate(training()), coverages={"qat.qdq.onnx": 0.9})
    assert found is not None
    assert [(rung.name, rung.result, rung.coverage) for rung in found.rungs[1:]] == [
        ("PTQ", False, None), ("QAT", True, 0.9),
    ]  # fmt: skip
    assert found.rungs[2].gain == pytest.approx(2.8)
    assert found.better is None


def test_a_rung_that_keeps_the_limit_where_the_result_does_not_is_named_in_the_verdict() -> None:
    run = parts(final=comparison(metrics=(metric(3.0),)), training=Training.model_validate(training()))
    data = build(run)
    assert data.verdict.state == "fail"
    assert "«QAT» of the ladder keeps the limit" in data.verdict.reason
    assert "«QAT»" not in build(parts(training=Training.model_validate(training()))).verdict.reason


@given(points, st.floats(0, 3), st.floats(0, 3), st.floats(0, 3))
def test_a_rung_stands_to_the_limit_as_a_last_word_of_tuning_does(
    drop: float, down: float, up: float, limit: float
) -> None:
    interval = Interval(drop - down, drop + up, 0.95)
    score = TuningScore(100, {"logits": 20.0}, metric="top-1", drop=drop, drop_interval=interval)
    target = Target(limit)
    expected = "undecided" if target.undecided(score) else target.judged(score)
    assert standing_of(drop, interval, limit) == expected


def test_without_a_limit_no_rung_is_judged() -> None:
    rows = [MethodRow(name, "", False, 1, Score.of("m", comparison()), None) for name in "ab"]
    found = climb(rows, None)
    assert found is not None
    assert {rung.standing for rung in found.rungs} == {""}


def test_the_page_shows_chart_words_gain_and_cost() -> None:
    section = parse(render(build(parts(training=Training.model_validate(training()))))).one("section", id="ladder")
    rows = {row[0].split()[0]: row for row in section.one("table").rows()}
    assert rows["QAT"][2:] == ["0.20 (−0.80 … 1.20)", "2.80", "–", "–", "1.0 min", "likely, not shown"]
    assert rows["PTQ"][-1] == "misses"
    titles = [title.text for title in section.one("svg", class_="chart").all("title")]
    assert "QAT: 0.20 points lost on 400 samples of «evaluation»" in titles


def test_a_rung_that_loses_far_more_than_all_others_does_not_flatten_them() -> None:
    rungs = training()
    rungs["rungs"][0]["points_lost"], rungs["rungs"][0]["interval"] = 90.0, {"low": 80.0, "high": 95.0, "level": 0.95}
    section = parse(render(build(parts(training=Training.model_validate(rungs))))).one("section", id="ladder")
    assert "90.00 →" in [text.text for text in section.all("text")]
    places = [float(mark.attributes["cx"] or 0) for mark in section.one("svg", class_="chart").all("circle")]
    assert max(places) <= 1080
    assert len(set(places)) > 3


def test_a_tune_folder_is_reported(tmp_path: Path) -> None:
    run = parts()
    write_scale_table(tmp_path / "scales.json", run.tables["squared-error"])
    (tmp_path / "tune.json").write_text(json.dumps(search(trial("thresholds", 0.1))), encoding="utf-8")
    data = read_run(tmp_path)
    assert (data.verdict.state, data.verdict.reason) == ("pass", "PTQ reaches it.")
    assert "INT8 has 89.95 % top-1, FP32 90.00 %" in data.verdict.headline
    assert data.ladder is not None
    assert [rung.name for rung in data.ladder.rungs] == ["FP32", "tuned: thresholds", "tuned PTQ, last word"]
    assert len(data.tensors) == 3


@pytest.mark.parametrize(
    ("standing", "state"), [("holds", "pass"), ("likely", "warn"), ("undecided", "warn"), ("misses", "fail")]
)
def test_a_search_is_judged_by_its_own_standing(tmp_path: Path, standing: str, state: str) -> None:
    document = search(trial("thresholds", 0.1), standing=standing)
    (tmp_path / "tune.json").write_text(json.dumps(document), encoding="utf-8")
    assert read_run(tmp_path).verdict.state == state


def test_a_search_without_a_last_word_never_passes(tmp_path: Path) -> None:
    (tmp_path / "tune.json").write_text(json.dumps(search(trial("thresholds", 0.1), final=None)), encoding="utf-8")
    assert read_run(tmp_path).verdict.state == "warn"


def test_a_qat_folder_is_reported_on_its_best_rung(tmp_path: Path) -> None:
    run = parts()
    assert run.histograms is not None
    write_histograms(tmp_path / "histograms.h5", run.histograms)
    write_scale_table(tmp_path / "scales.json", run.tables["minmax"])
    write_scale_table(tmp_path / "qat.scales.json", run.tables["squared-error"])
    write_comparison(tmp_path / "compare.ptq.json", comparison(metrics=(metric(3.0),)))
    write_comparison(tmp_path / "compare.qat.json", comparison(metrics=(metric(0.2, 0.1),)))
    (tmp_path / "report.json").write_text(json.dumps(training()), encoding="utf-8")
    data = read_run(tmp_path)
    assert data.score is not None
    assert data.score.main is not None
    assert data.score.main.drop == 0.2
    assert (data.verdict.state, [row.name for row in data.methods]) == ("pass", ["QAT"])
    assert data.ladder is not None
    assert [rung.result for rung in data.ladder.rungs] == [False, False, True]


def test_a_run_finds_its_training_and_its_search_in_folders_inside(tmp_path: Path) -> None:
    write_comparison(tmp_path / "compare.json", comparison())
    for name, value in (("qat/report.json", training()), ("tuned/tune.json", search(trial("thresholds", 0.1)))):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(json.dumps(value), encoding="utf-8")
    ladder = read_run(tmp_path).ladder
    assert ladder is not None
    assert [rung.name for rung in ladder.rungs] == [
        "FP32", "Result", "tuned: thresholds", "tuned PTQ, last word", "PTQ", "QAT",
    ]  # fmt: skip
    assert [rung.name for rung in ladder.rungs if rung.result] == ["Result"]


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": "quantlab-tuned", "version": 1}', '{"schema": "other"}'])
def test_a_damaged_search_or_training_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tune.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"tune\.json"):
        read_search(path)
    with pytest.raises(InputError, match=r"tune\.json"):
        read_training(path)
