"""FP32's values against INT8's, one point a value."""

from typing import TYPE_CHECKING, Any

import numpy as np

from quantlab.calibration.scale_table import Scale
from quantlab.comparison.recording import Recording
from quantlab.errors import InputError, UsageError
from quantlab.numerics.arrays import F64
from quantlab.numerics.error_sums import ErrorSums
from quantlab.plots.canvas import BLUE, GREY, ORANGE, canvas, heading, say

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_POINTS = 5000
"""More values are drawn as hexagons, coloured by how many lie in each."""


def scatter(
    fp32: Any, int8: Any, *, output: str | None = None, step: float | Scale | None = None, ax: "Axes | None" = None
) -> "Axes":
    """Draw INT8's value over FP32's, with the line on which both are the same and a band about it.

    Parameters
    ----------
    fp32, int8
        Arrays of one shape, or two recordings of the same samples.
    output
        Which output of the recordings; by default their only or first one.
    step
        INT8's step, in the tensor's unit, or the row of the table that has it: the band is ± one step. By default the
        band is ± the root mean square of the difference.
    ax
        Where to draw; a new figure by default.

    Raises
    ------
    InputError
        When the shapes differ, or the recordings have no such output or not the same samples.
    """
    x, y, name = _values(fp32, int8, output)
    axes = canvas(ax, width=4.6, height=4.2)
    known = np.isfinite(x) & np.isfinite(y)
    if not known.any():
        return say(axes, "No value is finite in both." if x.size else "There are no values to compare.")
    left_out = int(x.size - known.sum())
    x, y = x[known], y[known]
    sums = ErrorSums.of(x, y)
    low, high = float(min(x.min(), y.min())), float(max(x.max(), y.max()))
    margin = 0.04 * (high - low) or max(abs(high), 1.0) * 0.1
    low, high = low - margin, high + margin
    band, words = _band(step, sums)
    ends = np.array([low, high])
    axes.fill_between(ends, ends - band, ends + band, color=ORANGE, alpha=0.35, linewidth=0, label=words)
    axes.plot(ends, ends, color=GREY, linewidth=0.9, label="the same")
    if x.size > MOST_POINTS:
        drawn = axes.hexbin(x, y, gridsize=70, bins="log", cmap="viridis", mincnt=1, extent=(low, high, low, high))
        axes.figure.colorbar(drawn, ax=axes, label="values")
    else:
        axes.plot(x, y, linestyle="", marker=".", markersize=4, alpha=0.6, color=BLUE)
    axes.set(
        xlim=(low, high), ylim=(low, high), xlabel="FP32, in the tensor's unit", ylabel="INT8, in the tensor's unit"
    )
    more = f", {left_out:,} not finite" if left_out else ""
    sqnr = f"SQNR {sums.sqnr_db:.1f} dB" if np.isfinite(sums.sqnr_db) else "no difference"
    heading(axes, f"{name + ': ' if name else ''}{x.size:,} values, {sqnr}{more}")
    axes.legend(fontsize="x-small", loc="upper left")
    return axes


def _values(fp32: Any, int8: Any, output: str | None) -> tuple[F64, F64, str]:
    name = output or ""
    if isinstance(fp32, Recording) and isinstance(int8, Recording):
        fp32, int8, name = _recorded(fp32, int8, output)
    elif isinstance(fp32, Recording) or isinstance(int8, Recording):
        raise UsageError("A recording is drawn against another recording, not against an array.")
    x, y = np.asarray(fp32), np.asarray(int8)
    if x.shape != y.shape or not all(v.dtype.kind in "fiub" for v in (x, y)):
        raise InputError(
            f"FP32's values are {x.dtype}{list(x.shape)} and INT8's {y.dtype}{list(y.shape)}: give numbers of one shape."
        )
    return x.ravel().astype(np.float64), y.ravel().astype(np.float64), name


def _recorded(fp32: Recording, int8: Recording, output: str | None) -> tuple[Any, Any, str]:
    common = [name for name in fp32.outputs if name in int8.outputs]
    name = output if output is not None else next(iter(common), "")
    if name not in common:
        raise InputError(
            f"The two recordings have no output «{name}» in common: they have {', '.join(f'«{n}»' for n in common) or 'none'}."
        )
    rows = {key: row for row, key in enumerate(int8.keys)}
    if set(rows) != set(fp32.keys):
        raise InputError("The two recordings are of different samples: record both engines on the same data.")
    return fp32.outputs[name], int8.outputs[name][[rows[key] for key in fp32.keys]], name


def _band(step: float | Scale | None, sums: ErrorSums) -> tuple[float, str]:
    if isinstance(step, Scale):
        step = max(step.scale)
    if step is not None:
        return float(step), f"± one INT8 step ({step:.3g})"
    spread = float(np.sqrt(sums.noise / sums.count))
    return spread, f"± root mean square ({spread:.3g})"
