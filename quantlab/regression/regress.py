"""Whether a candidate is worse than its baseline, on the same samples."""

from collections.abc import Mapping
from typing import Literal

import numpy as np

from quantlab.comparison.agreement import printable
from quantlab.errors import UsageError
from quantlab.regression.asked import asked_losses, asked_slices
from quantlab.regression.check import Check, verdict_of
from quantlab.regression.correction import corrected
from quantlab.regression.differences import differences
from quantlab.regression.limits import limit_checks
from quantlab.regression.loss_checks import loss_check, slices_check, unchanged_check
from quantlab.regression.losses import Score
from quantlab.regression.pairing import Shared, pair
from quantlab.regression.policy import Policy
from quantlab.regression.regression import Regression, RegressionFlip, Side, Slice
from quantlab.regression.run import Run
from quantlab.regression.scale_drift import scale_drifts

_ORDER = ("fail", "inconclusive", "warn", "pass")


def regress(
    baseline: Run, candidate: Run, policy: Policy | None = None, *, scores: Mapping[str, Score] | None = None
) -> Regression:
    """Return whether the candidate may take the baseline's place, and what hurts if not.

    All that is asked of the samples fails together, by chance, for `policy.alpha` of the networks that are no worse. What is
    measured once (scales, coverage, size) is beside its limit or within it. A candidate whose score is not final passes with
    a warning at best, unless it gives the baseline's own outputs.

    Parameters
    ----------
    policy
        None: `Policy()`, which asks for no significant loss of the first metric, and for scales that still look like the same
        data's.
    scores
        By the metric's name, what makes a score of its values [samples, …], where it is not their mean.

    Raises
    ------
    InputError
        When the runs share no sample, or do not tell their samples; when slices are asked for that they do not have.
    UsageError
        When the policy names a metric that not both runs measured.
    """
    asked = policy or Policy()
    shared = pair(baseline, candidate)
    identical = shared.identical and _other_outputs_too(baseline, candidate, shared)
    checks, slices, groups = _of_samples(shared, asked, scores or {}, identical=identical)
    checks += tuple(limit_checks(baseline, candidate, shared, asked, groups))
    of_scales, drifts = scale_drifts(baseline, candidate, asked)
    checks += of_scales
    if not checks:
        raise UsageError(
            "There is nothing to judge: the runs have no metric and no classes, and the policy asks for nothing else."
        )
    if candidate.comparison.doubt and not identical:
        checks += (_not_final(candidate),)
    ordered = tuple(sorted(checks, key=lambda check: _ORDER.index(check.state)))
    return Regression(
        verdict=verdict_of(ordered),
        checks=ordered,
        differences=_differences(baseline, candidate, shared),
        baseline=_side(baseline),
        candidate=_side(candidate),
        samples=len(shared),
        left_out=shared.left_out,
        alpha=asked.alpha,
        identical=identical,
        slices=slices,
        drifts=drifts,
        flips=_flips(shared),
    )


def _other_outputs_too(baseline: Run, candidate: Run, shared: Shared) -> bool:
    """Tell whether outputs beyond the first, of which the samples tell nothing, have the same errors over the same samples."""
    one, two = baseline.comparison.outputs, candidate.comparison.outputs
    return max(len(one), len(two)) < 2 or (one == two and not any(shared.left_out))


def _not_final(candidate: Run) -> Check:
    """Return a warning: samples that chose the scales, or are no data, flatter the candidate."""
    sentence = f"The candidate's score is not final: {candidate.comparison.doubt}."
    return Check("final score", "warn", None, None, None, None, sentence, level="warn")


def _of_samples(
    shared: Shared, policy: Policy, scores: Mapping[str, Score], *, identical: bool
) -> tuple[tuple[Check, ...], tuple[Slice, ...], int]:
    """Return the checks of losses, the slices, and in how many parts the level was cut."""
    beside, own = asked_losses(shared, policy, scores)
    slicings = asked_slices(shared, policy, beside[0].loss if beside else None)
    found = corrected(beside, own, slicings, others=policy.agreement is not None)
    checks = [
        unchanged_check(asked, policy) if identical else loss_check(asked, p, policy)
        for asked, p in zip(beside, found.beside, strict=True)
    ]
    checks += [loss_check(asked, p, policy) for asked, p in zip(own, found.own, strict=True)]
    slices: list[Slice] = []
    corrections = iter(found.slices)
    for part in slicings:
        check, judged = slices_check(part, next(corrections) if part.losses else (), policy, identical=identical)
        checks.append(check)
        slices += judged
    return tuple(checks), tuple(slices), found.groups


def _differences(baseline: Run, candidate: Run, shared: Shared) -> tuple[str, ...]:
    relabelled = (f"the labels of {shared.relabelled:,} samples",) if shared.relabelled else ()
    return differences(baseline, candidate) + relabelled


def _side(run: Run) -> Side:
    found = run.comparison
    return Side(run.name, found.samples, found.data.name, found.backends.int8, found.final)


def _flips(shared: Shared) -> tuple[RegressionFlip, ...]:
    """Return the samples for which both INT8 networks choose different classes, in the candidate's order."""
    if shared.classes is None:
        return ()
    one, two = shared.classes
    labels, names, keys = shared.labels, shared.names, shared.keys
    found = []
    for i in np.flatnonzero(one != two):
        label = None if labels is None else int(labels[i])
        name = printable(names[i]) if names else ""
        effect = _effect(label, int(one[i]), int(two[i]))
        found.append(RegressionFlip(int(shared.theirs[i]), keys[i], name, label, int(one[i]), int(two[i]), effect))
    return tuple(sorted(found, key=lambda flip: flip.index))


def _effect(label: int | None, one: int, two: int) -> Literal["worse", "better", "other"]:
    if label is not None and one == label:
        return "worse"
    return "better" if label is not None and two == label else "other"
