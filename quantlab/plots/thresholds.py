"""One tensor's histogram, with the thresholds that methods choose and the levels that an integer has."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from quantlab.calibration.expected_error import clipped_share, expected_sqnr_db
from quantlab.calibration.ranges import Range
from quantlab.calibration.scale_table import Scale
from quantlab.calibration.schemes import Symmetric
from quantlab.errors import UsageError
from quantlab.numerics.arrays import F64, AnyArray
from quantlab.numerics.histogram import Histogram, LinearGrid
from quantlab.numerics.tensorrt_histogram import TensorRTHistogram
from quantlab.plots.canvas import GREY, LINES, SKY, canvas, heading, plain, say

if TYPE_CHECKING:
    from matplotlib.axes import Axes

AnyHistogram: TypeAlias = Histogram | TensorRTHistogram
Choice: TypeAlias = Callable[..., Range] | Range | Scale | float
"""What names a threshold: a method, a range, a row of a table, or the threshold itself in the tensor's unit."""

LEVELS = 127
_BARS = 512
_RUG = 0.045  # of the height


@dataclass(frozen=True, slots=True)
class Threshold:
    """A choice on one histogram.

    Attributes
    ----------
    name
        What made it.
    amax
        The magnitude at which it clips, in the tensor's unit.
    clipped
        Share of the values beyond, 0 … 1.
    sqnr_db
        Expected of DQ(Q(x)), dB; None on TensorRT's grid.
    """

    name: str
    amax: float
    clipped: float
    sqnr_db: float | None

    @classmethod
    def of(cls, seen: AnyHistogram, choice: Choice) -> "Threshold":
        """Return what a choice comes to, its scale symmetric INT8 unless it is a row of a table.

        Raises
        ------
        UsageError
            For a choice of another type.
        QuantlabError
            What the method raises.
        """
        name, chosen = _chosen(seen, choice)
        if isinstance(seen, TensorRTHistogram):
            beyond = int(seen.counts[np.arange(seen.counts.size) * seen.width >= chosen.amax].sum())
            return cls(name, chosen.amax, beyond / max(int(seen.counts.sum()), 1), None)
        own = isinstance(choice, Scale) and choice.axis is None
        params = choice.params if own and isinstance(choice, Scale) else Symmetric().params(chosen)
        return cls(name, chosen.amax, clipped_share(seen, params), expected_sqnr_db(seen, params))

    @property
    def label(self) -> str:
        """The choice and its figures, for a legend."""
        sqnr = "" if self.sqnr_db is None or not np.isfinite(self.sqnr_db) else f", {self.sqnr_db:.1f} dB"
        return f"{self.name}: ±{self.amax:.4g}, clips {100 * self.clipped:.3g} %{sqnr}"


def histogram(
    seen: AnyHistogram, *choices: Choice, levels: bool = True, title: str = "", ax: "Axes | None" = None
) -> "Axes":
    """Draw the density of |x| on a log scale, each choice's threshold as a line, and what the last one comes to.

    Parameters
    ----------
    seen
        A histogram of either grid.
    choices
        Methods, ranges, rows of a scale table or thresholds in the tensor's unit; the legend tells the share of the
        values that each clips, in percent, and the expected SQNR in dB. What the last one clips is shaded.
    levels
        Draw the magnitudes that the 127 steps of the last choice stand for, as ticks at the bottom.
    title
        What tensor it is, for the heading.
    ax
        Where to draw; a new figure by default.

    Raises
    ------
    UsageError
        For a choice that is none of these, or a method that reads the other grid.
    """
    axes = canvas(ax)
    density, edges, facts = _bars(seen)
    heading(axes, f"{title}: {facts}" if title else facts)
    if not density.any():
        return say(axes, _nothing(seen))
    axes.stairs(density, edges, fill=True, alpha=0.55, color=SKY)
    axes.set_yscale("log")
    found = [Threshold.of(seen, choice) for choice in choices]
    for (colour, dashes), threshold in zip(_styles(len(found)), found, strict=True):
        axes.axvline(threshold.amax, color=colour, linestyle=dashes, linewidth=1.6, label=plain(threshold.label, 90))
    right = 1.04 * max([seen.amax, *(threshold.amax for threshold in found)])
    axes.set_xlim(0, right)
    axes.set_ylim(float(density[density > 0].min()) / 3, float(density.max()) * 2)
    if found:
        if found[-1].amax < seen.amax:
            axes.axvspan(found[-1].amax, right, facecolor="none", edgecolor=GREY, hatch="///", alpha=0.45, linewidth=0)
        if levels and found[-1].amax > 0:
            _rug(axes, found[-1].amax)
        axes.legend(fontsize="x-small", loc="upper right", framealpha=0.9)
    axes.set_xlabel("|x|, in the tensor's unit")
    axes.set_ylabel("values per unit of |x|")
    return axes


def _chosen(seen: AnyHistogram, choice: Choice) -> tuple[str, Range]:
    if isinstance(choice, Range):
        return f"[{choice.low:.4g}, {choice.high:.4g}]", choice
    if isinstance(choice, Scale):
        return choice.method or f"scale {max(choice.scale):.4g}", choice.chosen or Range(-choice.amax, choice.amax)
    if isinstance(choice, int | float) and not isinstance(choice, bool):
        return "threshold", Range(-abs(float(choice)), abs(float(choice)))
    if isinstance(choice, type) or not callable(choice):
        raise UsageError(
            f"A threshold is named by a method such as ql.Entropy(), a Range, a row of a table or a number, not by {choice!r:.60}."
        )
    return repr(choice), choice(seen)


def _bars(seen: AnyHistogram) -> tuple[AnyArray, F64, str]:
    """Return the values but zero per unit in equal bins, the bins' edges, and what is known besides."""
    if isinstance(seen, TensorRTHistogram):
        grid = np.arange(_BARS + 1, dtype=np.float64) * ((seen.width or 1.0) * seen.counts.size / _BARS)
        counts = seen.counts.reshape(_BARS, -1).sum(axis=1) if seen.amax else np.zeros(_BARS)
        return counts / np.diff(grid), grid, f"{int(seen.counts.sum()):,} values on TensorRT's grid"
    facts = f"{seen.total:,} values"
    if seen.zeros:
        facts += f", {100 * seen.zeros / max(seen.total, 1):.3g} % of them zero (not drawn)"
    if seen.nonfinite:
        facts += f", {seen.nonfinite:,} NaN or infinite besides"
    width = seen.amax / _BARS if seen.counts.any() else 1.0
    counts = seen.rebin(LinearGrid(_BARS, width))
    counts[0] -= seen.zeros
    return counts / width, np.arange(_BARS + 1, dtype=np.float64) * width, facts


def _nothing(seen: AnyHistogram) -> str:
    if isinstance(seen, Histogram) and seen.total == 0:
        return f"All {seen.nonfinite:,} values are NaN or infinite." if seen.nonfinite else "The tensor has no values."
    return "Every value is zero: any scale is exact." if _total(seen) else "The tensor has no values."


def _total(seen: AnyHistogram) -> int:
    return seen.total if isinstance(seen, Histogram) else int(seen.counts.sum())


def _styles(count: int) -> list[tuple[str, object]]:
    return [LINES[i % len(LINES)] for i in range(count)]


def _rug(axes: "Axes", amax: float) -> None:
    at = np.arange(1, LEVELS + 1) * (amax / LEVELS)
    axes.vlines(at, 0, _RUG, transform=axes.get_xaxis_transform(), color="black", linewidth=0.5, label="_levels")
