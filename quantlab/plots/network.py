"""Error along the network: what each tensor's own rounding costs, and what has come together by then."""

from typing import TYPE_CHECKING

import numpy as np

from quantlab.comparison.comparison import Comparison
from quantlab.comparison.tensors import TensorError
from quantlab.comparison.three_way import ThreeWay
from quantlab.numerics.arrays import F64
from quantlab.plots.canvas import BLUE, GREEN, GREY, ORANGE, VERMILION, canvas, heading, name_ticks, plain, say

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_EXACT_ABOVE = 6.0  # dB above the highest finite value, where «no error» stands


def waterfall(comparison: Comparison, *, outputs: bool = True, ax: "Axes | None" = None) -> "Axes":
    """Draw SQNR, dB, of every tensor in the order of the graph: accumulated as a line, own as diamonds.

    Parameters
    ----------
    comparison
        With a probe, else there are only the network's outputs to draw. Where the places of its tensors are not known
        they are drawn in the order in which they were compared, which is the graph's for engines that quantlab opens.
    outputs
        Also draw the network's outputs, at the right end.
    ax
        Where to draw; a new figure by default.
    """
    names = {error.tensor for error in comparison.tensors}
    ends = [error for error in comparison.outputs if error.tensor not in names] if outputs else []
    axes = canvas(ax, width=8.5, height=3.8)
    known = all(error.position is not None for error in comparison.tensors)
    inner = sorted(comparison.tensors, key=lambda error: error.position or 0) if known else comparison.tensors
    drawn = along(axes, (*inner, *ends))
    if drawn and ends and comparison.tensors:
        axes.axvline(len(comparison.tensors) - 0.5, color=GREY, linewidth=0.8, linestyle=":")
    return axes


def along(axes: "Axes", errors: tuple[TensorError, ...]) -> bool:
    """Draw these tensors' SQNR from left to right; return whether there was any."""
    accumulated = np.array([error.sqnr_db for error in errors], np.float64)
    own = np.array([np.nan if e.own_sqnr_db is None else e.own_sqnr_db for e in errors], np.float64)
    both = np.concatenate([accumulated, own])
    if not errors or np.isnan(both).all():
        say(
            axes,
            "No tensor was compared: give compare a TensorProbe." if not errors else "No tensor has a finite value.",
        )
        return False
    finite = both[np.isfinite(both)]
    top, bottom = (float(finite.max()), float(finite.min())) if finite.size else (40.0, 0.0)
    places = np.arange(len(errors))
    axes.plot(
        places, _within(accumulated, bottom, top), "o-", color=BLUE, markersize=4, linewidth=1.3, label="accumulated"
    )
    if np.isfinite(own).any():
        axes.plot(places, _within(own, bottom, top), "D", color=ORANGE, markersize=4, label="own rounding")
    if np.isposinf(both).any():
        axes.axhline(top + _EXACT_ABOVE, color=GREY, linewidth=0.7, linestyle="--", label="no error at all")
    _name_fall(axes, errors, accumulated)
    name_ticks(axes, [error.tensor for error in errors])
    axes.set_ylabel("SQNR, dB")
    axes.set_xlabel("tensor, in the order of the graph")
    axes.grid(axis="y", linewidth=0.4, alpha=0.6)
    axes.legend(fontsize="x-small", ncols=3, loc="lower left", bbox_to_anchor=(0, 1), frameon=False, borderaxespad=0.1)
    return True


def three_way(found: ThreeWay, *, ax: "Axes | None" = None) -> "Axes":
    """Draw the SQNR of each step's worst output as a bar, dB; the steps that are to blame are hatched."""
    steps = (("build", found.build), ("scales", found.scales), ("engine", found.engine), ("whole", found.whole))
    axes = canvas(ax, height=2.4)
    values = [min((e.sqnr_db for e in part.outputs), default=float("nan")) for _, part in steps]
    finite = [value for value in values if np.isfinite(value)]
    if not finite and not any(np.isposinf(values)):
        return say(axes, "No output has a finite value.")
    top = 1.15 * max([*finite, found.thresholds.build_db])
    for place, ((step, _), value) in enumerate(zip(steps, values, strict=True)):
        guilty = step in found.guilty
        axes.barh(place, _shown(value, top), color=VERMILION if guilty else GREEN, hatch="//" if guilty else None)
        axes.annotate(_words(value), (0, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize="small",
                      bbox={"facecolor": "white", "alpha": 0.85, "linewidth": 0, "pad": 1.5})  # fmt: skip
    axes.set_yticks(range(4), ["FP32 engine", "scales", "INT8 engine", "all together"])
    axes.invert_yaxis()
    axes.set_xlim(min([0.0, *finite]), top)
    axes.set_xlabel("SQNR of the worst output, dB")
    heading(
        axes, "no step is to blame" if found.verdict == "none" else f"to blame: {', '.join(found.guilty)} (hatched)"
    )
    return axes


def _within(values: F64, bottom: float, top: float) -> F64:
    """Return the values with infinities moved to the edge of what is drawn; NaN stays."""
    return np.where(
        np.isposinf(values), top + _EXACT_ABOVE, np.where(np.isneginf(values), bottom - _EXACT_ABOVE, values)
    )


def _name_fall(axes: "Axes", errors: tuple[TensorError, ...], accumulated: F64) -> None:
    """Point at the tensor at which the accumulated SQNR falls most."""
    finite = np.where(np.isfinite(accumulated), accumulated, np.nan)
    falls = np.diff(finite)
    if not falls.size or np.isnan(falls).all() or np.nanmin(falls) > -1:
        return
    worst = int(np.nanargmin(falls)) + 1
    axes.annotate(
        plain(f"{errors[worst].tensor}: {falls[worst - 1]:.1f} dB"), (worst, float(finite[worst])),
        xytext=(-14, -16) if worst > len(errors) / 2 else (14, 12), textcoords="offset points", fontsize="x-small",
        ha="right" if worst > len(errors) / 2 else "left", color=VERMILION,
        bbox={"facecolor": "white", "alpha": 0.85, "linewidth": 0, "pad": 1.0},
        arrowprops={"arrowstyle": "->", "color": VERMILION, "linewidth": 0.8},
    )  # fmt: skip


def _shown(value: float, top: float) -> float:
    return 0.0 if np.isnan(value) else float(np.clip(value, -top, top))


def _words(value: float) -> str:
    if np.isnan(value):
        return "nothing compared"
    return f"{value:.1f} dB" if np.isfinite(value) else ("no error" if value > 0 else "nothing left of the signal")
