"""A search that was stopped goes on where it was, and nothing else is taken for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantlab.builder import QuantizeOptions
from quantlab.calibration.weight_methods import MaxAbs, SquaredErrorWeights
from quantlab.errors import InputError, MachineError, QuantlabError, StaleError
from quantlab.metrics.top_k import TopK
from quantlab.numerics.arrays import AnyArray, Tensors
from quantlab.tuning.candidate import Candidate
from quantlab.tuning.journal import FILE, Journal
from quantlab.tuning.score import Score
from quantlab.tuning.target import Target
from quantlab.tuning.trial import Trial
from quantlab.tuning.tune import RUNGS as EVERY
from quantlab.tuning.tune import TuneOptions, tune
from quantlab.tuning.tuned import Tuned
from tests.tuning.nets import Rows, candidate_of, classes, classifier, matmul_net

DATA, TUNING = classes(48, seed=1), classes(40, seed=2, name="others")
RUNGS = ("thresholds", "weights", "equalization", "bias correction", "adaptive rounding")
OPTIONS = TuneOptions(rungs=RUNGS, walk_samples=16, ranking=16, threads=1)
ALL = Target(None, min_sqnr_db=99.0)


def searched(folder: Path, **settings: Any) -> Tuned:
    target = settings.pop("target", ALL)
    return tune(classifier(), DATA, tuning=TUNING, target=target, options=replace(OPTIONS, folder=folder, **settings))


class Stopped:
    """Ctrl-C after so many trials."""

    def __init__(self, after: int) -> None:
        self.left = after

    def __call__(self, _trial: Trial) -> None:
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def stop(folder: Path, after: int, **settings: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        searched(folder, on_trial=Stopped(after), **settings)


def timeless(trials: tuple[Trial, ...]) -> list[str]:
    return [
        repr(
            replace(
                trial,
                seconds=0,
                score=replace(trial.score, seconds=0) if trial.score else None,
                stages=tuple(replace(score, seconds=0) for score in trial.stages),
            )
        )
        for trial in trials
    ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Tuned:
    return searched(tmp_path_factory.mktemp("whole") / "search")


def test_a_folder_changes_nothing(whole: Tuned) -> None:
    without = tune(classifier(), DATA, tuning=TUNING, target=ALL, options=OPTIONS)
    assert timeless(without.trials) == timeless(whole.trials)
    assert without.quantized().model.digest == whole.quantized().model.digest


@pytest.mark.parametrize("share", [0.0, 0.4, 0.75, 1.0])
def test_stopped_anywhere_it_ends_with_the_same_table_and_model(whole: Tuned, tmp_path: Path, share: float) -> None:
    stop(tmp_path, max(1, round(share * len(whole.trials))))
    found = searched(tmp_path)
    assert timeless(found.trials) == timeless(whole.trials)
    assert found.quantized().model.proto.SerializeToString() == whole.quantized().model.proto.SerializeToString()
    assert found.table == whole.table
    assert found.candidate.model.digest == whole.candidate.model.digest
    assert found.candidate.start.digest == whole.candidate.start.digest
    assert found.choices == whole.choices


def test_stopped_again_and_again_no_trial_runs_twice(whole: Tuned, tmp_path: Path) -> None:
    seconds: dict[tuple[str, str], float] = {}
    for after in (3, 9, 14):
        stop(tmp_path, after)
        for trial in json.loads((tmp_path / FILE).read_text(encoding="utf-8"))["trials"]:
            assert seconds.setdefault((trial["rung"], trial["label"]), trial["seconds"]) == trial["seconds"]
    assert len(seconds) == 14
    assert timeless(searched(tmp_path).trials) == timeless(whole.trials)


def test_each_trial_has_a_key_of_its_own(whole: Tuned) -> None:
    assert len({trial.key for trial in whole.trials}) == len(whole.trials)
    assert {trial.rung for trial in whole.trials if trial.kept} == {"thresholds", "weights", "bias correction"}


def tokens(folder: Path | None, **settings: Any) -> Tuned:
    """Climb every rung, and measure the other modes."""
    data = Rows({"x": np.random.default_rng(0).normal(size=(16, 6, 12)).astype("f")}, 16)
    options = TuneOptions(walk_samples=8, ranking=8, threads=1, modes=True, folder=folder, **settings)
    return tune(matmul_net(), data, target=ALL, options=options)


def test_every_rung_goes_on_where_it_was(tmp_path: Path) -> None:
    found = tokens(None)
    assert {trial.rung for trial in found.trials} == {*EVERY, "sensitivity", "other modes"}
    for share in (0.5, 0.8, 0.99):
        with pytest.raises(KeyboardInterrupt):
            tokens(tmp_path, on_trial=Stopped(int(share * len(found.trials))))
    again = tokens(tmp_path)
    assert timeless(again.trials) == timeless(found.trials)
    assert again.quantized().model.proto.SerializeToString() == found.quantized().model.proto.SerializeToString()
    assert (again.table, again.sensitivity) == (found.table, found.sensitivity)
    assert again.mixed is not None
    assert found.mixed is not None
    assert again.mixed.front == found.mixed.front


def alike(exact: Tensors, int8: Tensors) -> AnyArray:
    return -abs(exact["logits"] - int8["logits"]).sum(axis=1)


def like(exact: Tensors, int8: Tensors) -> AnyArray:
    return -abs(exact["logits"] - int8["logits"]).max(axis=1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"target": replace(ALL, confidence=0.9)}, "confidence"),
        ({"rungs": ("thresholds",)}, "rungs"),
        ({"samples": 30}, "samples"),
        ({"walk_samples": 8}, "samples"),
        ({"metrics": ()}, "metrics"),
        ({"metrics": (TopK(2),)}, "metrics"),
        ({"fidelity": alike}, "fidelity"),
        ({"quantize": QuantizeOptions(target="tensorrt@8.6")}, "options"),
        ({"quantize": QuantizeOptions(keep_float=("n4",))}, "options"),
        ({"quantize": QuantizeOptions(weight_method=SquaredErrorWeights())}, "options"),
    ],
)
def test_another_search_in_the_folder_is_told_apart(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    stop(tmp_path, 1)
    with pytest.raises(StaleError, match=f"of another search \\(.*{words}.* changed\\): search anew with --force"):
        searched(tmp_path, **change)


def test_other_labels_and_another_comparison_are_another_search(tmp_path: Path) -> None:
    stop(tmp_path, 1, fidelity=alike)
    with pytest.raises(StaleError, match="fidelity"):
        searched(tmp_path, fidelity=like)
    other = replace(TUNING, labels=DATA.labels[: len(TUNING)] if DATA.labels is not None else None)
    options = replace(OPTIONS, folder=tmp_path, fidelity=alike)
    with pytest.raises(StaleError, match="labels"):
        tune(classifier(), DATA, tuning=other, target=ALL, options=options)


def test_another_model_or_other_data_are_another_search(tmp_path: Path) -> None:
    stop(tmp_path, 1)
    options = replace(OPTIONS, folder=tmp_path)
    with pytest.raises(StaleError, match="model"):
        tune(classifier(seed=5), DATA, tuning=TUNING, target=ALL, options=options)
    with pytest.raises(StaleError, match="data"):
        tune(classifier(), classes(48, seed=7), tuning=TUNING, target=ALL, options=options)


def test_another_target_goes_on_with_what_was_measured(whole: Tuned, tmp_path: Path) -> None:
    easy = searched(tmp_path, target=Target(None, min_sqnr_db=10.0))
    assert len(easy.trials) < len(whole.trials)
    assert timeless(searched(tmp_path).trials) == timeless(whole.trials)
    again = searched(tmp_path, target=Target(None, min_sqnr_db=10.0))
    assert timeless(again.trials) == timeless(easy.trials)
    assert again.standing == easy.standing == "holds"


def test_what_was_far_from_one_target_is_measured_on_all_samples_for_another(tmp_path: Path) -> None:
    data = classes(48, seed=3)
    options = replace(OPTIONS, folder=tmp_path, ranking=6, rungs=("thresholds",))
    hard, easy = (
        tune(classifier(), data, target=target, options=options) for target in (ALL, Target(None, min_sqnr_db=10.0))
    )
    assert {trial.score.samples for trial in hard.trials if trial.kept and trial.score} == {12}
    assert (hard.trials[-1].rung, hard.score.samples, easy.score.samples) == ("all samples", 48, 48)
    assert hard.standing == "misses"
    assert (easy.standing, len(easy.trials)) == ("holds", 2)


def test_a_fresh_search_forgets_the_other(whole: Tuned, tmp_path: Path) -> None:
    stop(tmp_path, 3, rungs=("thresholds", "weights"))
    assert timeless(searched(tmp_path, fresh=True).trials) == timeless(whole.trials)
    assert timeless(searched(tmp_path).trials) == timeless(whole.trials)


def test_a_search_that_tried_nothing_stands_in_no_other_s_way(tmp_path: Path) -> None:
    Journal(tmp_path, {"target": 1}, QuantizeOptions())
    assert Journal(tmp_path, {"target": 2}, QuantizeOptions()).known("thresholds", "min-max") is None


def edited(change: Callable[[Any], Any]) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        path.write_text(json.dumps(change(json.loads(path.read_text(encoding="utf-8")))), encoding="utf-8")

    return edit


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


@pytest.mark.parametrize(
    ("damage", "kind", "words"),
    [
        (cut, InputError, "cannot be read"),
        (lambda path: path.write_bytes(b"\xff\xfe"), InputError, "cannot be read"),
        (edited(lambda _document: []), InputError, "cannot be read"),
        (edited(lambda document: {**document, "trials": [{"rung": 3}]}), InputError, "cannot be read"),
        (edited(lambda document: {**document, "kept": [{}]}), InputError, "cannot be read"),
        (edited(lambda document: {k: v for k, v in document.items() if k != "asked"}), InputError, "cannot be read"),
        (edited(lambda document: {**document, "version": 0}), StaleError, "another version of quantlab"),
        (edited(lambda document: {**document, "kept": []}), StaleError, "What «thresholds: squared error» made cannot"),
    ],
)
def test_a_damaged_journal_is_a_sentence(
    tmp_path: Path, damage: Callable[[Path], None], kind: type[QuantlabError], words: str
) -> None:
    stop(tmp_path, 2)
    damage(tmp_path / FILE)
    with pytest.raises(kind, match=words) as error:
        searched(tmp_path)
    assert "--force" in str(error.value)


@pytest.mark.parametrize(
    ("file", "content"),
    [("0.onnx", None), ("0.onnx", b"\x08\x08garbage"), ("0.scales.json", None), ("0.scales.json", b"{}")],
)
def test_a_candidate_whose_files_are_gone_or_damaged_is_a_sentence(
    tmp_path: Path, file: str, content: bytes | None
) -> None:
    stop(tmp_path, 2)
    if content is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(
        StaleError, match=r"What «thresholds: squared error» made cannot be read again in .*: search anew"
    ):
        searched(tmp_path)


def test_another_candidate_in_its_place_is_noticed(tmp_path: Path) -> None:
    stop(tmp_path, 2)
    (tmp_path / "0.onnx").write_bytes(classifier(seed=8).SerializeToString())
    with pytest.raises(StaleError, match="has been overwritten"):
        searched(tmp_path)


def test_a_folder_that_is_a_file_is_told_of_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("", encoding="utf-8")
    tried: list[Trial] = []
    with pytest.raises(MachineError, match="is a file, not a folder"):
        searched(tmp_path / "taken", on_trial=tried.append)
    assert not tried


@pytest.mark.parametrize("method", [None, MaxAbs(), SquaredErrorWeights()])
def test_a_candidate_comes_back_as_it_was(tmp_path: Path, method: Any) -> None:
    options = QuantizeOptions(weight_method=method)
    plain = replace(candidate_of(classifier(), DATA.inputs), options=options)
    made = replace(plain.corrected(other_weights(), plain.table), options=replace(options, keep_float=("n4",)))
    other = replace(plain, options=replace(options, weight_method=SquaredErrorWeights()))
    score = Score(3, {"y": float("inf")}, fidelity=float("nan"))
    trials = [Trial("r", label, "", score, kept=True) for label in ("plain", "made", "other")]
    journal = Journal(tmp_path, {}, options)
    for trial, candidate in zip(trials, (plain, made, other), strict=True):
        journal.add(trial, candidate)
    again = Journal(tmp_path, {}, options)
    for trial, candidate in zip(trials, (plain, made, other), strict=True):
        found = again.candidate(trial)
        assert same(found, candidate)
        known = again.known("r", trial.label)
        assert known is not None
        assert known.score is not None
        assert known.score.sqnr_db == {"y": float("inf")}
        assert known.score.fidelity is not None
        assert isnan(known.score.fidelity)


def other_weights() -> Any:
    return candidate_of(classifier(seed=2), DATA.inputs).model


def same(one: Candidate, other: Candidate) -> bool:
    return (one.model, one.table, one.options, one.exact) == (other.model, other.table, other.options, other.exact)


def test_rows_of_a_measurement_are_kept_as_they_come(tmp_path: Path) -> None:
    journal = Journal(tmp_path, {}, QuantizeOptions())
    journal.add_row("sensitivity", "n1", [1.5, None])
    journal.add_row("sensitivity", "n2", [2.5, "x"])
    assert Journal(tmp_path, {}, QuantizeOptions()).rows("sensitivity") == {"n1": [1.5, None], "n2": [2.5, "x"]}
    assert Journal(None, {}, QuantizeOptions()).rows("sensitivity") == {}
