"""How thresholds settle with the number of samples."""

from typing import TYPE_CHECKING

import numpy as np

from quantlab.calibration.scale_table import ScaleTable
from quantlab.diagnosis.convergence import Convergence
from quantlab.errors import UsageError
from quantlab.plots.canvas import BLUE, GREY, SKY, VERMILION, canvas, heading, say

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def convergence(
    found: Convergence, tensor: str | None = None, *, table: ScaleTable | None = None, ax: "Axes | None" = None
) -> "Axes":
    """Draw the half-width of every threshold's 95 % interval over the number of samples; or one tensor's interval.

    Parameters
    ----------
    found
        One method's; `diagnose(...).convergence` holds one a method.
    tensor
        Draw only this one: its threshold with the interval that so many samples give.
    table
        Where that threshold stands; without, it is drawn as 100 %.
    ax
        Where to draw; a new figure by default.

    Raises
    ------
    UsageError
        For a tensor that was not followed.
    """
    axes = canvas(ax)
    heading(axes, found.sentence)
    if not found.sizes or not found.widths:
        return say(axes, f"{found.samples} samples are too few to tell how thresholds settle.")
    if tensor is not None and tensor not in found.widths:
        raise UsageError(f"«{tensor}» is none of the {len(found.widths)} tensors that were followed.")
    if tensor is not None:
        _one(axes, found, tensor, table)
    else:
        _all(axes, found)
    axes.set_xscale("log", base=2)
    axes.set_xticks(found.sizes, [f"{size:,}" for size in found.sizes])
    axes.minorticks_off()
    axes.set_xlabel("samples")
    axes.legend(fontsize="x-small")
    return axes


def _all(axes: "Axes", found: Convergence) -> None:
    percent = [100 * np.array(widths) for widths in found.widths.values()]
    for i, widths in enumerate(percent):
        axes.plot(found.sizes, widths, color=SKY, alpha=0.5, linewidth=0.8, label="one tensor" if i == 0 else "_other")
    axes.plot(found.sizes, 100 * np.array(found.curve()), color=BLUE, linewidth=2, label="95 % of the tensors within")
    tolerance = 100 * found.tolerance
    axes.axhline(tolerance, color=VERMILION, linestyle="--", linewidth=1.2, label=f"tolerance {tolerance:g} %")
    if found.enough is not None:
        axes.axvline(found.enough, color=GREY, linestyle=":", linewidth=1.2, label=f"enough: {found.enough} samples")
    axes.set_yscale("symlog", linthresh=0.1)
    axes.set_ylim(0, 1.5 * max(tolerance, *(float(widths.max()) for widths in percent)))
    axes.set_ylabel("95 % interval of the threshold, ± %")


def _one(axes: "Axes", found: Convergence, tensor: str, table: ScaleTable | None) -> None:
    row = table[tensor] if table is not None and tensor in table else None
    chosen = None if row is None else row.chosen.amax if row.chosen else row.amax
    middle, unit = (100.0, "threshold, % of the final one") if chosen is None else (chosen, "threshold, tensor's unit")
    widths = middle * np.array(found.widths[tensor])
    axes.fill_between(
        found.sizes, middle - widths, middle + widths, color=SKY, alpha=0.5, linewidth=0, label="95 % interval"
    )
    axes.plot(
        found.sizes, np.full(len(found.sizes), middle), "o-", color=BLUE, markersize=4, label="all samples' threshold"
    )
    for side in (1, -1):
        axes.axhline(
            middle * (1 + side * found.tolerance), color=VERMILION, linestyle="--", linewidth=1.0,
            label=f"± {100 * found.tolerance:g} %" if side > 0 else "_lower",
        )  # fmt: skip
    axes.set_ylabel(unit)
    heading(axes, f"{tensor}, {found.method}")
