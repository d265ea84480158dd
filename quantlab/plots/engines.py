"""Built engines: what their layers run in, and what each costs and keeps."""

from collections.abc import Mapping
from math import isfinite, isnan
from typing import TYPE_CHECKING

from quantlab.audit.audit import Audit
from quantlab.comparison.lineup import Entry, Lineup
from quantlab.plots.canvas import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION, canvas, plain, say

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = {"int8": GREEN, "fp16": SKY, "fp32": BLUE, "copies": ORANGE, "q/dq": PURPLE}
_HATCHES = ("", "//", "..", "xx", "\\\\", "++")


def audit(found: Audit, *, ax: "Axes | None" = None) -> "Axes":
    """Draw one bar: the share of time, %, that each precision takes, or of layers where there is no profile."""
    axes = canvas(ax, width=8.0, height=1.7)
    parts: Mapping[str, float] = found.times or found.counts
    total = sum(parts.values())
    if not total:
        return say(axes, "The engine has no layers that compute.")
    left = 0.0
    for i, (kind, value) in enumerate(parts.items()):
        share = 100 * value / total
        colour = _COLOURS.get(kind.lower(), (GREY, VERMILION)[i % 2])
        label = plain(f"{kind}: {share:.3g} %")
        axes.barh(0, share, left=left, color=colour, hatch=_HATCHES[i % len(_HATCHES)], edgecolor="white", label=label)
        left += share
    axes.set(yticks=[], xlim=(0, 100), xlabel="share of time, %" if found.times else "share of layers, %")
    axes.legend(
        ncols=min(len(parts), 5), loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False, fontsize="small"
    )
    return axes


def lineup(found: Lineup, *, ax: "Axes | None" = None) -> "Axes":
    """Draw what each engine loses: a dot with its interval, in the first metric's unit; without a metric SQNR in dB."""
    axes = canvas(ax, height=1.1 + 0.35 * max(len(found.entries), 3))
    scored = all(entry.comparison.metrics for entry in found.entries)
    for place, entry in enumerate(found.entries):
        _dot(axes, place, entry, scored=scored)
    axes.set_yticks(range(len(found.entries)), [plain(entry.name) for entry in found.entries], fontsize="small")
    axes.set_ylim(len(found.entries) - 0.5, -0.5)
    if scored:
        first = found.entries[0].comparison.metrics[0]
        axes.axvline(0, color=GREY, linewidth=0.8)
        axes.set_xlabel(plain(f"drop in {first.name}{', points' if first.unit else ''}, with its interval"))
    else:
        axes.set_xlabel("SQNR of the worst output, dB")
    axes.grid(axis="x", linewidth=0.4, alpha=0.6)
    return axes


def _dot(axes: "Axes", place: int, entry: Entry, *, scored: bool) -> None:
    if scored:
        score = entry.comparison.metrics[0]
        axes.hlines(place, score.interval.low, score.interval.high, color=SKY, linewidth=4)
        axes.plot([score.drop], [place], "o", color=BLUE)
        return
    value = entry.sqnr_db
    if value is None or not isfinite(value):
        words = "nothing compared" if value is None or isnan(value) else "no error" if value > 0 else "no signal left"
        axes.annotate(words, (0, place), fontsize="small", va="center", xycoords=("axes fraction", "data"))
    else:
        axes.plot([value], [place], "o", color=BLUE)
