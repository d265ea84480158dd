"""What a policy asks of the samples two runs share: which losses, beside which limits."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from quantlab.comparison.paired import PairedValues
from quantlab.comparison.sample_table import MetricKind
from quantlab.errors import InputError, UsageError
from quantlab.metrics.classes import UNDECIDED
from quantlab.numerics.arrays import I64
from quantlab.regression.losses import Loss, Score
from quantlab.regression.pairing import Shared
from quantlab.regression.policy import LABEL, DropLimit, Policy, SliceLimit

AGREEMENT = "agreement with FP32"
"""What takes the place of a metric where the runs have none."""

_SHARE = 0.01
"""Part of a baseline's score that stands for a point where the score has a unit of its own."""


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """One loss and its limit.

    Attributes
    ----------
    name
        Of the check.
    loss
        Of the candidate beside the baseline's INT8, or beside its own FP32.
    limit
        The policy's.
    beside
        What the candidate is compared with, in words.
    """

    name: str
    loss: Loss
    limit: DropLimit
    beside: str

    @property
    def maximum(self) -> float:
        """The loss allowed, in the loss's unit."""
        return _allowed(self.loss, self.limit.maximum, 0.0)

    @property
    def exchangeable(self) -> bool:
        """Whether nothing may be lost of a mean: exchanging the runs' answers then tells what chance does."""
        return self.maximum == 0 and self.loss.score is None

    @property
    def excluded(self) -> float:
        """The loss that must be excluded for a pass, in the loss's unit."""
        return self.maximum + _allowed(self.loss, self.limit.resolution, 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class AskedSlices:
    """The slices of one slicing: the loss over all samples, and the slices' names, rows and losses."""

    limit: SliceLimit
    whole: Loss
    names: tuple[str, ...]
    rows: tuple[I64, ...]
    losses: tuple[Loss, ...]

    @property
    def maximum(self) -> float:
        """The loss allowed to each slice, in the losses' unit."""
        return _allowed(self.whole, self.limit.maximum, 0.0)

    @property
    def exchangeable(self) -> bool:
        """Whether no slice may lose anything."""
        return self.maximum == 0

    @property
    def excluded(self) -> float | None:
        """The loss that must be excluded for a pass, in the losses' unit; None where none must."""
        return None if self.limit.resolution is None else self.maximum + self.limit.resolution


def asked_losses(
    shared: Shared, policy: Policy, scores: Mapping[str, Score]
) -> tuple[tuple[Asked, ...], tuple[Asked, ...]]:
    """Return what is asked beside the baseline's INT8, and what beside the candidate's own FP32.

    Raises
    ------
    UsageError
        When the policy names a metric that the runs do not have in common, or one whose score is not known.
    InputError
        When a metric of one name means something else in either run.
    """
    kinds = _kinds(shared)
    wanted = dict(policy.metrics) or {name: DropLimit() for name in list(kinds)[:1]}
    for name in (*wanted, *policy.fp32):
        _known(kinds, name)
    beside = [
        Asked(name, _loss(shared.int8(name), _known(kinds, name), scores), limit, "the baseline")
        for name, limit in wanted.items()
    ]
    if not wanted:
        beside = [Asked(AGREEMENT, loss, DropLimit(), "the baseline") for loss in _agreement(shared)]
    own = [
        Asked(f"{name} beside FP32", _loss(shared.own(name), _known(kinds, name), scores), limit, "its own FP32")
        for name, limit in policy.fp32.items()
    ]
    return tuple(beside), tuple(own)


def asked_slices(shared: Shared, policy: Policy, loss: Loss | None) -> tuple[AskedSlices, ...]:
    """Return each slicing of the first metric's loss.

    Raises
    ------
    InputError
        When there are no labels to slice by, no sample is in any slice, or the metric is no mean over samples.
    """
    if loss is None:
        return ()
    found = []
    for limit in policy.slices:
        if loss.score is not None:
            raise InputError(
                f"«{loss.metric}» is no mean over samples, so it has no slices «{limit.by}»: name another metric first."
            )
        members = _members(shared, limit)
        rows = {name: np.array(places, np.int64) for name, places in members.items() if len(places) >= limit.least}
        losses = tuple(loss.part(places) for places in rows.values())
        found.append(AskedSlices(limit, loss, tuple(rows), tuple(rows.values()), losses))
    return tuple(found)


def _kinds(shared: Shared) -> dict[str, MetricKind]:
    """Return the metrics of both tables, in the candidate's order."""
    one, two = shared.baseline.metrics, shared.candidate.metrics
    other = next((name for name in two if name in one and one[name] != two[name]), None)
    if other is not None:
        raise InputError(
            f"«{other}» is another metric in the baseline ({one[other]}) than in the candidate ({two[other]})."
        )
    return {name: kind for name, kind in two.items() if name in one}


def _known(kinds: Mapping[str, MetricKind], name: str) -> MetricKind:
    if name not in kinds:
        has = ", ".join(f"«{known}»" for known in kinds) or "none"
        raise UsageError(f"The policy limits «{name}», which not both runs measured; they have {has}.")
    return kinds[name]


def _loss(pairs: PairedValues, kind: MetricKind, scores: Mapping[str, Score]) -> Loss:
    if kind.mean:
        return Loss(kind.name, pairs, kind.higher_is_better, share=kind.in_points)
    if kind.name not in scores:
        raise UsageError(f"«{kind.name}» is no mean over samples, and nobody told how it is scored: give its `score`.")
    return Loss(kind.name, pairs, kind.higher_is_better, scores[kind.name], kind.in_points)


def _agreement(shared: Shared) -> list[Loss]:
    columns = [
        (table.fp32_class[rows], table.int8_class[rows])
        for table, rows in ((shared.baseline, shared.ours), (shared.candidate, shared.theirs))
        if table.fp32_class is not None and table.int8_class is not None
    ]
    if len(columns) < 2:
        return []
    one, two = (((fp32 == int8) & (fp32 != UNDECIDED)).astype(np.float64) for fp32, int8 in columns)
    return [Loss(AGREEMENT, PairedValues(one, two))]


def _members(shared: Shared, limit: SliceLimit) -> dict[str, list[int]]:
    """Return the places of each slice's samples among the shared ones, slices in the order of their names."""
    if limit.by == LABEL:
        labels = shared.labels
        if labels is None:
            raise InputError("The policy asks for slices by label, and the runs have no labels: score labelled data.")
        return {str(label): np.flatnonzero(labels == label).tolist() for label in np.unique(labels)}
    names = shared.names or shared.keys
    found: dict[str, list[int]] = {}
    for place, (key, name) in enumerate(zip(shared.keys, names, strict=True)):
        part = limit.members.get(key, limit.members.get(name))
        if part is not None:
            found.setdefault(part, []).append(place)
    if not found:
        raise InputError(f"None of the shared samples is in a slice «{limit.by}»: name them by their keys or names.")
    return dict(sorted(found.items()))


def _allowed(loss: Loss, given: float | None, points: float) -> float:
    if given is not None:
        return given
    return points if loss.unit else _SHARE * abs(loss.scores[0])
