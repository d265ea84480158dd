"""Scales that make what is written to each channel as large as what reads it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from quantlab.errors import InputError
from quantlab.graph.channel_classes import Classes
from quantlab.graph.channel_flow import Flow
from quantlab.numerics.arrays import F32, F64, I64, AnyArray

Steps: TypeAlias = Literal["powers of two", "any"]
"""Powers of two change no FP32 result by a bit (but for overflow and numbers below 1e-38); any is as computed."""

_LARGEST_LOG2 = 20.0
_SWEEPS = 50
_SETTLED = 0.02  # in log2: far below the half by which powers of two are rounded


@dataclass(frozen=True, slots=True)
class Coupling:
    """The weight of one operator as the largest magnitude by channel read and made.

    Attributes
    ----------
    output
        First output of the operator.
    magnitudes
        float32, of two axes at most.
    reads, makes
        Classes of the channels, broadcasting with `magnitudes`; None if the operator reads none.
    """

    output: str
    magnitudes: F32
    reads: I64 | None
    makes: I64

    def made(self, log2: F64) -> tuple[I64, F64]:
        """Return the classes made and, for each, the largest magnitude under these scales."""
        return self.makes.reshape(-1), _largest(self._scaled(log2), self.makes)

    def read(self, log2: F64) -> tuple[I64, F64]:
        """Return the classes read and, for each, the largest magnitude under these scales."""
        if self.reads is None:
            return np.zeros(0, np.int64), np.zeros(0)
        return self.reads.reshape(-1), _largest(self._scaled(log2), self.reads)

    def _scaled(self, log2: F64) -> F64:
        read = np.zeros(()) if self.reads is None else log2[self.reads]
        return np.asarray(self.magnitudes * np.exp2(read - log2[self.makes]))


def couplings(flow: Flow) -> tuple[Coupling, ...]:
    """Return the weights of a flow by channels, in graph order."""
    found = []
    for part in flow.parts:
        if part.role != "weight" or part.makes is None:
            continue
        node = flow.graph.producer(part.output)
        weight = None if node is None else flow.graph.constant(node.input[part.index])
        if weight is None:
            continue
        rest = tuple(range(2, weight.ndim))
        magnitudes = np.abs(weight).max(axis=rest, initial=0.0)
        reads = None if part.reads is None else flow.classes.roots(part.reads).reshape(part.reads.shape[:2])
        makes = flow.classes.roots(part.makes).reshape(part.makes.shape[:2])
        found.append(Coupling(part.output, magnitudes, reads, makes))
    return tuple(found)


def biases_by_class(flow: Flow) -> F64:
    """Return the largest magnitude of the biases of each class, [n]; 0 where there is none."""
    largest = np.zeros(len(flow.classes))
    for part in flow.parts:
        node = flow.graph.producer(part.output)
        if part.role == "bias" and part.makes is not None and node is not None:
            bias = flow.graph.constant(node.input[part.index])
            if bias is not None:
                values, roots = np.broadcast_arrays(np.abs(bias), flow.classes.roots(part.makes))
                np.maximum.at(largest, roots.reshape(-1), values.reshape(-1))
    return largest


def peaks_by_class(flow: Flow, wanted: Mapping[str, int], peaks: Mapping[str, F32]) -> F64:
    """Return the largest magnitude seen in each class, [n]; NaN where no tensor tells.

    Raises
    ------
    InputError
        An array is not one finite number >= 0 a channel.
    """
    largest = np.full(len(flow.classes), np.nan)
    for tensor, axis in wanted.items():
        if tensor not in peaks or (ids := flow.along(tensor, axis)) is None:
            continue
        channels = np.size(peaks[tensor]) if ids.size == 1 else ids.size  # one class may hold all channels
        found = checked_peaks(tensor, peaks[tensor], channels)
        np.fmax.at(largest, np.broadcast_to(flow.classes.roots(ids), found.shape), found)
    return largest


def checked_peaks(tensor: str, values: AnyArray, channels: int) -> F64:
    """Return the largest magnitudes of a tensor's channels in float64, [channels].

    Raises
    ------
    InputError
        They are not one finite number >= 0 a channel.
    """
    array = np.asarray(values)
    if array.shape != (channels,) or not np.issubdtype(array.dtype, np.floating):
        raise InputError(
            f"The peaks of tensor «{tensor}» are {array.dtype} {list(array.shape)}, but it has {channels} channels: "
            "give one float a channel."
        )
    if not (np.isfinite(array) & (array >= 0)).all():
        raise InputError(
            f"The peaks of tensor «{tensor}» hold NaN, infinity or numbers below 0: collect them on finite data."
        )
    return array.astype(np.float64)


def balanced(weights: Sequence[Coupling], chosen: AnyArray, floor: F64, peaks: F64 | None) -> F64:
    """Return log2 of the scale of each class, [n], 0 for those not `chosen`.

    Each step sets s so that the largest magnitude made and the largest that reads are both their geometric mean,
    the channels of one operator's output at a time, until nothing moves (Nagel et al. 2019, section 4.1). What is
    made is measured by the weights or, where `peaks` are given, by the activations themselves. A channel of zeros
    counts as the smallest that is not; without peaks a bias counts too, the largest of an output as much as its
    median row: a row of next to nothing must not blow up its bias.

    Parameters
    ----------
    weights
        The weights by channels.
    chosen
        Which classes may be scaled, bool [n].
    floor
        Largest bias of each class, [n].
    peaks
        Largest magnitude seen of each class, [n]; None to go by the weights.
    """
    log2 = np.zeros(len(chosen))
    blocks = _blocks(weights, chosen)
    seen = _written(weights, log2) if peaks is None else peaks
    floors = np.zeros_like(log2) if peaks is not None else _comparable(floor, seen, blocks)
    for _ in range(_SWEEPS):
        moved = 0.0
        for block in blocks:
            step = _step(weights, block, log2, floors, peaks)
            moved = max(moved, float(np.abs(step).max(initial=0.0)))
            log2[block] = np.clip(log2[block] + step, -_LARGEST_LOG2, _LARGEST_LOG2)
        if moved < _SETTLED:
            break
    return log2


def without_zeros(values: F64) -> F64:
    """Return magnitudes with the smallest positive one in the place of zeros; ones if all are zero."""
    positive = values[values > 0]
    return np.where(values > 0, values, positive.min() if positive.size else 1.0)


def rounded(log2: F64, steps: Steps) -> F64:
    """Return the scales, powers of two or as they are."""
    return np.exp2(np.rint(log2) if steps == "powers of two" else log2)


def _largest(scaled: F64, classes: I64) -> F64:
    others = tuple(i for i in range(scaled.ndim) if classes.shape[i] == 1)
    return np.asarray(scaled.max(axis=others, initial=0.0, keepdims=True) + np.zeros(classes.shape)).reshape(-1)


def _gathered(found: Iterable[tuple[I64, F64]], size: int) -> F64:
    largest = np.zeros(size)
    for classes, values in found:
        np.maximum.at(largest, classes, values)
    return largest


def _written(weights: Iterable[Coupling], log2: F64) -> F64:
    return _gathered((w.made(log2) for w in weights), log2.size)


def _blocks(weights: Iterable[Coupling], chosen: AnyArray) -> tuple[I64, ...]:
    """Return the chosen classes in blocks that operators make together, in graph order."""
    together = Classes()
    everything = together.new(len(chosen))
    made = []
    for weight in weights:
        ids = np.unique(weight.makes)
        ids = ids[chosen[ids]]
        made.append(ids)
        if ids.size:
            together.join(ids[:1], ids)
    roots = together.roots(everything)
    starts = dict.fromkeys(int(roots[ids[0]]) for ids in made if ids.size)
    return tuple(np.flatnonzero((roots == start) & chosen) for start in starts)


def _comparable(floor: F64, written: F64, blocks: Iterable[I64]) -> F64:
    """Return the biases in the unit of the weights: the largest of a block counts as its median row."""
    found = np.zeros_like(floor)
    for block in blocks:
        if floor[block].max() > 0:
            found[block] = floor[block] / floor[block].max() * np.median(written[block])
    return found


def _step(weights: Iterable[Coupling], block: I64, log2: F64, floors: F64, peaks: F64 | None) -> F64:
    inside = np.zeros(log2.size, bool)
    inside[block] = True
    readers = [w for w in weights if w.reads is not None and inside[w.reads].any()]
    read = without_zeros(_gathered((w.read(log2) for w in readers), log2.size)[block])
    if peaks is None:
        makers = [w for w in weights if inside[w.makes].any()]
        made = np.maximum(_written(makers, log2)[block], floors[block] * np.exp2(-log2[block]))
    else:
        made = peaks[block] * np.exp2(-log2[block])
    return np.asarray((np.log2(without_zeros(made)) - np.log2(read)) / 2)
