"""Samples whose answer changes: with their pictures where some were kept, and what each class loses."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from quantlab.comparison.agreement import Flip
from quantlab.comparison.sample_table import SampleTable
from quantlab.report import formats

Effect = Literal["lost", "gained", "wrong either way", ""]
"""Of a labelled sample: FP32 was right, INT8 is, or neither."""

MOST_FLIPS = 200
"""Samples listed; the page says how many there are."""

_PICTURES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}
_LARGEST_PICTURE = 32_768


@dataclass(frozen=True, slots=True)
class FlippedRow:
    """One sample for which INT8 chooses another class.

    Attributes
    ----------
    index, name
        Place in the data, from 0, and the sample's name; empty if it has none.
    label, fp32, int8
        Classes; a label of None is not known, a class of −1 is none, for scores with NaN.
    confidence
        FP32's share for its class, 0 … 1; None where it is not known.
    picture
        A thumbnail as a `data:` address; empty for none.
    """

    index: int
    name: str
    label: int | None
    fp32: int
    int8: int
    confidence: float | None = None
    picture: str = ""

    @property
    def effect(self) -> Effect:
        """What the change does to the score."""
        if self.label is None:
            return ""
        return "lost" if self.fp32 == self.label else "gained" if self.int8 == self.label else "wrong either way"


@dataclass(frozen=True, slots=True)
class ClassCost:
    """What one class loses: right answers lost and gained, and how many samples it has (None: not known)."""

    label: int
    lost: int
    gained: int
    samples: int | None = None

    @property
    def net(self) -> int:
        """Right answers fewer."""
        return self.lost - self.gained


@dataclass(frozen=True, slots=True)
class Flipped:
    """All of them.

    Attributes
    ----------
    rows
        Those with a picture first, then by place; at most 200.
    count
        How many there are.
    classes
        The classes that lose or gain, the worst first.
    names
        Class names by number; empty where none were given.
    """

    rows: tuple[FlippedRow, ...]
    count: int
    classes: tuple[ClassCost, ...] = ()
    names: tuple[str, ...] = ()

    @property
    def lost(self) -> int:
        """Right answers that INT8 loses, those that it gains not taken off."""
        return sum(cost.lost for cost in self.classes)

    @property
    def gained(self) -> int:
        """Right answers that FP32 did not have."""
        return sum(cost.gained for cost in self.classes)

    def called(self, number: int | None) -> str:
        """Return what to call a class."""
        return formats.class_name(number, self.names)


def flipped(flips: Sequence[Flip], samples: SampleTable | None, names: Sequence[str] = ()) -> Flipped | None:
    """Return the samples whose answer changes; None where there is none."""
    if not flips:
        return None
    pictures = {} if samples is None else {index: _address(data) for index, data in samples.pictures.items()}
    sure = None if samples is None else samples.confidence
    chosen = sorted(flips, key=lambda flip: (not pictures.get(flip.index), flip.index))[:MOST_FLIPS]
    rows = tuple(
        FlippedRow(
            flip.index,
            flip.name,
            flip.label,
            flip.fp32,
            flip.int8,
            _share(float(sure[flip.index])) if sure is not None and flip.index < len(sure) else None,
            pictures.get(flip.index, ""),
        )
        for flip in chosen
    )
    return Flipped(rows, len(flips), _classes(flips, samples), tuple(names))


def _share(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _address(data: bytes) -> str:
    """Return a picture as a `data:` address; empty for what is neither PNG nor JPEG, or too large for a thumbnail."""
    kind = next((kind for magic, kind in _PICTURES.items() if data.startswith(magic)), None)
    if kind is None or len(data) > _LARGEST_PICTURE:
        return ""
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _classes(flips: Sequence[Flip], samples: SampleTable | None) -> tuple[ClassCost, ...]:
    lost: dict[int, int] = {}
    gained: dict[int, int] = {}
    for flip in flips:
        if flip.label is not None and flip.fp32 != flip.int8:
            if flip.fp32 == flip.label:
                lost[flip.label] = lost.get(flip.label, 0) + 1
            elif flip.int8 == flip.label:
                gained[flip.label] = gained.get(flip.label, 0) + 1
    counts = _counts(samples)
    found = [
        ClassCost(label, lost.get(label, 0), gained.get(label, 0), counts.get(label)) for label in {**lost, **gained}
    ]
    return tuple(sorted(found, key=lambda cost: (-cost.net, -cost.lost, cost.label)))


def _counts(samples: SampleTable | None) -> Mapping[int, int]:
    if samples is None or samples.labels is None:
        return {}
    labels, counts = np.unique(samples.labels, return_counts=True)
    return {int(label): int(count) for label, count in zip(labels, counts, strict=True)}
