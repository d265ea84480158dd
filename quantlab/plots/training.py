"""How a training went."""

from typing import TYPE_CHECKING

from quantlab.plots.canvas import BLUE, ORANGE, canvas, heading, say

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from quantlab.qat.trained import Trained


def training(found: "Trained", *, ax: "Axes | None" = None) -> "Axes":
    """Draw the mean loss over the steps, and the metric, where it was evaluated, on an axis at the right."""
    axes = canvas(ax)
    if not found.history:
        return say(axes, "Nothing was recorded: training ended before its first epoch.")
    steps = [moment.step for moment in found.history]
    lines = axes.plot(steps, [moment.loss for moment in found.history], "o-", color=BLUE, markersize=4, label="loss")
    axes.set_xlabel("steps")
    axes.set_ylabel("mean loss since the point before")
    known = [(moment.step, moment.metric) for moment in found.history if moment.metric is not None]
    if known:
        right = axes.twinx()
        lines += right.plot(
            [s for s, _ in known], [m for _, m in known], "s--", color=ORANGE, markersize=4, label="metric"
        )
        right.set_ylabel("metric, as evaluated")
    axes.legend(lines, [str(line.get_label()) for line in lines], fontsize="x-small")
    heading(axes, f"{found.steps:,} steps, ended by {found.ending}")
    return axes
