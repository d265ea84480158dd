"""Limits of what is measured once: agreement, output error, what runs INT8, time and size."""

import re
from collections.abc import Iterator
from math import log10

import numpy as np

from quantlab.comparison.latency import Latency
from quantlab.comparison.statistics import RESAMPLES, Interval
from quantlab.numerics.arrays import F64
from quantlab.regression.check import Check, State, unmeasured
from quantlab.regression.differences import model_of
from quantlab.regression.paired_tests import binomial_below
from quantlab.regression.pairing import Shared
from quantlab.regression.policy import Limit, Policy
from quantlab.regression.run import Run
from quantlab.regression.sample_size import samples_to_exclude_a_loss
from quantlab.regression.words import chance, rounded

_VERSION = re.compile(r"\d+(\.\d+)+\S*")


def limit_checks(baseline: Run, candidate: Run, shared: Shared, policy: Policy, groups: int) -> Iterator[Check]:
    """Yield a check for each limit of the policy.

    Parameters
    ----------
    groups
        In how many parts the policy's level is cut; the agreement has one of them.
    """
    yield from _nan(baseline, candidate)
    if policy.agreement is not None:
        yield _agreement(candidate, policy.agreement, policy, groups)
    if policy.output_noise_db is not None:
        yield from _output(shared, policy.output_noise_db)
    yield from _coverage(baseline, candidate, policy)
    if policy.latency is not None:
        yield _latency(baseline, candidate, policy.latency, policy.alpha)
    if policy.size is not None:
        yield _size(baseline, candidate, policy.size)


def _nan(baseline: Run, candidate: Run) -> Iterator[Check]:
    one, two = baseline.comparison.nan.int8, candidate.comparison.nan.int8
    if two:
        state: State = "fail" if two > one else "warn"
        sentence = f"The INT8 outputs of {two:,} samples hold NaN, those of {one:,} in the baseline."
        yield Check(
            "NaN in the outputs",
            state,
            float(two),
            float(one),
            None,
            None,
            sentence,
            None,
            "samples",
            "fail",
            float(one),
            float(two),
        )


def _agreement(run: Run, limit: Limit, policy: Policy, groups: int) -> Check:
    found = run.comparison.agreement
    if not found.samples:
        return unmeasured("agreement with FP32", "share", limit, "no output of the candidate holds class scores")
    interval = found.interval(1 - 2 * policy.alpha)
    p_value = min(1.0, groups * binomial_below(found.agreed, found.samples, limit.value))
    state: State = limit.level if p_value <= policy.alpha else "pass" if found.score >= limit.value else "inconclusive"
    sentence = f"INT8 chooses FP32's class for {100 * found.score:.2f} % of {found.samples:,} samples; {100 * limit.value:.2f} % are asked"
    needed = None
    if state == "inconclusive":
        gap = limit.value - found.score
        needed = samples_to_exclude_a_loss(
            found.score * (1 - found.score), -gap, 0.0, alpha=policy.alpha / max(groups, 1), power=policy.power
        )
        needed = None if needed is None else max(needed, found.samples + 1)
        sentence += f", and so few samples may miss that by chance ({chance(p_value)})" + (
            f"; about {rounded(needed)} would decide" if needed else ""
        )
    return Check(
        "agreement with FP32",
        state,
        found.score,
        limit.value,
        interval,
        p_value,
        f"{sentence}.",
        needed,
        "share",
        limit.level,
    )


def _output(shared: Shared, limit: Limit) -> Iterator[Check]:
    """Yield what the output's signal-to-noise ratio loses, INT8 beside its own FP32 in both runs."""
    energies = np.stack(shared.energies())
    known = energies[:, np.isfinite(energies).all(axis=0)].sum(axis=1)
    if not (known[0] > 0 and known[2] > 0):
        return
    one, two = (_decibel(*known[:2]), _decibel(*known[2:]))
    state: State = "pass"
    if two is not None and (one is None or one - two > limit.value):
        state = limit.level
    gap = None if one is None or two is None else one - two
    names = ["no noise" if side is None else f"{side:.1f} dB" for side in (one, two)]
    sentence = (
        f"The output's SQNR, INT8 against FP32: {names[0]} in the baseline, {names[1]} in the candidate; it may fall by "
        f"{limit.value:g} dB."
    )
    yield Check("output SQNR", state, gap, limit.value, None, None, sentence, None, "dB", limit.level, one, two)


def _coverage(baseline: Run, candidate: Run, policy: Policy) -> Iterator[Check]:
    for name, limit, what in (
        ("INT8 coverage", policy.coverage, "operators"),
        ("INT8 coverage by MACs", policy.coverage_macs, "multiply-accumulates"),
    ):
        if limit is None:
            continue
        shares = [_share(run, by_macs=limit is policy.coverage_macs) for run in (baseline, candidate)]
        found = shares[1]
        if found is None:
            yield unmeasured(name, "share", limit, "nobody counted what of the candidate runs INT8")
            continue
        state: State = limit.level if found < limit.value else "pass"
        sentence = f"{100 * found:.1f} % of the {what} run INT8; {100 * limit.value:.1f} % are asked."
        yield Check(name, state, found, limit.value, None, None, sentence, None, "share", limit.level, shares[0], found)


def _share(run: Run, *, by_macs: bool) -> float | None:
    if run.coverage is None:
        return None
    return run.coverage.macs_share if by_macs else run.coverage.share


def _latency(baseline: Run, candidate: Run, limit: Limit, alpha: float) -> Check:
    one, two = baseline.comparison.latency, candidate.comparison.latency
    doubt = _incomparable(baseline, candidate, one, two)
    if doubt or one is None or two is None:
        return unmeasured("latency", "ratio", limit, doubt)
    ratio = two.int8_ms / one.int8_ms
    interval = _ratio_interval(one.int8, two.int8, 1 - 2 * alpha)
    times = (
        f"INT8 takes {two.int8_ms:.3g} ms a batch of {two.batch}, {ratio:.2f} times the baseline's {one.int8_ms:.3g} ms"
    )
    control = two.fp32_ms / one.fp32_ms
    if (
        limit.value > 1
        and model_of(baseline) == model_of(candidate)
        and not 1 / limit.value**0.5 <= control <= limit.value**0.5
    ):
        state: State = "inconclusive"
        sentence = f"{times}; but the same FP32 network took {control:.2f} times as long, so the machine was not the same: measure both side by side."
    elif interval.low > limit.value:
        state, sentence = limit.level, f"{times}; {limit.value:g} times is allowed."
    elif interval.high <= limit.value:
        state, sentence = "pass", f"{times}; {limit.value:g} times is allowed."
    else:
        state, sentence = (
            "inconclusive",
            f"{times} ({interval.low:.2f} … {interval.high:.2f}); {limit.value:g} times is allowed: measure more rounds.",
        )
    return Check(
        "latency",
        state,
        ratio,
        limit.value,
        interval,
        None,
        sentence,
        None,
        "ratio",
        limit.level,
        one.int8_ms,
        two.int8_ms,
    )


def _incomparable(baseline: Run, candidate: Run, one: Latency | None, two: Latency | None) -> str:
    if one is None or two is None:
        return f"the {'baseline' if one is None else 'candidate'} was not timed"
    if one.batch != two.batch:
        return f"the baseline was timed on batches of {one.batch} and the candidate of {two.batch}"
    places = [
        (latency.backends.int8, run.versions.get("gpu", ""), run.versions.get("cpu", ""))
        for latency, run in ((one, baseline), (two, candidate))
    ]
    if [_VERSION.sub("", places[0][0]), *places[0][1:]] != [_VERSION.sub("", places[1][0]), *places[1][1:]]:
        ran = (", ".join(filter(None, place)) for place in places)
        return "the baseline ran on «{}» and the candidate on «{}»".format(*ran)
    return ""


def _ratio_interval(one: tuple[float, ...], two: tuple[float, ...], level: float) -> Interval:
    """Return the percentile interval of median(two) / median(one), rounds drawn anew on either side."""
    draw = np.random.default_rng(0)
    ratios = _medians(draw, two) / _medians(draw, one)
    low, high = np.percentile(ratios, [50 * (1 - level), 50 * (1 + level)])
    return Interval(float(low), float(high), level)


def _medians(draw: np.random.Generator, times: tuple[float, ...]) -> F64:
    given = np.array(times)
    return np.asarray(np.median(given[draw.integers(0, given.size, (RESAMPLES, given.size))], axis=1), np.float64)


def _size(baseline: Run, candidate: Run, limit: Limit) -> Check:
    one, two = baseline.comparison.sizes, candidate.comparison.sizes
    if one is None or two is None or not one.int8:
        return unmeasured("size", "ratio", limit, "the sizes of the models were not noted")
    ratio = two.int8 / one.int8
    state: State = limit.level if ratio > limit.value else "pass"
    sentence = f"The INT8 model has {two.int8:,} bytes, {ratio:.3g} times the baseline's {one.int8:,}; {limit.value:g} times is allowed."
    return Check(
        "size",
        state,
        ratio,
        limit.value,
        None,
        None,
        sentence,
        None,
        "ratio",
        limit.level,
        float(one.int8),
        float(two.int8),
    )


def _decibel(signal: float, noise: float) -> float | None:
    return 10 * log10(signal / noise) if noise > 0 else None
