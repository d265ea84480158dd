"""The verdict: what fails, passes, warns or stays open, and in which words."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from quantlab.comparison.paired import PairedValues
from quantlab.comparison.sample_table import MetricKind, SampleTable
from quantlab.comparison.tensors import TensorError
from quantlab.errors import InputError, UsageError
from quantlab.numerics.arrays import F64, I64, AnyArray
from quantlab.numerics.error_sums import ErrorSums
from quantlab.regression.policy import DropLimit, Limit, Policy, SliceLimit
from quantlab.regression.regress import regress
from quantlab.regression.regression import Regression
from quantlab.regression.run import Coverage
from tests.regression.runs import answers, comparison, flipped, key, run, scales, table

LABELS, CLASSES = answers(2000)
BASELINE = run(table(LABELS, CLASSES), "old")
FULL = Policy(slices=(SliceLimit(),))


def changed(*, worse: int, better: int, samples: int = 2000) -> tuple[Regression, Regression]:
    """Return the verdicts of the default and of the full policy on so many flips."""
    labels, classes = LABELS[:samples], CLASSES[:samples]
    one = run(table(labels, classes), "old")
    two = run(table(labels, flipped(labels, classes, worse=worse, better=better)), "new")
    return regress(one, two), regress(one, two, FULL)


def test_an_unchanged_rerun_passes_however_few_its_samples() -> None:
    samples = table(LABELS[:3], CLASSES[:3])
    found = regress(run(samples, "old"), run(samples, "new"), FULL)
    assert (found.verdict, found.exit_code, found.identical, found.flips) == ("pass", 0, True, ())
    assert "bit for bit" in found.sentence


def test_a_rerun_with_nan_among_its_outputs_is_still_unchanged() -> None:
    noise = np.full(50, 0.5)
    noise[3] = np.nan
    one, nothing = (run(table(LABELS[:50], CLASSES[:50], noise=energy)) for energy in (noise, np.full(50, np.nan)))
    assert regress(one, one).identical
    assert not regress(nothing, nothing).identical


def test_a_significant_loss_fails() -> None:
    for found in changed(worse=60, better=10):
        assert (found.verdict, found.exit_code) == ("fail", 1)
        assert found.sentence.startswith("Must not ship: top-1 falls from 90.15 % to 87.65 %: lost 2.50 points")
        assert found.checks[0].value == pytest.approx(2.5)


def test_chance_passes_where_the_samples_exclude_a_point() -> None:
    for found in changed(worse=12, better=11):
        assert found.verdict == "pass"
        assert "a loss of 1.00 point is excluded" in found.checks[0].sentence


def test_too_few_samples_are_inconclusive_and_say_how_many_would_decide() -> None:
    found, _ = changed(worse=8, better=5, samples=300)
    assert (found.verdict, found.exit_code) == ("inconclusive", 3)
    assert found.needed_samples is not None
    assert 1000 < found.needed_samples < 10_000
    assert "would decide" in found.sentence


def test_a_level_of_warn_does_not_gate() -> None:
    policy = Policy(metrics={"top-1": DropLimit(level="warn")})
    two = run(table(LABELS, flipped(LABELS, CLASSES, worse=60, better=10)), "new")
    found = regress(BASELINE, two, policy)
    assert (found.verdict, found.exit_code) == ("warn", 0)


def test_what_the_sentence_does_not_tell_is_told_beside_it() -> None:
    policy = Policy(latency=Limit(1.1, "warn"), coverage=Limit(0.9, "warn"))
    two = replace(run(table(LABELS, CLASSES), "new"), coverage=Coverage(1, 2))
    found = regress(BASELINE, two, policy)
    assert (found.verdict, [check.state for check in found.checks][:2]) == ("warn", ["inconclusive", "warn"])
    assert "50.0 % of the operators" in found.sentence
    assert [check.name for check in found.further] == ["latency"]


def test_a_significant_loss_within_the_maximum_warns() -> None:
    two = run(table(LABELS, flipped(LABELS, CLASSES, worse=30, better=5)), "new")
    found = regress(BASELINE, two, Policy(metrics={"top-1": DropLimit(2.0)}))
    assert found.verdict == "warn"
    assert "a significant loss, but within the 2.00 points allowed" in found.sentence


def test_a_loss_beyond_a_maximum_above_0_fails_by_tangos_test() -> None:
    two = run(table(LABELS, flipped(LABELS, CLASSES, worse=90, better=5)), "new")
    limit = {"top-1": DropLimit(2.0)}
    assert regress(BASELINE, two, Policy(metrics=limit)).verdict == "fail"
    assert regress(BASELINE, two, Policy(metrics={"top-1": DropLimit(5.0)})).verdict == "warn"


def test_a_loss_in_one_class_is_seen_where_the_whole_hides_it() -> None:
    classes = CLASSES.copy()
    right = np.flatnonzero((LABELS == 3) & (CLASSES == LABELS))[:25]
    wrong = np.flatnonzero((LABELS != 3) & (CLASSES != LABELS))[:25]
    classes[right], classes[wrong] = 9, LABELS[wrong]
    found = regress(BASELINE, run(table(LABELS, classes), "new"), FULL)
    assert found.verdict == "fail"
    assert found.checks[0].name == "top-1 by label"
    assert (found.slices[0].name, found.slices[0].worse, found.slices[0].state) == ("3", 25, "fail")


def test_slices_may_be_named_by_key_or_by_name() -> None:
    members = {key(i): "night" for i in range(300)} | {f"image {i}": "day" for i in range(300, 2000)}
    policy = Policy(slices=(SliceLimit("light", members),))
    found = regress(BASELINE, run(table(LABELS, flipped(LABELS, CLASSES, worse=9, better=9)), "new"), policy)
    assert {part.name: part.samples for part in found.slices} == {"night": 300, "day": 1700}


def test_a_slicing_that_may_lose_something_is_judged_too() -> None:
    classes = np.where(LABELS == 3, 9, CLASSES)
    policy = Policy(slices=(SliceLimit(maximum=5.0, resolution=1.0),))
    found = regress(BASELINE, run(table(LABELS, classes), "new"), policy)
    by_label = next(check for check in found.checks if check.name == "top-1 by label")
    assert (by_label.state, by_label.limit) == ("fail", 5.0)
    quiet = regress(BASELINE, run(table(LABELS, flipped(LABELS, CLASSES, worse=20, better=20)), "new"), policy)
    assert {part.state for part in quiet.slices} <= {"pass", "inconclusive"}


def test_slices_of_too_few_samples_are_not_judged() -> None:
    found = regress(
        BASELINE,
        run(table(LABELS, flipped(LABELS, CLASSES, worse=9, better=9)), "new"),
        Policy(slices=(SliceLimit(least=3000),)),
    )
    assert (found.verdict, found.slices) == ("inconclusive", ())


def test_the_samples_order_leaves_no_trace() -> None:
    two = table(LABELS, flipped(LABELS, CLASSES, worse=20, better=9))
    order = np.random.default_rng(4).permutation(len(two))
    one, other = (regress(BASELINE, run(samples, "new"), FULL) for samples in (two, shuffled(two, order)))
    assert replace(one, flips=()) == replace(other, flips=())
    assert {flip.key for flip in one.flips} == {flip.key for flip in other.flips}


def test_only_shared_samples_count_and_the_others_are_told() -> None:
    one, two = (
        table(LABELS[part], CLASSES[part], keys=tuple(key(i) for i in range(2000)[part]))
        for part in (slice(0, 1500), slice(500, 2000))
    )
    found = regress(run(one, "old"), run(two, "new"))
    assert (found.samples, found.left_out, found.verdict) == (1000, (500, 500), "pass")
    assert any("500 of the baseline alone" in line for line in found.words)


def test_a_sample_that_comes_twice_is_paired_twice() -> None:
    twice = tuple(key(i // 2) for i in range(2000))
    found = regress(run(table(LABELS, CLASSES, keys=twice)), run(table(LABELS, CLASSES, keys=twice)))
    assert (found.samples, found.left_out) == (2000, (0, 0))


def test_sets_without_a_shared_sample_are_refused() -> None:
    other = table(LABELS, CLASSES, keys=tuple(key(i + 5000) for i in range(2000)))
    with pytest.raises(InputError, match="share no sample: score both on the same evaluation set"):
        regress(BASELINE, run(other))


def test_a_run_without_samples_is_refused() -> None:
    with pytest.raises(InputError, match="nothing can be paired: compare again"):
        regress(BASELINE, replace(BASELINE, samples=None))


def test_a_metric_that_nobody_measured_is_refused() -> None:
    with pytest.raises(UsageError, match="«mAP», which not both runs measured; they have «top-1»"):
        regress(BASELINE, BASELINE, Policy(metrics={"mAP": DropLimit()}))


def test_slices_by_label_without_labels_are_refused() -> None:
    bare = run(table(None, CLASSES))
    with pytest.raises(InputError, match="slices by label, and the runs have no labels"):
        regress(bare, bare, FULL)


def test_without_labels_the_agreement_with_fp32_is_judged() -> None:
    other = CLASSES.copy()
    other[:80] = (other[:80] + 1) % 10
    found = regress(run(table(None, CLASSES), "old"), run(table(None, other, fp32=CLASSES), "new"))
    assert found.verdict == "fail"
    assert found.checks[0].name == "agreement with FP32"


def test_a_network_that_chooses_nothing_does_not_agree_with_itself() -> None:
    nothing = np.full(len(CLASSES), -1)
    found = regress(run(table(None, CLASSES), "old"), run(table(None, nothing), "new"))
    assert (found.verdict, found.checks[0].candidate) == ("fail", 0.0)


def test_a_score_that_is_not_final_passes_with_a_warning() -> None:
    samples = table(LABELS, flipped(LABELS, CLASSES, worse=12, better=11))
    found = regress(BASELINE, replace(run(samples), comparison=replace(comparison(samples), final=False)))
    assert (found.verdict, found.exit_code) == ("warn", 0)
    assert "not final: the model does not tell which data chose its scales" in found.sentence


def test_outputs_beyond_the_first_count_too() -> None:
    samples = table(LABELS, CLASSES)
    exact = np.arange(4, dtype=np.float32)
    same, *steps = (
        TensorError(name, ErrorSums.of(exact, exact + step)) for name, step in (("a", 0.5), ("b", 1), ("b", 2))
    )
    outputs = [(same, step) for step in steps]
    one, other = (replace(run(samples), comparison=replace(comparison(samples), outputs=o)) for o in outputs)
    assert regress(one, one).identical
    assert not regress(one, other).identical


def test_a_loss_beside_its_own_fp32_is_judged() -> None:
    int8 = flipped(LABELS, CLASSES, worse=80, better=5)
    samples = table(LABELS, int8, fp32=CLASSES)
    found = regress(run(samples, "old"), run(samples, "new"), Policy(fp32={"top-1": DropLimit(1.0)}))
    failed = [check.name for check in found.checks if check.state == "fail"]
    assert failed == ["top-1 beside FP32"]


def test_a_mean_in_its_own_unit_may_lose_a_hundredth_by_default() -> None:
    draw = np.random.default_rng(0)
    cosine = 1 - 0.01 * draw.random(500)
    for loss, verdict in ((0.0005, "pass"), (0.03, "fail")):
        one, two = (
            with_values(CLASSES[:500], values) for values in (cosine, cosine - loss + 1e-4 * draw.normal(size=500))
        )
        assert regress(run(one, "old"), run(two, "new")).verdict in (verdict, "warn")


@pytest.mark.parametrize(("maximum", "verdict"), [(1.0, "fail"), (9.0, "warn")])
def test_a_share_loses_points_though_its_values_are_not_right_or_wrong(maximum: float, verdict: str) -> None:
    draw = np.random.default_rng(0)
    values = 0.9 + 0.01 * draw.normal(size=500)
    kinds = (MetricKind("share", in_points=True), MetricKind("share", mean=False, in_points=True))
    for kind in kinds:
        one, two = (
            run(with_values(CLASSES[:500], given, kind)) for given in (values, values - 0.05 + 0.01 * draw.random(500))
        )
        found = regress(one, two, Policy(metrics={"share": DropLimit(maximum)}), scores={"share": mean})
        check = next(check for check in found.checks if check.name == "share")
        assert (check.state, check.unit, check.limit) == (verdict, "points", maximum)
        assert check.value == pytest.approx(4.5, abs=0.1)
        assert check.interval is not None
        assert 4 < check.interval.low < 4.5 < check.interval.high < 5
        assert "lost 4.5" in check.sentence


def test_a_slice_of_a_graded_metric_is_graded_though_its_samples_are_right_or_wrong() -> None:
    draw = np.random.default_rng(0)
    values = np.concatenate([np.ones(200), draw.random(300)])
    worse = np.concatenate([np.repeat([1.0, 0.0], [180, 20]), values[200:]])
    members = {key(i): "plain" if i < 200 else "graded" for i in range(500)}
    one, two = (run(with_values(CLASSES[:500], given)) for given in (values, worse))
    found = regress(one, two, Policy(slices=(SliceLimit("kind", members, maximum=0.5),)))
    parts = {part.name: part for part in found.slices}
    assert {part.unit for part in found.slices} == {""}
    assert parts["plain"].state == "pass"
    assert parts["plain"].drop == pytest.approx(0.1)


def test_one_sample_excludes_no_loss_of_a_mean() -> None:
    one, two = (run(with_values(CLASSES[:1], np.array([value]))) for value in (0.9, 0.95))
    found = regress(one, two)
    assert (found.verdict, found.needed_samples) == ("inconclusive", None)


def test_one_name_of_two_metrics_is_refused() -> None:
    one, two = (
        run(with_values(CLASSES[:9], np.ones(9), MetricKind("mine", higher_is_better=better)))
        for better in (True, False)
    )
    with pytest.raises(InputError, match="«mine» is another metric in the baseline"):
        regress(one, two)


def test_a_score_that_is_no_mean_needs_its_score() -> None:
    draw = np.random.default_rng(0)
    values = draw.random((400, 2))
    kind = MetricKind("median", mean=False)
    one, two = (with_values(CLASSES[:400], given, kind) for given in (values, values * 0.8))
    with pytest.raises(UsageError, match="«median» is no mean over samples"):
        regress(run(one), run(two))
    found = regress(run(one), run(two), scores={"median": lambda rows: float(np.median(rows))})
    assert found.verdict == "fail"


def test_flips_tell_who_got_worse() -> None:
    found, _ = changed(worse=7, better=4)
    effects = [flip.effect for flip in found.flips]
    assert (effects.count("worse"), effects.count("better"), len(effects)) == (7, 4, 11)
    first = found.flips[0]
    assert (first.name, first.label) == (f"image {first.index}", int(LABELS[first.index]))


def test_nan_in_the_candidates_outputs_fails() -> None:
    samples = table(LABELS, CLASSES)
    found = regress(BASELINE, replace(run(samples, "new"), comparison=comparison(samples, nan=3)))
    assert (found.verdict, found.checks[0].name) == ("fail", "NaN in the outputs")


def test_json_gives_back_every_field() -> None:
    scale = scales({"a": 0.1, "b": 0.2})
    one = replace(BASELINE, scales=scale)
    two = replace(run(table(LABELS, flipped(LABELS, CLASSES, worse=60, better=10)), "<new>"), scales=scale)
    found = regress(
        one, two, replace(FULL, agreement=Limit(0.9), latency=Limit(1.1), size=Limit(1.0), coverage=Limit(0.5))
    )
    assert Regression.from_json(json.dumps(found.to_json())) == found
    with pytest.raises(InputError, match="no regression of quantlab"):
        Regression.from_json({})


def test_frames_have_a_line_a_value_and_names_are_escaped() -> None:
    scale = scales({"<img src=x onerror=alert(1)>": 0.1})
    two = replace(
        run(table(LABELS, flipped(LABELS, CLASSES, worse=60, better=10)), "<b>new"),
        scales=scales({"<img src=x onerror=alert(1)>": 0.9}),
    )
    found = regress(replace(BASELINE, scales=scale), two, FULL)
    assert len(found.frame()) == len(found.checks)
    assert (len(found.slices_frame()), len(found.drifts_frame()), len(found.flips_frame())) == (10, 1, 70)
    assert "<img" not in found._repr_html_()
    assert "<b>" not in found._repr_html_()


def test_nothing_to_judge_is_refused() -> None:
    count = 5
    bare = SampleTable(np.zeros(count), np.zeros(count), tuple(key(i) for i in range(count)))
    with pytest.raises(UsageError, match="nothing to judge"):
        regress(run(bare), run(bare))


def mean(values: AnyArray) -> float:
    return float(np.mean(values))


def shuffled(samples: SampleTable, order: I64) -> SampleTable:
    assert samples.labels is not None
    assert samples.int8_class is not None
    assert samples.fp32_class is not None
    return replace(
        samples,
        signal=samples.signal[order],
        noise=samples.noise[order],
        keys=tuple(samples.keys[i] for i in order),
        names=tuple(samples.names[i] for i in order),
        labels=samples.labels[order],
        fp32_class=samples.fp32_class[order],
        int8_class=samples.int8_class[order],
        values={name: PairedValues(pair.fp32[order], pair.int8[order]) for name, pair in samples.values.items()},
    )


def with_values(classes: I64, values: F64, kind: MetricKind | None = None) -> SampleTable:
    found = kind or MetricKind("cosine")
    samples = table(None, classes, noise=np.full(len(values), float(values.sum())))
    return replace(samples, values={found.name: PairedValues(values, values)}, metrics={found.name: found})
