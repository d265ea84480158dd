"""The ranges of a weight's channels, beside the range that one scale for all, or one a channel, covers."""

from typing import TYPE_CHECKING, Any

import numpy as np

from quantlab.calibration.scale_table import ScaleTable
from quantlab.collector.channels import ChannelRanges
from quantlab.errors import InputError
from quantlab.numerics.arrays import F64, AnyArray
from quantlab.plots.canvas import BLUE, GREEN, VERMILION, canvas, heading, say

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LEVELS = 127
_MOST_BARS = 400


def channels(
    weight: Any,
    tensor: str | None = None,
    *,
    table: ScaleTable | None = None,
    axis: int | None = None,
    in_order: bool = True,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw smallest to largest value of each channel of a weight, or of an activation, and what scales cover.

    Parameters
    ----------
    weight
        An array; the ranges that were collected of an activation's channels; or a model (path, ModelProto or Model) of
        which `tensor` is a constant. A model's BatchNorms are folded first, as in the Q/DQ model.
    tensor
        The weight's name; for an array only to find its row in `table`.
    table
        Its row's scales, one or one a channel, are drawn as ±127 steps; without a row, or a table, those of the
        largest magnitude of all and of each channel.
    axis
        The channels'; by default the row's, that of the layer which reads the weight, or 0.
    in_order
        False: the channels of the largest magnitude first.
    ax
        Where to draw; a new figure by default.

    Raises
    ------
    InputError
        When the model has no such constant, or the weight no such axis.
    """
    found, amax, place = _ends(weight, tensor, axis if axis is not None else _axis_of(table, tensor))
    axes = canvas(ax)
    if found is None:
        return say(axes, "There is no finite value.")
    if not amax.any():
        return say(axes, "Every value is zero.")
    row = table[tensor] if table is not None and tensor is not None and tensor in table else None
    apart = row is not None and len(row.scale) == amax.size and row.axis is not None
    reach = _LEVELS * np.array(row.scale) if row is not None and apart else amax
    whole = float(amax.max()) if row is None or row.axis is not None else row.amax
    order = np.arange(amax.size) if in_order else np.argsort(-amax, kind="stable")
    _draw(axes, (found[0][order], found[1][order]), reach[order], whole)
    axes.set_xlabel(f"channel along axis {place}" + ("" if in_order else ", largest first"))
    heading(axes, _sentence(amax, whole, tensor or ""))
    return axes


def _ends(weight: Any, tensor: str | None, axis: int | None) -> tuple[tuple[F64, F64] | None, F64, int]:
    """Return each channel's smallest and largest finite value, its largest magnitude, and the channels' axis."""
    if isinstance(weight, ChannelRanges):
        low, high = weight.low.astype(np.float64), weight.high.astype(np.float64)
        return ((low, high) if low.size else None), np.maximum(np.abs(low), np.abs(high)), 1 if axis is None else axis
    values, found = (weight, None) if isinstance(weight, np.ndarray) else _of_model(weight, tensor)
    place = next((a for a in (axis, found) if a is not None), 0)
    if values.ndim and not -values.ndim <= place < values.ndim:
        raise InputError(f"A weight of shape {list(values.shape)} has no axis {place}.")
    rows = np.moveaxis(values.astype(np.float64), place, 0) if values.ndim else values.reshape(1, 1).astype(np.float64)
    rows = rows.reshape(rows.shape[0], int(np.prod(rows.shape[1:], dtype=np.int64)))
    finite = np.isfinite(rows)
    if not finite.any():
        return None, np.zeros(rows.shape[0]), place
    any_finite = finite.any(axis=1)
    low = np.where(any_finite, np.min(rows, axis=1, where=finite, initial=np.inf), 0.0)
    high = np.where(any_finite, np.max(rows, axis=1, where=finite, initial=-np.inf), 0.0)
    return (low, high), np.maximum(np.abs(low), np.abs(high)), place


def _axis_of(table: ScaleTable | None, tensor: str | None) -> int | None:
    return table[tensor].axis if table is not None and tensor is not None and tensor in table else None


def _draw(axes: "Axes", ends: tuple[F64, F64], reach: F64, whole: float) -> None:
    low, high = ends
    places = np.arange(low.size)
    width = 3.0 if low.size <= 40 else 1.6 if low.size <= _MOST_BARS else 0.8
    axes.vlines(places, low, high, color=BLUE, linewidth=width, label="values")
    for side in (1, -1):
        label = "one scale a channel" if side > 0 else "_lower"
        axes.step(places, side * reach, where="mid", color=GREEN, linewidth=1.0, label=label)
        label = "one scale for all" if side > 0 else "_lower"
        axes.axhline(side * whole, color=VERMILION, linestyle="--", linewidth=1.2, label=label)
    axes.set_xlim(-1, max(low.size, 1))
    axes.set_ylim(-1.1 * max(whole, reach.max()), 1.35 * max(whole, reach.max()))  # room for the legend
    axes.set_ylabel("value, in the tensor's unit")
    axes.legend(fontsize="x-small", ncols=3, loc="upper right", framealpha=0.9)


def _sentence(amax: F64, whole: float, tensor: str) -> str:
    used = int(np.floor(np.median(amax) / whole * _LEVELS)) if whole else 0
    dead = int((amax == 0).sum())
    zero = f", {dead} all zero" if dead else ""
    return f"{tensor + ': ' if tensor else ''}{amax.size} channels{zero}; one scale: the median one uses {used} of 127 steps"


def _of_model(model: Any, tensor: str | None) -> tuple[AnyArray, int | None]:
    """Return a constant of the normalised model, and the axis of its channels where a layer reads it as weight."""
    from quantlab.graph.model import load_model
    from quantlab.graph.normalise import normalise
    from quantlab.graph.placement import place
    from quantlab.graph.target import Target
    from quantlab.graph.view import Graph

    graph = Graph(normalise(load_model(model)).model.proto)
    sites = place(graph, Target.parse("tensorrt"), head="int8").weights
    if tensor is None or graph.constant(tensor) is None:
        some = ", ".join(f"«{name}»" for name in list(sites)[:6])
        asked = "No weight is named" if tensor is None else f"The model has no constant «{tensor}»"
        raise InputError(f"{asked}; name one of its {len(sites)} weights, for instance {some or 'none'}.")
    site = next(iter(sites.get(tensor, ())), None)
    return np.asarray(graph.constant(tensor)), site.axis if site else None
