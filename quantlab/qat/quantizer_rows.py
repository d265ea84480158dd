"""Rows of a scale table from the quantizers of another library."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from torch import nn

from quantlab.calibration.scale_table import Scale, ScaleTable
from quantlab.errors import InputError
from quantlab.graph.model import Model
from quantlab.graph.patterns import source
from quantlab.graph.view import Graph
from quantlab.numerics.arrays import F32
from quantlab.qat.amax import Quantizer, agrees, scales_of
from quantlab.qat.module_tensors import ModuleTensors
from quantlab.qat.quantizer_files import shown
from quantlab.qat.weight_factors import ModuleWeight

_ACROSS = ", along the input channels"
_OUTPUTS_SINCE = "10.2"


@dataclass(frozen=True, slots=True)
class ReadQuantizers:
    """What the quantizers of another library say, in quantlab's terms.

    Attributes
    ----------
    module
        The float network with the weights that belong to the scales.
    model
        The same as `ql.export` writes it.
    table
        Rows for the tensors of `model`.
    unmatched
        Quantizer, or module that has none → why there is no row.
    notes
        Sentences on what was changed: unsigned ranges, and quantizers of one tensor that differ.
    """

    module: nn.Module
    model: Model
    table: ScaleTable
    unmatched: Mapping[str, str]
    notes: tuple[str, ...]


def read_rows(quantizers: Iterable[Quantizer], module: nn.Module, places: ModuleTensors, method: str) -> ReadQuantizers:
    """Return the table of these quantizers; `method` is what its rows say of their origin.

    Where several quantizers read one tensor (two branches, a weight used twice), the widest range wins, as a tensor
    has one scale in a runtime.

    Raises
    ------
    InputError
        An amax that is NaN, infinite, negative, or zero where there are values; one of another number of channels.
    """
    rows: dict[str, Scale] = {}
    unmatched: dict[str, str] = {}
    notes: list[str] = []
    for quantizer in quantizers:
        found = quantizer.refusal or _lost(quantizer, places) or _rows(quantizer, places, method)
        if isinstance(found, str):
            unmatched[quantizer.name] = found
            continue
        notes += _remarks(quantizer, found)
        for row in found:
            old = rows.get(row.tensor, row)
            if (old.scale, old.axis) != (row.scale, row.axis):
                notes.append(
                    f"Quantizer «{quantizer.name}» has another range for «{row.tensor}» than a quantizer before it: the "
                    "wider one counts."
                )
            rows[row.tensor] = _widest(old, row)
    table = ScaleTable(tuple(_with_sources(rows, places.graph)))
    return ReadQuantizers(module, places.model, table, unmatched, tuple(notes))


def _remarks(quantizer: Quantizer, rows: tuple[Scale, ...]) -> Iterator[str]:
    if quantizer.unsigned:
        yield (
            f"Quantizer «{quantizer.name}» counts 0 … 255; TensorRT's INT8 is signed, so its range is counted 0 … 127, "
            "with half the resolution."
        )
    for row in rows:
        if row.method.endswith(_ACROSS):
            yield (
                f"Quantizer «{quantizer.name}» has a scale an input channel, which only TensorRT before "
                f"{_OUTPUTS_SINCE} takes of a ConvTranspose; other targets compute scales from the weight «{row.tensor}»."
            )


def module_scales(row: Scale, weight: ModuleWeight) -> tuple[F32, int] | None:
    """Return a table row's scales for the module's own weight, before a BatchNorm is folded into it, and their axis.

    Float32, one a channel along an axis of the module's weight; None if the row's scales do not go along one.
    """
    axis = weight.axis if row.axis is None else row.axis % len(weight.shape)
    if axis == weight.axis:
        scales = np.broadcast_to(np.array(row.scale, np.float32), weight.factors.shape)
        return np.asarray(scales / _divisors(weight), np.float32), weight.channels
    if weight.transposed or not weight.is_unchanged:
        return None
    return np.array(row.scale, np.float32), axis


def _lost(quantizer: Quantizer, places: ModuleTensors) -> str | None:
    if quantizer.module not in places.inputs:
        return f"the network has no module «{shown(quantizer.module)}»"
    if quantizer.kind == "weight":
        found: object = places.weights.get(quantizer.module)
        why = "its module has no weight"
    else:
        found = _tensors(quantizer, places)
        why = "its tensor is not in the normalised ONNX model, as where a BatchNorm is folded into a convolution"
    return None if found else places.lost.get(quantizer.module, why)


def _tensors(quantizer: Quantizer, places: ModuleTensors) -> tuple[str, ...]:
    return (places.outputs if quantizer.kind == "output" else places.inputs)[quantizer.module]


def _rows(quantizer: Quantizer, places: ModuleTensors, method: str) -> tuple[Scale, ...] | str:
    """Return the rows, or why there are none."""
    if quantizer.kind == "weight":
        weights = places.weights[quantizer.module]
        reason = next((why for w in weights if (why := _refused(quantizer, w)) is not None), None)
        return reason or tuple(_weight_row(quantizer, weight, method) for weight in weights)
    if quantizer.amax.size != 1:
        return "an activation has one scale in TensorRT and ONNX Runtime, and it has one a channel"
    rows = []
    for tensor in _tensors(quantizer, places):
        scale = scales_of(quantizer, tensor)
        if agrees(quantizer.exact, quantizer.amax):
            scale = np.asarray(quantizer.exact, np.float32)
        rows.append(Scale(tensor, (float(scale.reshape(())),), shape=places.graph.shape(tensor), method=method))
    return tuple(rows)


def _axis(quantizer: Quantizer, weight: ModuleWeight) -> int:
    """Return the axis of the module's weight that the scales go along; one scale for all goes along its outputs."""
    longer = [axis for axis, size in enumerate(quantizer.amax.shape) if size > 1]
    return longer[0] if longer and quantizer.amax.ndim == len(weight.shape) else weight.channels


def _refused(quantizer: Quantizer, weight: ModuleWeight) -> str | None:
    shape = quantizer.amax.shape
    if sum(size > 1 for size in shape) > 1 or (quantizer.amax.size > 1 and len(shape) not in {1, len(weight.shape)}):
        return f"its amax of shape {list(shape)} is not one a channel, and blocks have no INT8 kernel"
    if _axis(quantizer, weight) != weight.channels and (weight.transposed or not weight.is_unchanged):
        return (
            "its scales go along the input channels, and a matrix product or a folded BatchNorm wants them along the "
            "output channels: calibrate it with another axis"
        )
    return None


def _weight_row(quantizer: Quantizer, weight: ModuleWeight, method: str) -> Scale:
    axis = _axis(quantizer, weight)
    across = axis != weight.channels  # TensorRT before 9 wants this of ConvTranspose
    channels = weight.shape[axis] if across else weight.factors.size
    if quantizer.amax.size not in {1, channels}:
        raise InputError(
            f"Quantizer «{quantizer.name}» has {quantizer.amax.size} amax for the {channels} channels of "
            f"«{weight.tensor}»: the checkpoint is of another network."
        )
    flat = replace(quantizer, amax=quantizer.amax.reshape(-1))
    divisors = np.float32(1) if across else _divisors(weight)
    dead = weight.dead[axis] if flat.amax.size > 1 else weight.dead[axis].all()
    plain = np.broadcast_to(scales_of(flat, weight.tensor, dead=np.asarray(dead)), (channels,))
    scales = np.asarray(plain * divisors, np.float32)
    if quantizer.exact is not None and quantizer.exact.size == channels:
        exact = quantizer.exact.reshape(-1)
        if agrees(np.asarray(exact / divisors, np.float32), flat.amax):
            scales = exact
    values = tuple(float(value) for value in scales)
    return Scale(
        weight.tensor,
        values,
        (0,) * len(values),
        axis=axis if across else weight.axis,
        role="weight",
        shape=weight.shape,
        method=f"{method}{_ACROSS}" if across else method,
    )


def _divisors(weight: ModuleWeight) -> F32:
    """Return the factors' magnitudes; 1 where a channel is multiplied by 0, whose scale no longer matters."""
    return np.where(weight.factors == 0, np.float32(1), np.abs(weight.factors))


def _widest(old: Scale, new: Scale) -> Scale:
    if old.axis != new.axis:
        return old
    return replace(new, scale=tuple(max(pair) for pair in zip(old.scale, new.scale, strict=True)))


def _with_sources(rows: Mapping[str, Scale], graph: Graph) -> Iterator[Scale]:
    """Yield the rows in graph order, weights last, and one for each tensor whose values another one only moves.

    Runtimes quantize before a MaxPool or a Flatten, a module's quantizer stands behind it: the integers are the same.
    """
    found = dict(rows)
    for name, row in rows.items():
        origin = name if row.role == "weight" else source(graph, name)
        if origin not in rows:
            moved = replace(row, tensor=origin, shape=graph.shape(origin))
            found[origin] = _widest(found.get(origin, moved), moved)
    order = {name: place for place, name in enumerate(graph.tensors())}
    yield from sorted(found.values(), key=lambda row: (row.role == "weight", order.get(row.tensor, len(order))))
