"""Limits of what is measured once: each passes, breaks and stays open where it must."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from quantlab.comparison.backends import Backends
from quantlab.comparison.comparison import Sizes
from quantlab.comparison.latency import Latency
from quantlab.errors import InputError
from quantlab.regression.check import Check
from quantlab.regression.policy import Limit, Policy
from quantlab.regression.regress import regress
from quantlab.regression.run import Coverage, Run
from tests.regression.runs import BACKEND, answers, comparison, run, table

LABELS, CLASSES = answers(400)
SAMPLES = table(LABELS, CLASSES)
STEADY = tuple(0.010 + 0.0001 * (i % 5) for i in range(20))


def check(policy: Policy, baseline: Run, candidate: Run, name: str) -> Check:
    return next(found for found in regress(baseline, candidate, policy).checks if found.name == name)


def timed(factor: float = 1.0, *, fp32: float = 1.0, batch: int = 1, backend: str = BACKEND) -> Run:
    times = Latency(
        tuple(2 * fp32 * t for t in STEADY), tuple(factor * t for t in STEADY), batch, Backends(backend, backend)
    )
    return replace(run(SAMPLES), comparison=comparison(SAMPLES, latency=times))


@pytest.mark.parametrize(("factor", "state"), [(0.9, "pass"), (1.0, "pass"), (1.3, "fail"), (1.1, "inconclusive")])
def test_latency_is_judged_by_its_interval(factor: float, state: str) -> None:
    found = check(Policy(latency=Limit(1.1)), timed(), timed(factor), "latency")
    assert found.state == state
    assert found.value == pytest.approx(factor)


@pytest.mark.parametrize(
    ("candidate", "why"),
    [
        (run(SAMPLES), "was not timed"),
        (timed(batch=8), "batches of 1 and the candidate of 8"),
        (timed(backend="onnxruntime 1.31.1 CPU (aarch64 asimddp)"), "ran on"),
    ],
)
def test_latency_of_two_machines_is_not_judged(candidate: Run, why: str) -> None:
    found = check(Policy(latency=Limit(1.1)), timed(), candidate, "latency")
    assert (found.state, found.value) == ("inconclusive", None)
    assert why in found.sentence


def test_latency_of_two_versions_on_one_machine_is_judged() -> None:
    found = check(
        Policy(latency=Limit(1.1)), timed(), timed(1.5, backend=BACKEND.replace("1.31.1", "1.32.0")), "latency"
    )
    assert found.state == "fail"


def test_a_machine_on_which_fp32_is_slower_too_says_nothing_of_int8() -> None:
    found = check(Policy(latency=Limit(1.1)), timed(), timed(1.5, fp32=1.5), "latency")
    assert found.state == "inconclusive"
    assert found.value == pytest.approx(1.5)
    assert "machine was not the same" in found.sentence


def test_a_latency_that_nothing_meets_fails() -> None:
    assert check(Policy(latency=Limit(0.0)), timed(), timed(), "latency").state == "fail"


def test_another_gpu_of_the_same_runtime_is_named() -> None:
    one, two = (replace(timed(), versions={"gpu": name}) for name in ("H200", "A10"))
    assert "on «" + BACKEND + ", H200»" in check(Policy(latency=Limit(1.1)), one, two, "latency").sentence


def test_latency_of_level_warn_never_gates() -> None:
    assert regress(timed(), run(SAMPLES), Policy(latency=Limit(1.1, "warn"))).verdict == "warn"


@pytest.mark.parametrize(("bytes_", "state"), [(104, "pass"), (106, "fail")])
def test_size_is_judged_against_the_baselines(bytes_: int, state: str) -> None:
    one, two = (replace(run(SAMPLES), comparison=comparison(SAMPLES, sizes=Sizes(400, size))) for size in (100, bytes_))
    assert check(Policy(size=Limit(1.05)), one, two, "size").state == state


def test_sizes_that_nobody_noted_are_inconclusive() -> None:
    assert check(Policy(size=Limit(1.05)), run(SAMPLES), run(SAMPLES), "size").state == "inconclusive"


def test_coverage_is_judged_by_operators_and_by_macs() -> None:
    two = replace(run(SAMPLES), coverage=Coverage(9, 10, 50, 100))
    policy = Policy(coverage=Limit(0.9), coverage_macs=Limit(0.6))
    assert check(policy, run(SAMPLES), two, "INT8 coverage").state == "pass"
    by_macs = check(policy, run(SAMPLES), two, "INT8 coverage by MACs")
    assert (by_macs.state, by_macs.value) == ("fail", 0.5)
    assert check(policy, two, run(SAMPLES), "INT8 coverage").state == "inconclusive"
    uncounted = replace(two, coverage=Coverage(9, 10))
    assert check(policy, two, uncounted, "INT8 coverage by MACs").state == "inconclusive"


@pytest.mark.parametrize("wrong", [(11, 10, None, None), (1, 2, 5, None), (1, 2, 9, 8)])
def test_a_coverage_that_is_no_part_is_refused(wrong: tuple[int, int, int | None, int | None]) -> None:
    with pytest.raises(InputError, match="part of all"):
        Coverage(*wrong)


def test_of_nothing_to_quantize_all_runs_int8() -> None:
    assert (Coverage(0, 0, 0, 0).share, Coverage(0, 0, 0, 0).macs_share) == (1.0, 1.0)


@pytest.mark.parametrize(("different", "state"), [(0, "pass"), (60, "fail"), (24, "inconclusive")])
def test_agreement_is_judged_by_the_binomial_distribution(different: int, state: str) -> None:
    int8 = CLASSES.copy()
    int8[:different] = (int8[:different] + 1) % 10
    two = run(table(None, int8, fp32=CLASSES))
    found = check(Policy(agreement=Limit(0.95)), two, two, "agreement with FP32")
    limits = [c for c in regress(two, two, Policy(agreement=Limit(0.95))).checks if c.limit == 0.95]
    assert limits[0].state == state
    assert found.name == "agreement with FP32"
    assert (limits[0].needed_samples is not None) == (state == "inconclusive")
    assert limits[0].needed_samples is None or limits[0].needed_samples > len(CLASSES)


def test_an_agreement_of_no_classes_is_inconclusive() -> None:
    bare = replace(SAMPLES, fp32_class=None, int8_class=None)
    assert check(Policy(agreement=Limit(0.9)), run(bare), run(bare), "agreement with FP32").state == "inconclusive"


@pytest.mark.parametrize(("factor", "state"), [(1.0, "pass"), (1.9, "pass"), (2.1, "warn"), (0.1, "pass")])
def test_the_outputs_error_may_grow_by_3_db(factor: float, state: str) -> None:
    noise = np.full(400, 0.5)
    one, two = (run(table(LABELS, CLASSES, noise=energy)) for energy in (noise, factor * noise))
    assert check(Policy(), one, two, "output SQNR").state == state


def test_noise_where_there_was_none_is_told() -> None:
    quiet, noisy = (run(table(LABELS, CLASSES, noise=np.full(400, energy))) for energy in (0.0, 0.1))
    assert check(Policy(), quiet, noisy, "output SQNR").state == "warn"
    assert check(Policy(), noisy, quiet, "output SQNR").state == "pass"
    assert "no noise in the baseline" in check(Policy(), quiet, noisy, "output SQNR").sentence
