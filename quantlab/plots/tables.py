"""A whole table at a glance: the range of every tensor, in the order of the graph."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from quantlab.calibration.scale_table import Scale, ScaleTable
from quantlab.numerics.histogram import Histogram
from quantlab.plots.canvas import BLUE, GREY, ORANGE, SKY, canvas, decades, heading, name_ticks, say
from quantlab.plots.thresholds import AnyHistogram

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def scales(table: ScaleTable, *, ax: "Axes | None" = None) -> "Axes":
    """Draw what each row covers beside what was observed, both in the tensor's unit on a log scale.

    A row with a scale a channel shows the range of its channels' as a line.
    """
    axes = canvas(ax, width=8.5, height=3.8)
    if not table.rows:
        return say(axes, "The scale table has no rows.")
    observed = np.array([np.nan if row.observed is None else row.observed.amax for row in table.rows])
    covered = np.array([row.amax for row in table.rows])
    smallest = np.array([_LEVELS * min(row.scale) for row in table.rows])
    limits = decades(np.concatenate([observed, covered, smallest]))
    places = np.arange(len(table.rows))
    axes.vlines(places, np.fmin(smallest, observed), np.fmax(covered, observed), color=SKY, linewidth=2)
    if np.isfinite(observed).any():
        axes.plot(places, observed, "^", color=ORANGE, markersize=5, label="largest magnitude observed")
    axes.plot(places, covered, "o", color=BLUE, markersize=4, label="covered: 127 steps")
    apart = [i for i, row in enumerate(table.rows) if len(row.scale) > 1]
    if apart:
        axes.plot(places[apart], smallest[apart], "_", color=BLUE, markersize=7, label="the smallest channel's")
    _finish(axes, list(table), limits)
    axes.set_ylabel("magnitude, in the tensor's unit")
    return axes


def channel_scales(row: Scale, *, ax: "Axes | None" = None) -> "Axes":
    """Draw what one row covers: a step a channel, or one line; in the tensor's unit."""
    axes = canvas(ax)
    reach = _LEVELS * np.array(row.scale)
    places = np.arange(reach.size + 1) - 0.5
    axes.stairs(reach, places, color=BLUE, linewidth=1.4, fill=True, alpha=0.6, label="127 steps")
    if row.observed is not None:
        axes.axhline(row.observed.amax, color=ORANGE, linestyle="--", label="largest magnitude observed")
    axes.set_xlim(places[0], places[-1])
    axes.set_xlabel("the tensor" if row.axis is None else f"channel along axis {row.axis}")
    axes.set_ylabel("magnitude, in the tensor's unit")
    axes.legend(fontsize="x-small")
    heading(axes, f"{row.tensor}: {row.dtype}, {row.scheme}{', ' + row.method if row.method else ''}")
    return axes


def ranges(histograms: Mapping[str, AnyHistogram], *, ax: "Axes | None" = None) -> "Axes":
    """Draw each tensor's largest magnitude, 99.99 % and median of its |x| but zero; in its unit on a log scale."""
    axes = canvas(ax, width=8.5, height=3.8)
    names = list(histograms)
    amax = np.array([histograms[name].amax for name in names], np.float64)
    limits = decades(amax)
    if not names or limits is None:
        return say(
            axes, "Every value of every tensor is zero, or none is finite." if names else "There is no histogram."
        )
    high, middle = (np.array([_quantile(histograms[name], share) for name in names]) for share in (0.9999, 0.5))
    limits = decades(np.concatenate([amax, high, middle]))
    places = np.arange(len(names))
    shown = np.where(amax > 0, amax, np.nan)
    axes.vlines(places, middle, shown, color=SKY, linewidth=2)
    axes.plot(places, shown, "^", color=ORANGE, markersize=5, label="largest")
    axes.plot(places, high, "o", color=BLUE, markersize=4, label="99.99 % are below")
    axes.plot(places, middle, "_", color=GREY, markersize=7, label="median")
    _finish(axes, names, limits)
    axes.set_ylabel("|x|, in the tensor's unit")
    dead = int((amax == 0).sum())
    if dead:
        heading(axes, f"{dead} of {len(names)} tensors hold nothing but zero, or no finite value")
    return axes


def _finish(axes: "Axes", names: list[str], limits: tuple[float, float] | None) -> None:
    axes.set_yscale("log")
    if limits is not None:
        axes.set_ylim(limits[0], limits[1] * (limits[1] / limits[0]) ** 0.12)  # room for the legend
    name_ticks(axes, names)
    axes.set_xlabel("tensor, in the order of the graph")
    axes.grid(axis="y", linewidth=0.4, alpha=0.6)
    axes.legend(fontsize="x-small", ncols=3, loc="upper right", framealpha=0.9)


def _quantile(seen: AnyHistogram, share: float) -> float:
    """Return the upper edge of the bin in which this share of the values that are not zero is reached; NaN for none."""
    counts = seen.magnitudes() if isinstance(seen, Histogram) else seen.counts
    if not counts.any() or seen.amax == 0:
        return float("nan")
    edges = seen.edges() if isinstance(seen, Histogram) else np.arange(counts.size + 1) * seen.width
    running = np.cumsum(counts)
    reached = int(np.searchsorted(running, share * running[-1]))
    return float(min(edges[reached + 1], seen.amax))


_LEVELS = 127
