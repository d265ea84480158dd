"""SmoothQuant: outliers of the inputs of MatMul and Gemm moved into their weights, the FP32 outputs unchanged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import onnx

from quantlab.errors import UsageError
from quantlab.graph.channel_balance import Steps, checked_peaks, couplings, rounded, without_zeros
from quantlab.graph.channel_flow import Flow
from quantlab.graph.channel_parts import apply_scales
from quantlab.graph.editing import Editing, why_not_editable
from quantlab.graph.model import Model
from quantlab.graph.view import Graph, attribute, operator
from quantlab.numerics.arrays import F32, F64, I64, AnyArray

Where: TypeAlias = Literal["anywhere", "folded"]

_LARGEST_LOG2 = 20.0


@dataclass(frozen=True, slots=True)
class SmoothOptions:
    """How scales migrate.

    Attributes
    ----------
    alpha
        0 … 1: how much of the difficulty moves from activations to weights; the paper's is 0.5.
    where
        anywhere: a Mul is inserted where the scale cannot become part of what makes the input; folded: not then.
    steps
        powers of two leave every FP32 output as it is, bit for bit; any leaves them equal to about 1e-6.
    """

    alpha: float = 0.5
    where: Where = "anywhere"
    steps: Steps = "powers of two"

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise UsageError(f"alpha is {self.alpha}; it must lie between 0 and 1.")


@dataclass(frozen=True, slots=True)
class Migration:
    """The scales of one tensor.

    Attributes
    ----------
    tensor
        The input, whose channel j is divided by s_j.
    readers
        Names of the MatMul and Gemm nodes whose weights are multiplied by s.
    inserted
        Name of the tensor that the inserted Mul writes; empty where s became part of what makes the input.
    smallest, largest
        Of the scales s.
    """

    tensor: str
    readers: tuple[str, ...]
    inserted: str
    smallest: float
    largest: float

    @property
    def cost(self) -> str:
        """What it costs at run time."""
        return "one Mul" if self.inserted else "nothing"


@dataclass(frozen=True, slots=True)
class Smoothed:
    """A smoothed model and what was done.

    Attributes
    ----------
    model
        Computes what the one given computes.
    migrations
        What was scaled, in graph order.
    skipped
        Input tensor of a MatMul or Gemm → why it stays as it is.
    changed
        Tensors whose values are others now: their histograms and scales no longer apply.
    new
        Tensors that were not there before, which need histograms and scales.
    """

    model: Model
    migrations: tuple[Migration, ...]
    skipped: Mapping[str, str]
    changed: tuple[str, ...]
    new: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Input:
    """A tensor that MatMul and Gemm nodes multiply with constant weights."""

    tensor: str
    readers: tuple[onnx.NodeProto, ...]
    weight_peaks: F64


def wanted(model: Model) -> tuple[str, ...]:
    """Return the tensors that `smooth` can scale, whose peaks along the last axis it needs, in graph order."""
    return tuple(_inputs(Graph(model.proto)))


def smooth(model: Model, peaks: Mapping[str, F32], *, options: SmoothOptions | None = None) -> Smoothed:
    """Divide each channel j of the inputs of MatMul and Gemm by s_j, and multiply row j of their weights by it.

    s_j = max|x_j|^α / max|w_j|^(1−α) (Xiao et al. 2022, arXiv:2211.10438, eq. 4), w_j over all that read x. s becomes
    part of what makes x where that is exact: gamma and beta of a normalisation, or a weighted operator, through
    what keeps channels apart (the V of attention, ReLU, the gated product of SwiGLU, Reshape and Transpose); all
    that read these channels are scaled. Elsewhere one Mul is inserted before the nodes that share the input.

    Parameters
    ----------
    model
        A normalised model; the one given is not changed.
    peaks
        Tensor of `wanted(model)` → max|x| of each channel along the last axis, [channels]; a tensor without stays.
    options
        None: the defaults.

    Raises
    ------
    InputError
        Peaks are not one finite number >= 0 a channel.
    """
    options = options or SmoothOptions()
    flow = Flow(Graph(model.proto))
    inputs, skipped = _inputs(flow.graph), {}
    seen: dict[str, F64] = {}
    for tensor, found in inputs.items():
        if tensor in peaks:
            seen[tensor] = checked_peaks(tensor, peaks[tensor], found.weight_peaks.size)
        else:
            skipped[tensor] = "There are no peaks of its channels."
    free = {name: ids for name in seen if (ids := _free(flow, name)) is not None}
    scales = _folded_scales(flow, free, seen, options)
    editing = Editing.of(model)
    apply_scales(editing, flow.parts, scales)
    migrations = []
    for tensor, seen_peaks in seen.items():
        if tensor in free:
            migrations.append(_migration(inputs[tensor], "", scales[flow.along(tensor, -1)]))
        elif options.where == "folded":
            skipped[tensor] = f"{_obstacle(flow, tensor)}: a Mul would be needed."
        else:
            migrations.append(_insert(editing, inputs[tensor], seen_peaks, options))
    new = tuple(m.inserted for m in migrations if m.inserted)
    return Smoothed(editing.finished(), tuple(migrations), skipped, flow.changed(scales), new)


def _inputs(graph: Graph) -> dict[str, _Input]:
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.nodes:
        if operator(node) in ("Gemm", "MatMul") and not _why_not(graph, node):
            readers.setdefault(node.input[0], []).append(node)
    return {
        tensor: _Input(tensor, tuple(nodes), np.max([_row_peaks(graph, n) for n in nodes], axis=0))
        for tensor, nodes in readers.items()
    }


def _why_not(graph: Graph, node: onnx.NodeProto) -> str:
    weight = graph.constant(node.input[1])
    if weight is None or weight.ndim != 2 or attribute(node, "transA", 0) or graph.is_constant(node.input[0]):
        return "is no product of an activation and one constant matrix"
    return why_not_editable(weight)


def _row_peaks(graph: Graph, node: onnx.NodeProto) -> F64:
    """Return the largest magnitude of the weights that read each input channel, [channels]."""
    weight = np.abs(np.asarray(graph.constant(node.input[1]), np.float64))
    return np.asarray(weight.max(axis=0 if attribute(node, "transB", 0) else 1))


def _free(flow: Flow, tensor: str) -> I64 | None:
    """Return the classes of a tensor's channels along the last axis if all of them may be scaled."""
    ids = flow.along(tensor, -1)
    return None if ids is None or ids.size == 1 or flow.classes.reason(ids) else ids


def _obstacle(flow: Flow, tensor: str) -> str:
    ids = flow.along(tensor, -1)
    reason = None if ids is None else flow.classes.reason(ids)
    return reason or f"What makes «{tensor}» has no constant that could take the scale"


def _folded_scales(flow: Flow, free: Mapping[str, I64], seen: Mapping[str, F64], options: SmoothOptions) -> F64:
    """Return the scale of each channel of the flow, [n]: those of the free tensors, and 1."""
    count = len(flow.classes)
    largest, weights, log2 = np.zeros(count), np.zeros(count), np.zeros(count)
    for tensor, ids in free.items():
        np.maximum.at(largest, flow.classes.roots(ids), seen[tensor])
    for coupling in couplings(flow) if free else ():
        np.maximum.at(weights, *coupling.read(log2))
    for ids in free.values():
        roots = flow.classes.roots(ids)
        log2[roots] = _log2(largest[roots], weights[roots], options.alpha)
    return rounded(log2, options.steps)[flow.classes.roots(np.arange(count, dtype=np.int64))]


def _log2(peaks: F64, weights: F64, alpha: float) -> F64:
    found = alpha * np.log2(without_zeros(peaks)) - (1 - alpha) * np.log2(without_zeros(weights))
    return np.asarray(np.clip(found, -_LARGEST_LOG2, _LARGEST_LOG2))


def _insert(editing: Editing, found: _Input, peaks: F64, options: SmoothOptions) -> Migration:
    """Insert x / s before the readers of x and multiply the rows of their weights by s."""
    scales = rounded(_log2(peaks, found.weight_peaks, options.alpha), options.steps)
    factor, inserted = (editing.new_name(f"{found.tensor}_{end}") for end in ("smoothing", "smoothed"))
    editing.replace(factor, (1 / scales).astype(np.float32))
    readers = [editing.writers[node.output[0]] for node in found.readers]
    mul = onnx.helper.make_node("Mul", [found.tensor, factor], [inserted], inserted)
    editing.put([mul], before=readers[0])
    for node in readers:
        weight = editing.constant(node.input[1])
        rows = scales if attribute(node, "transB", 0) else scales[:, None]
        editing.set_input(node, 1, (weight * rows).astype(np.float32), "weight")
        node.input[0] = inserted
    return _migration(found, inserted, scales)


def _migration(found: _Input, inserted: str, scales: AnyArray) -> Migration:
    names = tuple(node.name for node in found.readers)
    return Migration(found.tensor, names, inserted, float(scales.min()), float(scales.max()))
