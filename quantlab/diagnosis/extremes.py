"""Which sample set each tensor's range, and how much of the range hangs on it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from quantlab.calibration.ranges import Range
from quantlab.diagnosis.survey import Survey
from quantlab.numerics.arrays import F64
from quantlab.numerics.histogram import BINS, Histogram

NOTABLE = 0.05
"""A range that falls by this share without one sample hangs on it."""


@dataclass(frozen=True, slots=True)
class Extreme:
    """The sample that holds a tensor's largest magnitude.

    Attributes
    ----------
    tensor
        Its name in the user's model.
    sample, index
        Name and place of the sample, from 0; of equals the first.
    value
        The largest magnitude, in the tensor's unit.
    second, second_value
        The sample with the next largest one, and that; empty and 0 where there is no other sample.
    falls
        By method, the share, 0 … 1, by which the threshold falls without the sample; negative where it rises. To
        within a histogram's bin.
    """

    tensor: str
    sample: str
    index: int
    value: float
    second: str
    second_value: float
    falls: dict[str, float] = field(hash=False)

    @property
    def amax_falls(self) -> float:
        """The share, 0 … 1, by which the largest magnitude falls without the sample; 1 for the only sample."""
        return 1 - self.second_value / self.value if self.value else 0.0


@dataclass(frozen=True, slots=True)
class Setter:
    """A sample that alone sets the ranges of some tensors: without it they fall notably.

    Attributes
    ----------
    sample, index
        Its name and place.
    tensors
        The tensors, in graph order.
    smallest, largest
        The shares by which their ranges fall without it.
    """

    sample: str
    index: int
    tensors: tuple[str, ...]
    smallest: float
    largest: float


def find_extremes(survey: Survey, methods: Iterable[Callable[[Histogram], Range]]) -> tuple[Extreme, ...]:
    """Return, for each tensor with a value, who set its range; thresholds as these methods choose them."""
    asked, whole, amax = tuple(methods), survey.whole, survey.amax
    found = []
    for column, tensor in enumerate(survey.tensors):
        if whole[tensor].total == 0:
            continue
        order = np.argsort(-amax[:, column], kind="stable")
        first, rest = int(order[0]), order[1:]
        without = _without(whole[tensor], survey.leading[tensor], survey.low[rest, column], survey.high[rest, column])
        sample, second = survey.samples[first], survey.samples[int(rest[0])] if rest.size else None
        found.append(
            Extreme(
                tensor,
                sample.name,
                sample.index,
                float(amax[first, column]),
                second.name if second else "",
                float(amax[rest[0], column]) if second else 0.0,
                {repr(method): _fall(method, whole[tensor], without) for method in asked},
            )
        )
    return tuple(found)


def setters(extremes: Iterable[Extreme], notable: float = NOTABLE) -> tuple[Setter, ...]:
    """Return the samples without which largest magnitudes fall by the notable share, those with most tensors first."""
    alone: dict[int, list[Extreme]] = {}
    for extreme in extremes:
        if extreme.second and extreme.amax_falls >= notable:
            alone.setdefault(extreme.index, []).append(extreme)
    found = [_setter(group) for group in alone.values()]
    return tuple(sorted(found, key=lambda s: (-len(s.tensors), -s.largest, s.index)))


def sentence(extremes: Mapping[str, Extreme]) -> str:
    """Return the finding in words, such as «a.png» alone sets 14 of 50 ranges; without it they fall by 12–40 %."""
    found = setters(extremes.values())
    if not found:
        return f"No sample alone sets a range: without any one of them none of the {len(extremes)} falls by 5 %."
    first = found[0]
    low, high = f"{100 * first.smallest:.0f}", f"{100 * first.largest:.0f}"
    fall = f"it falls by {high} %" if len(first.tensors) == 1 else f"they fall by {low}–{high} %"
    if low == high:
        fall = fall.replace(f"{low}–{high}", high)
    others = sum(len(setter.tensors) for setter in found[1:])
    hanging = "another one hangs" if others == 1 else f"{others} others hang"
    holders = "another sample" if len(found) == 2 else f"{len(found) - 1} other samples"
    more = f" Of the ranges, {hanging} on {holders}." if others else ""
    return f"«{first.sample}» alone sets {len(first.tensors)} of {len(extremes)} ranges; without it {fall}.{more}"


def _setter(group: list[Extreme]) -> Setter:
    falls = [extreme.amax_falls for extreme in group]
    tensors = tuple(extreme.tensor for extreme in group)
    return Setter(group[0].sample, group[0].index, tensors, min(falls), max(falls))


def _without(whole: Histogram, one: Histogram, low: F64, high: F64) -> Histogram | None:
    """Return the histogram of all samples but one, on the whole's grid; None where nothing finite is left."""
    empty = Histogram(np.zeros((2, BINS), np.int64), whole.top, 0, 0, 0, 0, float("nan"), float("nan"))
    gone = empty.merge(one)
    counts, zeros = whole.counts - gone.counts, whole.zeros - one.zeros
    if not counts.any() and zeros == 0:
        return None
    return Histogram(counts, whole.top, zeros, 0, 0, 0, float(np.nanmin(low)), float(np.nanmax(high)))


def _fall(method: Callable[[Histogram], Range], whole: Histogram, without: Histogram | None) -> float:
    threshold = method(whole).amax
    if without is None or threshold == 0:
        return 1.0 if threshold else 0.0
    return 1 - method(without).amax / threshold
