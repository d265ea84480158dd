"""What tuning found: noise by operator, accuracy over INT8 coverage, and the ladder of trials."""

from math import isfinite
from typing import TYPE_CHECKING, Literal

from quantlab.errors import UsageError
from quantlab.plots.canvas import BLUE, GREY, VERMILION, canvas, heading, name_ticks, plain, say
from quantlab.tuning.front import FrontPoint
from quantlab.tuning.mixed_precision import MixedPrecision
from quantlab.tuning.sensitivity import Sensitivity
from quantlab.tuning.tuned import Tuned

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DRAWN = 24


def sensitivity(
    found: Sensitivity, *, by: Literal["noise", "gain"] = "noise", at_most: int = _DRAWN, ax: "Axes | None" = None
) -> "Axes":
    """Draw a bar an operator, or block, the first in the ranking on top.

    Parameters
    ----------
    found
        What `measure_sensitivity` returned.
    by
        noise: noise with only this one in INT8, in percent of the full candidate's; gain: dB of SQNR that its staying in
        float brings.
    at_most
        Bars that are drawn.
    ax
        Where to draw; a new figure by default.
    """
    if by not in ("noise", "gain"):
        raise UsageError(f"Bars show noise or gain, not «{by}».")
    ranked = found.rows if by == "noise" else found.by_gain
    shown = ranked[:at_most]
    axes = canvas(ax, height=1.1 + 0.23 * max(len(shown), 4))
    if not shown:
        return say(axes, "The candidate quantizes no weighted operator.")
    values = [100 * _power(row.alone_db) / _power(found.full_db) if by == "noise" else row.gain_db for row in shown]
    axes.barh(range(len(shown)), values, color=BLUE)
    axes.set_yticks(range(len(shown)), [plain(row.name) for row in shown], fontsize="x-small")
    axes.invert_yaxis()
    if by == "noise":
        axes.set_xlabel(f"noise with this one alone in INT8, % of all in INT8 ({found.full_db:.1f} dB)")
    else:
        axes.set_xlabel("gain in SQNR with this one in float, dB")
    if len(ranked) > len(shown):
        heading(axes, f"the first {len(shown)} of {len(ranked)}, noise for each multiply-accumulate")
    return axes


def front(found: MixedPrecision, *, ax: "Axes | None" = None) -> "Axes":
    """Draw SQNR, dB, over the share of multiply-accumulates on integers, %: all trials, the front, and the chosen one."""
    axes = canvas(ax, height=3.6)
    if not found.trials:
        return say(axes, "Nothing was measured.")
    chosen = [point for point in found.trials if point.floats == found.kept]
    _points(axes, found.trials, marker="x", linestyle="", color=GREY, label="measured")
    _points(axes, found.front, marker="o", linestyle="-", color=BLUE, label="front: no other is better")
    axes.plot(
        [100 * p.coverage for p in chosen], [p.sqnr_db for p in chosen], label="chosen", marker="o", linestyle="",
        color=VERMILION, markersize=12, fillstyle="none", markeredgewidth=2,
    )  # fmt: skip
    axes.set_xlabel("multiply-accumulates on integers, %")
    axes.set_ylabel("SQNR, dB")
    axes.legend(fontsize="x-small")
    if found.missed:
        heading(axes, found.missed)
    return axes


def ladder(found: Tuned, *, ax: "Axes | None" = None) -> "Axes":
    """Draw the mean SQNR, dB, of every trial in the order tried: those kept as the best so far joined by a line."""
    axes = canvas(ax, height=3.6)
    run = [(trial, trial.score.mean_sqnr_db) for trial in found.trials if trial.score is not None]
    run = [(trial, db) for trial, db in run if isfinite(db)]
    if not run:
        return say(axes, "No trial was run.")
    kept = [(place, db) for place, (trial, db) in enumerate(run) if trial.kept]
    others = [(place, db) for place, (trial, db) in enumerate(run) if not trial.kept]
    axes.plot([p for p, _ in others], [db for _, db in others], "x", color=GREY, label="tried")
    axes.step([p for p, _ in kept], [db for _, db in kept], "o-", where="post", color=BLUE, label="best so far")
    name_ticks(axes, [f"{trial.rung}: {trial.label}" for trial, _ in run])
    axes.set_ylabel("mean SQNR, dB")
    axes.legend(fontsize="x-small")
    heading(axes, found.verdict)
    return axes


def _points(
    axes: "Axes", points: tuple[FrontPoint, ...], *, marker: str, linestyle: str, color: str, label: str
) -> None:
    axes.plot(
        [100 * point.coverage for point in points], [point.sqnr_db for point in points], marker=marker,
        linestyle=linestyle, color=color, label=label,
    )  # fmt: skip


def _power(db: float) -> float:
    return float(10 ** (-db / 10))
