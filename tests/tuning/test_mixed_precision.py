"""Mixed precision beside an exhaustive search, and what is told where nothing meets the target."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

import matplotlib as mpl
import numpy as np
import pytest

from quantlab.errors import StaleError, UsageError
from quantlab.plots.tuned import front
from quantlab.tuning.bias_correction import EmpiricalBias
from quantlab.tuning.candidate import Candidate
from quantlab.tuning.float_trials import FloatTrial, FloatTrials, Memory, decibels
from quantlab.tuning.front import FrontPoint, front_of
from quantlab.tuning.mixed_precision import MixedOptions, MixedPrecision, mixed_precision
from quantlab.tuning.score import Score
from quantlab.tuning.scoring import Scorer
from quantlab.tuning.sensitivity import Sensitivity, measure_sensitivity
from quantlab.tuning.target import Target
from quantlab.tuning.walk import WalkOptions, walk
from tests.tuning.nets import Rows
from tests.tuning.weak_place import COARSE, coarse, inputs

mpl.use("Agg")


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    from matplotlib import pyplot as plt

    plt.close("all")


@pytest.fixture(scope="module")
def weak() -> tuple[Scorer, Candidate, Sensitivity]:
    scorer, candidate = coarse()
    return scorer, candidate, measure_sensitivity(scorer, candidate)


def sqnr(least: float) -> Target:
    return Target(max_drop=None, min_sqnr_db=least)


@pytest.fixture(scope="module")
def every(weak: tuple[Scorer, Candidate, Sensitivity]) -> dict[frozenset[str], tuple[float, float]]:
    """Return, for each set of operators in float but the whole, its share and its SQNR in dB."""
    scorer, candidate, _ = weak
    trials = FloatTrials(scorer, candidate)
    sets = [c for k in range(len(trials.operators)) for c in combinations(trials.operators, k)]
    return {frozenset(c): (trials.share(c), decibels(trials.trial(c).score)) for c in sets}


@pytest.mark.parametrize("gain", [1, 6, 12, 18, 22, 26])
def test_the_set_is_nearly_the_smallest_and_no_operator_of_it_is_idle(
    weak: tuple[Scorer, Candidate, Sensitivity], every: dict[frozenset[str], tuple[float, float]], gain: float
) -> None:
    scorer, candidate, sensitivity = weak
    least = sensitivity.full_db + gain
    found = mixed_precision(scorer, candidate, sqnr(least), sensitivity, options=MixedOptions(at_most=0.75))
    fitting = {names: cost for names, (cost, db) in every.items() if db >= least}
    assert bool(fitting) == (found.standing == "holds")
    if fitting:
        assert every[frozenset(found.kept)][0] <= 1.1 * min(fitting.values())
        assert not any(frozenset(found.kept) - {name} in fitting for name in found.kept)
        assert set(found.candidate.options.keep_float) == set(found.kept)
        assert scorer.score(found.candidate).worst_sqnr_db >= least
        assert not found.missed


def test_one_weak_place_is_the_only_one_left_float(weak: tuple[Scorer, Candidate, Sensitivity]) -> None:
    scorer, candidate, sensitivity = weak
    found = mixed_precision(scorer, candidate, sqnr(sensitivity.full_db + 8), sensitivity)
    assert found.kept == (COARSE,)


def test_a_target_that_holds_already_keeps_nothing_float(weak: tuple[Scorer, Candidate, Sensitivity]) -> None:
    scorer, candidate, sensitivity = weak
    found = mixed_precision(scorer, candidate, sqnr(sensitivity.full_db - 1), sensitivity)
    assert (found.kept, found.standing, found.missed, len(found.trials)) == ((), "holds", "", 1)
    assert found.candidate.options.keep_float == ()


@pytest.mark.parametrize(
    ("options", "most"),
    [
        (MixedOptions(at_most=0.5), 2),
        (MixedOptions(at_most=0.25), 1),
        (MixedOptions(at_most=0.42, of="macs"), 2),
        (MixedOptions(at_most=0), 0),
        (MixedOptions(at_most=1), 3),
    ],
)
def test_beyond_the_limit_it_gives_up_and_says_what_is_missing(
    weak: tuple[Scorer, Candidate, Sensitivity], options: MixedOptions, most: int
) -> None:
    scorer, candidate, sensitivity = weak
    found = mixed_precision(scorer, candidate, sqnr(150), sensitivity, options=options)
    assert found.standing == "misses"
    assert all(len(point.floats) <= most for point in found.trials)
    assert len(found.kept) == most
    assert found.trials[0].sqnr_db <= max(point.sqnr_db for point in found.trials)
    assert next(p for p in found.trials if p.floats == found.kept).sqnr_db == max(p.sqnr_db for p in found.trials)
    assert "SQNR ≥ 150 dB" in found.missed
    assert f"{most} operators in float" in found.missed


def test_operators_of_a_block_that_do_not_help_go_back_to_int8(weak: tuple[Scorer, Candidate, Sensitivity]) -> None:
    scorer, candidate, sensitivity = weak
    grouped = measure_sensitivity(scorer, candidate, groups={"one": ("Conv4", "Conv6"), "two": ("Conv0", "Conv2")})
    least = sensitivity.full_db + 8
    found = mixed_precision(scorer, candidate, sqnr(least), grouped)
    assert found.kept == (COARSE,)
    stays = mixed_precision(scorer, candidate, sqnr(least), grouped, options=MixedOptions(put_back=0))
    assert stays.kept == ("Conv4", "Conv6")


def test_few_samples_decide_as_far_as_they_can_show() -> None:
    scorer, candidate = coarse(128)
    sensitivity = measure_sensitivity(scorer, candidate)
    full = scorer.score(candidate)
    assert full.metric == "other class"
    assert full.drop is not None
    assert full.drop > 1
    found = mixed_precision(scorer, candidate, Target(max_drop=1.0), sensitivity)
    assert found.standing == "likely"
    score = scorer.score(found.candidate)
    assert score.drop is not None
    assert score.drop <= 1
    assert found.missed == ""


def test_the_front_holds_what_nothing_beats(weak: tuple[Scorer, Candidate, Sensitivity]) -> None:
    scorer, candidate, sensitivity = weak
    found = mixed_precision(scorer, candidate, sqnr(150), sensitivity)
    for point in found.trials:
        beaten = any(other.beats(point) for other in found.trials)
        assert (point in found.front) == (not beaten)
    assert [p.coverage for p in found.front] == sorted((p.coverage for p in found.front), reverse=True)


def test_equal_points_stand_on_the_front_once() -> None:
    same = FrontPoint((), 0.5, 20.0, 1.0, None, 8)
    other = FrontPoint(("a",), 0.5, 20.0, 1.0, None, 8)
    worse = FrontPoint(("b",), 0.5, 19.0, 1.0, None, 8)
    assert front_of([same, other, worse]) == (same,)
    assert same.beats(worse)
    assert not same.beats(other)


def test_an_engine_is_timed_for_the_points_of_the_front_only(weak: tuple[Scorer, Candidate, Sensitivity]) -> None:
    scorer, candidate, sensitivity = weak
    timed: list[tuple[str, ...]] = []

    def latency(given: Candidate) -> float:
        timed.append(given.options.keep_float)
        return 0.5 + len(given.options.keep_float)

    options = MixedOptions(latency=latency)
    found = mixed_precision(scorer, candidate, sqnr(150), sensitivity, options=options)
    assert timed == [point.floats for point in found.front]
    assert [point.latency_ms for point in found.front] == [0.5 + len(point.floats) for point in found.front]
    frame = found.frame()
    assert list(frame["latency_ms"].notna()) == list(frame["front"])


def test_an_interrupted_search_goes_on_and_ends_the_same(weak: tuple[Scorer, Candidate, Sensitivity]) -> None:
    scorer, candidate, sensitivity = weak
    kept: dict[str, Score] = {}

    def stop(trial: FloatTrial) -> None:
        kept[trial.key] = trial.score
        if len(kept) == 2:
            raise KeyboardInterrupt

    target = sqnr(sensitivity.full_db + 18)
    with pytest.raises(KeyboardInterrupt):
        mixed_precision(scorer, candidate, target, sensitivity, memory=Memory(on_trial=stop))
    later: list[FloatTrial] = []
    resumed = mixed_precision(scorer, candidate, target, sensitivity, memory=Memory(kept, later.append))
    whole = mixed_precision(scorer, candidate, target, sensitivity)
    assert (resumed.kept, resumed.trials, resumed.front) == (whole.kept, whole.trials, whole.front)
    assert {trial.key for trial in later}.isdisjoint(kept)


def test_sensitivity_on_the_same_samples_is_not_measured_again(weak: tuple[Scorer, Candidate, Sensitivity]) -> None:
    scorer, candidate, _ = weak
    before: list[FloatTrial] = []
    sensitivity = measure_sensitivity(scorer, candidate, memory=Memory(on_trial=before.append))
    after: list[FloatTrial] = []
    memory = Memory({trial.key: trial.score for trial in before}, after.append)
    mixed_precision(scorer, candidate, sqnr(sensitivity.full_db + 8), sensitivity, memory=memory)
    assert after == []


def test_what_the_user_keeps_float_stays_so(weak: tuple[Scorer, Candidate, Sensitivity]) -> None:
    scorer, candidate, _ = weak
    wished = candidate.with_floats(("Conv0",))
    sensitivity = measure_sensitivity(scorer, wished)
    found = mixed_precision(scorer, wished, sqnr(sensitivity.full_db + 8), sensitivity)
    assert found.kept == (COARSE,)
    assert found.candidate.options.keep_float == ("Conv0", COARSE)


def test_corrections_are_made_anew_for_what_stays_in_int8() -> None:
    scorer, plain = coarse()

    def prepare(given: Candidate) -> Candidate:
        rows = tuple(row for row in given.table.rows if row.role != "weight")
        settings = WalkOptions(correction=EmpiricalBias(), threads=1)
        found = walk(given.start, replace(given.table, rows=rows), given.options, Rows(inputs()), settings=settings)
        return given.corrected(found.model, found.table)

    candidate = prepare(plain)
    sensitivity = measure_sensitivity(scorer, candidate)
    target = sqnr(sensitivity.full_db + 8)
    found = mixed_precision(scorer, candidate, target, sensitivity, options=MixedOptions(prepare=prepare))
    assert found.kept == (COARSE,)
    anew = prepare(plain.with_floats((COARSE,)))
    assert found.candidate.model.digest == anew.model.digest
    kept = mixed_precision(scorer, candidate, target, sensitivity)
    assert kept.candidate.model.digest != anew.model.digest
    assert {point.floats: point.sqnr_db for point in found.trials}[COARSE,] == decibels(scorer.score(anew))


def test_the_frame_and_the_drawing_show_every_trial(weak: tuple[Scorer, Candidate, Sensitivity]) -> None:
    scorer, candidate, sensitivity = weak
    found: MixedPrecision = mixed_precision(scorer, candidate, sqnr(sensitivity.full_db + 8), sensitivity)
    frame = found.frame()
    assert list(frame["int8_coverage"]) == [point.coverage for point in found.trials]
    assert list(frame.loc[frame["chosen"], "floats"]) == [COARSE]
    drawn = [np.asarray(line.get_ydata()).tolist() for line in front(found).lines]
    assert drawn[0] == [point.sqnr_db for point in found.trials]
    assert drawn[1] == [point.sqnr_db for point in found.front]
    assert drawn[2] == [point.sqnr_db for point in found.trials if point.floats == (COARSE,)]


def test_the_sensitivity_of_another_candidate_is_stale(weak: tuple[Scorer, Candidate, Sensitivity]) -> None:
    scorer, candidate, sensitivity = weak
    with pytest.raises(StaleError, match="1 quantized operators, such as «Conv0»"):
        mixed_precision(scorer, candidate.with_floats(("Conv0",)), Target(), sensitivity)


def test_limits_that_mean_nothing_are_refused() -> None:
    with pytest.raises(UsageError, match="share from 0 to 1"):
        MixedOptions(at_most=1.5)
    with pytest.raises(UsageError, match="share from 0 to 1"):
        MixedOptions(at_most=float("nan"))
    with pytest.raises(UsageError, match="at least 0"):
        MixedOptions(put_back=-1)
