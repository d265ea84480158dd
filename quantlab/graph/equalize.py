"""Cross-layer equalization: channel ranges balanced between operators, the FP32 outputs unchanged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from quantlab.errors import InputError
from quantlab.graph.channel_balance import (
    Coupling,
    Steps,
    balanced,
    biases_by_class,
    couplings,
    peaks_by_class,
    rounded,
)
from quantlab.graph.channel_flow import ClipForm, Flow
from quantlab.graph.channel_parts import apply_scales
from quantlab.graph.editing import Editing
from quantlab.graph.model import Model
from quantlab.graph.view import Graph, operator
from quantlab.numerics.arrays import F32, F64, AnyArray


@dataclass(frozen=True, slots=True)
class EqualizeOptions:
    """What equalization may do.

    Attributes
    ----------
    clip
        skip: a Clip with bounds other than 0 (ReLU6) stays a border, since a scale would move its bounds;
        per-channel: it becomes a Relu and a Min with a bound a channel, which costs an elementwise kernel each.
    steps
        powers of two leave every FP32 output as it is, bit for bit; any leaves them equal to about 1e-6.
    """

    clip: ClipForm = "skip"
    steps: Steps = "powers of two"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two operators with scaled channels between them; a channel's weights are divided by s, and multiplied by it.

    Attributes
    ----------
    producer, consumer
        Names of the nodes.
    channels
        How many channels lie between.
    smallest, largest
        Of the scales s.
    """

    producer: str
    consumer: str
    channels: int
    smallest: float
    largest: float


@dataclass(frozen=True, slots=True)
class Equalized:
    """An equalized model and what was done.

    Attributes
    ----------
    model
        Computes what the one given computes.
    pairs
        What was balanced, in graph order.
    skipped
        Weighted operators whose output was not scaled → why.
    changed
        Tensors whose values are others now: their histograms and scales no longer apply.
    """

    model: Model
    pairs: tuple[Pair, ...]
    skipped: Mapping[str, str]
    changed: tuple[str, ...]


def equalize(
    model: Model, peaks: Mapping[str, F32] | None = None, *, options: EqualizeOptions | None = None
) -> Equalized:
    """Balance the channels between the weighted operators of a normalised model.

    After Nagel et al. 2019 (arXiv:1906.04721), for any graph: chains, depthwise convolutions, residual streams
    (one scale for all that write or read a channel), Concat, Split, Reshape and pixel shuffles. Channels stay as
    they are where an operator with f(s·x) ≠ s·f(x) reads them, or an output of the model is made of them.

    Parameters
    ----------
    model
        A normalised model; the one given is not changed.
    peaks
        For each tensor of `wanted(model)` the largest magnitude of each channel, [channels]: then activations are
        balanced against the weights that read them. None balances weights against weights, as the paper does.
    options
        None: the defaults.

    Raises
    ------
    InputError
        `peaks` lack a tensor, or are not one finite number >= 0 a channel.
    """
    options = options or EqualizeOptions()
    flow = Flow(Graph(model.proto), options.clip)
    weights = couplings(flow)
    chosen = _chosen(flow, weights)
    seen = None if peaks is None else _seen(flow, peaks, chosen)
    log2 = balanced(weights, chosen, biases_by_class(flow), seen)
    scales = rounded(log2, options.steps)[flow.classes.roots(np.arange(len(flow.classes), dtype=np.int64))]
    editing = Editing.of(model)
    apply_scales(editing, flow.parts, scales)
    pairs = tuple(_pairs(flow, weights, chosen, scales))
    return Equalized(editing.finished(), pairs, _skipped(flow, weights, pairs), flow.changed(scales))


def wanted(model: Model, *, options: EqualizeOptions | None = None) -> dict[str, int]:
    """Return the tensors whose peaks `equalize` can use → the axis of their channels, in graph order."""
    options = options or EqualizeOptions()
    flow = Flow(Graph(model.proto), options.clip)
    return _wanted(flow, _chosen(flow, couplings(flow)))


def _wanted(flow: Flow, chosen: AnyArray) -> dict[str, int]:
    found = {}
    for part in flow.parts:
        node = flow.graph.producer(part.output)
        if part.role != "weight" or part.reads is None or node is None:
            continue
        if chosen[flow.classes.roots(part.reads)].any():
            found[node.input[0]] = -1 if operator(node) in ("Gemm", "MatMul") else 1
    return found


def _chosen(flow: Flow, weights: tuple[Coupling, ...]) -> AnyArray:
    """Return which classes weighted operators alone make, and others read, bool [n]."""
    made, read, other = (np.zeros(len(flow.classes), bool) for _ in range(3))
    for weight in weights:
        made[weight.makes] = True
        if weight.reads is not None:
            read[weight.reads] = True
    for part in flow.parts:
        if part.role == "norm" and part.makes is not None:
            other[flow.classes.roots(part.makes)] = True
    return made & read & ~other & ~flow.classes.fixed()


def _seen(flow: Flow, peaks: Mapping[str, F32], chosen: AnyArray) -> F64:
    wanted_tensors = _wanted(flow, chosen)
    missing = [name for name in wanted_tensors if name not in peaks]
    if missing:
        raise InputError(f"There are no peaks of tensor «{missing[0]}»: collect those of all that `wanted` names.")
    return peaks_by_class(flow, wanted_tensors, peaks)


def _pairs(flow: Flow, weights: tuple[Coupling, ...], chosen: AnyArray, scales: F64) -> Iterator[Pair]:
    readers = [(w, np.unique(w.reads)) for w in weights if w.reads is not None]
    for maker in weights:
        made = np.unique(maker.makes)
        made = made[chosen[made]]
        for reader, read in readers:
            shared = scales[np.intersect1d(made, read, assume_unique=True)]
            if shared.size:
                names = (_name(flow, maker), _name(flow, reader))
                yield Pair(*names, shared.size, float(shared.min()), float(shared.max()))


def _skipped(flow: Flow, weights: tuple[Coupling, ...], pairs: tuple[Pair, ...]) -> dict[str, str]:
    done = {pair.producer for pair in pairs}
    found = dict(flow.refused)
    for weight in weights:
        name = _name(flow, weight)
        if name not in done:
            reason = flow.classes.reason(weight.makes)
            found[name] = f"{reason}." if reason else "No weighted operator reads its channels."
    order = [node.name for node in flow.graph.nodes]
    return {name: found[name] for name in order if name in found}


def _name(flow: Flow, weight: Coupling) -> str:
    node = flow.graph.producer(weight.output)
    return "" if node is None else node.name
