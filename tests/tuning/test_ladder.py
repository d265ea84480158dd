"""The ladder keeps what is better, notes what cannot be done, and each rung helps where it should."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from quantlab import engines
from quantlab.builder import QuantizeOptions
from quantlab.calibration.methods.minmax import MinMax
from quantlab.collector.collect import collect
from quantlab.errors import InputError, MachineError, StaleError, UsageError
from quantlab.graph.model import load_model
from quantlab.metrics.top_k import TopK
from quantlab.tuning.candidate import Candidate
from quantlab.tuning.journal import Journal
from quantlab.tuning.ladder import Ground, Ladder, Methods
from quantlab.tuning.rungs import bias_correction, equalization, rounding, smoothing, thresholds, weights
from quantlab.tuning.scoring import Scorer
from quantlab.tuning.target import Target
from quantlab.tuning.trial import COLUMNS, Trial, trials_frame
from tests.graph.nets import net
from tests.tuning.nets import Rows, classes, classifier, matmul_net, smooth, spread_net, token_net, tokens

NEVER = Target(None, min_sqnr_db=99.0)


def ladder_of(
    model: onnx.ModelProto,
    data: Rows,
    *,
    target: Target = NEVER,
    folder: Path | None = None,
    stages: tuple[int, ...] = (4, 16),
) -> Ladder:
    """Return a ladder with nothing tried, from min-max on."""
    loaded = load_model(model)
    with engines.ort(loaded, expose="quantizable", threads=1) as engine:
        histograms = collect(engine, data)
    metrics = (TopK(1),) if data.labels is not None else ()
    scorer = Scorer.begin(loaded, data, stages=stages, metrics=metrics, threads=1)
    walk = {"samples": 16, "memory": 1 << 26}
    ground = Ground(data, histograms, scorer, target, walk, 1)
    candidate = Candidate(loaded, Methods(MinMax()).table(histograms))
    return Ladder(ground, candidate, Journal(folder, {}, QuantizeOptions()), lambda _trial: None)


def scaled(ladder: Ladder, tensor: str, factor: float) -> Callable[[], Candidate]:
    """Return what makes the best so far with another scale for one tensor."""
    table = ladder.best.table
    row = replace(table[tensor], scale=tuple(s * factor for s in table[tensor].scale))
    return lambda: ladder.best.with_table(table.with_rows([row]))


@pytest.fixture
def ladder() -> Ladder:
    return ladder_of(classifier(), classes(40))


def test_a_trial_is_kept_only_if_it_is_better(ladder: Ladder) -> None:
    start = ladder.best
    worse = scaled(ladder, "relu6", 32.0)
    assert ladder.attempt("r", "start", "", lambda: start)
    assert not ladder.attempt("r", "same", "", lambda: start)
    assert not ladder.attempt("r", "worse", "", worse)
    assert ladder.best is start
    assert [trial.kept for trial in ladder.trials] == [True, False, False]
    assert {trial.best_db for trial in ladder.trials} == {ladder.score.mean_sqnr_db}
    first, _, last = (trial.score for trial in ladder.trials)
    assert first is not None
    assert last is not None
    assert last.mean_sqnr_db < first.mean_sqnr_db - 3


def test_the_first_is_kept_however_bad_and_a_better_one_replaces_it(ladder: Ladder) -> None:
    start = ladder.best
    assert ladder.attempt("r", "bad", "", scaled(ladder, "relu6", 32.0))
    assert ladder.attempt("r", "good", "", lambda: start)
    assert ladder.best is start


def fails(error: Exception) -> Callable[[], Candidate]:
    def make() -> Candidate:
        raise error

    return make


def test_what_a_network_does_not_allow_is_noted_and_the_search_goes_on(ladder: Ladder) -> None:
    ladder.attempt("r", "start", "", lambda: ladder.best)
    assert not ladder.attempt("r", "not", "a change", fails(InputError("This net is odd.")))
    assert ladder.rank("r", "nor ranked", "", fails(InputError("Nor this."))).score is None
    assert [(trial.note, trial.score is None, trial.kept) for trial in ladder.trials[1:]] == [
        ("This net is odd.", True, False),
        ("Nor this.", True, False),
    ]


def test_an_error_inside_quantlab_ends_no_search_that_has_found_something(ladder: Ladder) -> None:
    def climb(_ladder: Ladder) -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        ladder.attempt("r", "first", "", fails(KeyError("x")))
    with pytest.raises(KeyError):
        ladder.climb("rung", climb)
    ladder.attempt("r", "start", "", lambda: ladder.best)
    assert not ladder.attempt("r", "broken", "", fails(KeyError("x")))
    assert ladder.rank("r", "broken too", "", fails(ValueError("y"))).score is None
    ladder.climb("rung", climb)
    inside = "an error inside quantlab: "
    assert [trial.note for trial in ladder.trials[1:]] == [
        f"{inside}KeyError: 'x'",
        f"{inside}ValueError: y",
        f"{inside}KeyError: 'x'",
    ]


def test_what_is_behind_on_the_first_samples_is_not_measured_on_the_others(ladder: Ladder) -> None:
    assert ladder.attempt("r", "start", "", lambda: ladder.best)
    assert [score.samples for score in ladder.scores] == [4, 16, 40]
    assert not ladder.attempt("r", "worse", "", scaled(ladder, "relu6", 32.0))
    last = ladder.trials[-1]
    assert last.score is not None
    assert last.score.samples < 40
    assert last.note == "behind on these samples"
    ranked = ladder.rank("r", "also", "", scaled(ladder, "relu6", 32.0), rivals=(ladder.ranked, 0.3))
    assert not ranked.leads(ladder.ranked, 0.0)
    assert ladder.rank("r", "same", "", lambda: ladder.best).scores[1].sqnr_db == ladder.scores[1].sqnr_db


def test_what_misses_by_far_on_some_samples_is_measured_on_all_at_the_end() -> None:
    ladder = ladder_of(classifier(), classes(40), stages=(4, 8, 20))
    assert ladder.attempt("r", "start", "", lambda: ladder.best)
    assert (ladder.score.samples, ladder.trials[-1].note) == (20, "far from the target on these samples")
    ladder.finish()
    assert (ladder.score.samples, ladder.trials[-1].rung, ladder.trials[-1].label) == (40, "all samples", "r: start")
    ladder.finish()
    assert len(ladder.trials) == 2
    near = ladder_of(classifier(), classes(40), target=Target(None, min_sqnr_db=10.0), stages=(4, 8, 20))
    assert near.attempt("r", "start", "", lambda: near.best)
    assert near.score.samples == 40
    assert near.score.sqnr_db == ladder.score.sqnr_db


@pytest.mark.parametrize("error", [UsageError("u"), StaleError("s"), MachineError("m"), MemoryError("n")])
def test_other_errors_end_the_search(ladder: Ladder, error: Exception) -> None:
    for run in (ladder.attempt, ladder.rank):
        with pytest.raises(type(error)):
            run("r", "x", "", fails(error))
    assert ladder.trials == []


def test_a_rung_that_cannot_be_climbed_is_noted(ladder: Ladder) -> None:
    def climb(_ladder: Ladder) -> None:
        raise InputError("Tensor «a» holds NaN.")

    ladder.attempt("r", "start", "", lambda: ladder.best)
    ladder.climb("rung", climb)
    assert (ladder.trials[-1].rung, ladder.trials[-1].note) == ("rung", "Tensor «a» holds NaN.")
    with pytest.raises(InputError, match="No INT8 form of the network can be measured: Tensor «a»"):
        ladder_of(classifier(), classes(20)).climb("rung", climb)


def test_ranking_runs_on_fewer_samples_and_keeps_nothing(ladder: Ladder) -> None:
    ladder.attempt("r", "bad", "", scaled(ladder, "relu6", 32.0))
    kept = ladder.best
    score = ladder.rank(
        "r", "ranked", "", lambda: replace(kept, table=Methods(MinMax()).table(ladder.ground.histograms))
    ).score
    assert score is not None
    assert score.samples == 16
    assert score.mean_sqnr_db > ladder.score.mean_sqnr_db
    assert ladder.best is kept
    assert not ladder.trials[-1].kept


def test_the_best_ranked_way_alone_is_attempted(ladder: Ladder) -> None:
    good, asked = ladder.best, list[tuple[str, int | None]]()

    def way(name: str, factor: float) -> tuple[str, Callable[[int | None], Candidate]]:
        def make(samples: int | None) -> Candidate:
            asked.append((name, samples))
            return bad(factor)

        return name, make

    def bad(factor: float) -> Candidate:
        return good.with_table(
            good.table.with_rows([replace(good.table["image"], scale=(good.table["image"].scale[0] * factor,))])
        )

    ladder.attempt("r", "bad", "", lambda: bad(32.0))
    assert ladder.attempt_best("s", {"a": way("a", 8.0), "b": way("b", 1.0), "c": way("c", 64.0)}) == "b"
    assert [trial.label for trial in ladder.trials if trial.rung == "s" and trial.kept] == ["b"]
    assert asked.count(("b", None)) == 1
    assert {name for name, samples in asked if samples is None} == {"b"}
    assert ladder.attempt_best("t", {"a": way("a", 8.0)}) is None
    assert ("a", None) not in asked


def test_it_is_done_when_the_target_holds_or_so_few_samples_cannot_show_it() -> None:
    found = {}
    for points, samples in ((60.0, 40), (0.2, 40), (None, 40)):
        target = NEVER if points is None else Target(points)
        one = ladder_of(classifier(), classes(samples), target=target)
        assert not one.done
        thresholds.climb(one)
        weights.climb(one)
        bias_correction.climb(one)
        found[points] = (one.standing, one.done)
    assert found == {60.0: ("holds", True), 0.2: ("likely", True), None: ("misses", False)}


def kept(ladder: Ladder, rung: str) -> Trial:
    (trial,) = (trial for trial in ladder.trials if trial.rung == rung and trial.kept)
    return trial


def images(count: int = 32) -> Rows:
    return Rows({"x": smooth(count, size=8)}, 16)


def test_equalization_takes_a_spread_of_channels_back() -> None:
    ladder = ladder_of(spread_net(), images())
    thresholds.climb(ladder)
    before = ladder.score.mean_sqnr_db
    equalization.climb(ladder)
    assert ladder.score.mean_sqnr_db > before + 4
    assert "pairs of operators scaled" in kept(ladder, "equalization").change
    with ladder.best.engine(1) as engine, engines.ort(spread_net(), threads=1) as exact:
        feed = images(8).inputs
        noise = np.linalg.norm(engine.run(feed)["y"] - exact.run(feed)["y"]) / np.linalg.norm(exact.run(feed)["y"])
    assert -20 * np.log10(noise) > before + 2
    walked = ladder.best.start
    bias_correction.climb(ladder)
    assert ladder.best.start.digest == walked.digest


def test_smoothing_moves_outliers_of_tokens_into_weights() -> None:
    ladder = ladder_of(token_net(), tokens(32))
    thresholds.climb(ladder)
    before = ladder.score.mean_sqnr_db
    smoothing.climb(ladder)
    ranked = [trial for trial in ladder.trials if trial.rung == "smoothing" and trial.label.startswith("alpha")]
    assert len([trial for trial in ranked if trial.score is not None]) >= 4
    assert ladder.score.mean_sqnr_db > before + 1
    assert "inputs scaled" in kept(ladder, "smoothing").change


def apart() -> onnx.ModelProto:
    """Two convolutions with a Sigmoid between, past which no scale moves."""
    text = "g (float[N,3,8,8] x) => (float[N,4,8,8] y) { a = Conv(x, w1) \n s = Sigmoid(a) \n y = Conv(s, w2) }"
    return net(text, w1=(6, 3, 1, 1), w2=(4, 6, 1, 1))


@pytest.mark.parametrize(
    ("rung", "why"), [(equalization, "nothing to balance: "), (smoothing, "0 inputs of matrix products: this is for")]
)
def test_a_rung_without_anything_to_do_says_so(rung: Any, why: str) -> None:
    ladder = ladder_of(apart(), images())
    ladder.attempt("r", "start", "", lambda: ladder.best)
    rung.climb(ladder)
    (trial,) = ladder.trials[1:]
    assert trial.note.startswith(why)
    assert (trial.label, trial.score, trial.kept) == ("–", None, False)


def test_walks_start_from_the_uncorrected_network_again() -> None:
    ladder = ladder_of(matmul_net(), tokens(32))
    thresholds.climb(ladder)
    start = ladder.best.model
    bias_correction.climb(ladder)
    rounding.climb(ladder)
    rounding.climb_scales(ladder)
    assert ladder.best.exact is not None
    assert ladder.best.exact.digest == start.digest
    assert [trial.note for trial in ladder.trials if trial.score is None] == []
    assert ladder.score.mean_sqnr_db > next(t.score.mean_sqnr_db for t in ladder.trials if t.score is not None)


def test_a_line_has_a_cell_for_every_column(ladder: Ladder) -> None:
    ladder.attempt("r", "start", "", lambda: ladder.best)
    ladder.skip("s", "nothing to do")
    assert {len(trial.line()) for trial in ladder.trials} == {len(COLUMNS)}
    frame = trials_frame(ladder.trials)
    assert frame["kept"].tolist() == [True, None]
    assert frame["note"].tolist() == ["", "nothing to do"]
