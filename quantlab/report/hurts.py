"""What hurts most, in sentences: the class that loses answers, the tensor that makes noise, the operator that costs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from quantlab.report import formats
from quantlab.report.flips import Flipped
from quantlab.report.report_score import Score
from quantlab.report.searched import Search
from quantlab.report.tensor_row import Activation, TensorRow

_NEAR_DB = 3.0
_FEWEST = 6
_NOTABLE = 2
"""Right answers that a class has to lose, net, to be named: one alone is chance."""


@dataclass(frozen=True, slots=True)
class Hurt:
    """One thing that hurts.

    Attributes
    ----------
    subject
        A stranger's name, or a class; what the sentence is about.
    text
        What goes after it.
    row
        The tensor's row in the table; None for a class or an operator.
    """

    kind: Literal["class", "tensor", "operator", "depth", "sample"]
    subject: str
    text: str
    row: int | None = None


def hurts(
    score: Score | None,
    changed: Flipped | None,
    tensors: Sequence[TensorRow],
    inner: Sequence[Activation],
    search: Search | None,
) -> tuple[Hurt, ...]:
    """Return what hurts, what the task loses first; empty where nothing was measured."""
    return (*_of_class(changed), *_of_operator(search), *_of_tensor(tensors), *_of_depth(score, tensors, inner))


def _of_class(changed: Flipped | None) -> Iterator[Hurt]:
    worst = changed.classes[0] if changed is not None and changed.classes else None
    if changed is None or worst is None or not changed.lost:
        return
    everywhere = f"{_answers(changed.lost)} lost and {changed.gained:,} gained in all"
    if worst.net >= _NOTABLE:
        of = f" of its {worst.samples:,} samples" if worst.samples else ""
        gained = f", {worst.gained:,} gained" if worst.gained else ""
        subject = f"class {changed.called(worst.label)}"
        yield Hurt("class", subject, f"loses most: {worst.lost:,}{of} lost{gained} ({everywhere})")
        return
    lost = [row for row in changed.rows if row.effect == "lost"]
    if lost:
        row = max(lost, key=lambda row: row.confidence or 0.0)
        named = row.name or f"sample {row.index}"
        told = f"is the {'surest' if len(lost) > 1 else 'one'} right answer lost"
        yield Hurt(
            "sample",
            named,
            f"{told}: INT8 says {changed.called(row.int8)}, not {changed.called(row.fp32)} ({everywhere})",
        )


def _answers(count: int) -> str:
    return f"{count:,} right answer{'s' if count != 1 else ''}"


def _of_operator(search: Search | None) -> Iterator[Hurt]:
    rows = search.sensitivity.rows if search and search.sensitivity else []
    known = [row for row in rows if row.gain_db is not None and row.gain_db > 0]
    if known:
        worst = max(known, key=lambda row: row.gain_db or 0.0)
        yield Hurt(
            "operator",
            worst.name,
            f"costs most: in float the output's SQNR rises by {formats.decibel(worst.gain_db)} dB for "
            f"{formats.share(worst.share)} of the work",
        )


def _of_tensor(tensors: Sequence[TensorRow]) -> Iterator[Hurt]:
    measured = any(row.own_db is not None for row in tensors)
    known = [(row, db) for row in tensors if (db := row.own_db if measured else row.expected_db) is not None]
    known = [(row, db) for row, db in known if math.isfinite(db)]
    if not known:
        return
    row, db = min(known, key=lambda pair: pair[1])
    others = sorted(db for _, db in known)
    middle = others[len(others) // 2]
    clipped = f", {formats.share(row.clipped)} of its values clipped" if row.clipped else ""
    text = f"is distorted most by its own INT8: {formats.decibel(db)} dB {'' if measured else 'expected '}(the median tensor has {formats.decibel(middle)}){clipped}"
    yield Hurt("tensor", row.name, text, row.position)


def _of_depth(score: Score | None, tensors: Sequence[TensorRow], inner: Sequence[Activation]) -> Iterator[Hurt]:
    """Yield the first quantized tensor in graph order by which the network is as noisy as its output, to within 3 dB."""
    output = score.output_db if score else None
    line = [(one.name, one.accumulated_db, one.row) for one in inner if one.quantized]
    line = line or [(row.name, row.accumulated_db, row.position) for row in tensors]
    known = [(name, db, row) for name, db, row in line if db is not None and math.isfinite(db)]
    if output is None or not math.isfinite(output) or len(known) < _FEWEST:
        return
    for i, (name, db, row) in enumerate(known[: len(known) // 2]):
        if db <= output + _NEAR_DB:
            yield Hurt(
                "depth",
                name,
                f"already brings the network's SQNR down to {formats.decibel(db)} dB, as tensor {row or i + 1} of {len(tensors)}; the "
                f"output's is {formats.decibel(output)} dB",
                row,
            )
            return
