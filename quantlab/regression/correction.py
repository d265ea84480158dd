"""P-values of all that is asked of the samples, which hold for all of it together."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from quantlab.regression.asked import Asked, AskedSlices
from quantlab.regression.losses import Loss
from quantlab.regression.multiple import exchanged, holm
from quantlab.regression.paired_tests import mcnemar_above

_WHOLES = 0.5
"""Part of the level for the scores of all samples; the slices share the rest."""


@dataclass(frozen=True, slots=True)
class Corrected:
    """P-values in the order of what was asked; a list a slicing that has slices.

    Attributes
    ----------
    groups
        In how many parts the level was cut.
    """

    beside: tuple[float, ...]
    own: tuple[float, ...]
    slices: tuple[tuple[float, ...], ...]
    groups: int


def corrected(
    beside: Sequence[Asked], own: Sequence[Asked], slices: Sequence[AskedSlices], *, others: int = 0
) -> Corrected:
    """Return one-sided p-values corrected for all questions.

    Means that may lose nothing, and their slices, are tested together by exchanging both runs' answers, the means with
    half of the level, the slices with the other half. Each other question counts as one more (Bonferroni), and so
    does a slicing that may lose something (Holm within).

    Parameters
    ----------
    others
        Tests elsewhere that have as large a part of the level.
    """
    slices = [part for part in slices if part.losses]
    free = [asked for asked in beside if asked.exchangeable]
    free_parts = [part for part in slices if part.exchangeable]
    joint = _exchanged([asked.loss for asked in free], free_parts)
    groups = bool(joint) + len(beside) - len(free) + len(own) + len(slices) - len(free_parts) + others

    def whole(asked: Asked) -> float:
        found = joint.get(id(asked.loss))
        return min(1.0, groups * (asked.loss.p_value(asked.maximum) if found is None else found))

    def parts(part: AskedSlices) -> tuple[float, ...]:
        if part.exchangeable:
            found = np.array([joint[id(loss)] for loss in part.losses])
        else:
            found = holm([loss.p_value(part.maximum) for loss in part.losses])
        return tuple(np.minimum(1.0, groups * found).tolist())

    return Corrected(
        tuple(map(whole, beside)),
        tuple(min(1.0, groups * asked.loss.p_value(asked.maximum)) for asked in own),
        tuple(map(parts, slices)),
        groups,
    )


def _exchanged(wholes: Sequence[Loss], slices: Sequence[AskedSlices]) -> dict[int, float]:
    """Return the joint p-value of each loss, by its identity."""
    if not wholes:
        # A slicing is of the first metric: its samples are all that there are.
        return _joint([], slices, 1 + max((int(rows.max()) for part in slices for rows in part.rows), default=-1))
    if len(wholes) == 1 and not slices and wholes[0].binary:
        counts = wholes[0].counts
        return {id(wholes[0]): mcnemar_above(counts.first_only, counts.second_only)}
    return _joint(wholes, slices, wholes[0].samples)


def _joint(wholes: Sequence[Loss], slices: Sequence[AskedSlices], samples: int) -> dict[int, float]:
    parts = [(loss, rows) for part in slices for loss, rows in zip(part.losses, part.rows, strict=True)]
    columns = [(loss, np.arange(samples)) for loss in wholes] + parts
    if not columns:
        return {}
    share = _WHOLES if wholes and parts else 1.0
    weights = [share / len(wholes)] * len(wholes) + [(share if not wholes else 1 - _WHOLES) / len(parts)] * len(parts)
    values = np.concatenate([loss.differences for loss, _ in columns])
    places = np.repeat(np.arange(len(columns)), [rows.size for _, rows in columns])
    members = np.concatenate([rows for _, rows in columns])
    table = csr_array((values, (members, places)), shape=(samples, len(columns)))
    found = exchanged(table, np.array(weights))
    return {id(loss): float(p) for (loss, _), p in zip(columns, found, strict=True)}
