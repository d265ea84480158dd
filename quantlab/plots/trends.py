"""A history: how runs went, one after the other."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from quantlab.errors import UsageError
from quantlab.plots.canvas import canvas, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from quantlab.storage.run_record import History, RunRecord

Trend: TypeAlias = Literal["drop", "score", "sqnr", "size", "latency"]
TRENDS: tuple[Trend, ...] = get_args(Trend)

_LABELS: dict[Trend, str] = {
    "drop": "lost by INT8",
    "score": "score",
    "sqnr": "SQNR of the output, dB",
    "size": "model file, MB",
    "latency": "latency of a batch, ms",
}


def shown(runs: Iterable[RunRecord], trend: Trend) -> bool:
    """Tell whether some run has the figure."""
    return any(_value(run, trend) is not None for run in runs)


def trend(found: History, show: Trend = "drop", *, ax: Axes | None = None) -> Axes:
    """Draw how a figure went from run to run, a line a name: drop with its interval, score, sqnr, size or latency.

    A run without it is left out.

    Raises
    ------
    UsageError
        For a figure that there is not.
    """
    from matplotlib.ticker import MaxNLocator

    if show not in TRENDS:
        raise UsageError(f"A history shows {', '.join(TRENDS)}, not «{show}».")
    runs, axes = found.runs, canvas(ax)
    for name, line in _by_name(runs, show).items():
        numbers, values = [run.number for run in line], [_value(run, show) or 0.0 for run in line]
        (drawn,) = axes.plot(numbers, values, marker="o", markersize=4, label=plain(name) or "(no name)")
        if show == "drop":
            low, high = [[_bound(run, side) for run in line] for side in ("low", "high")]
            axes.fill_between(numbers, low, high, alpha=0.15, color=drawn.get_color())
        other = [_other(run, show) for run in line]
        if any(value is not None for value in other):
            gaps = [float("nan") if value is None else value for value in other]
            axes.plot(numbers, gaps, linestyle="--", linewidth=1, color=drawn.get_color(), alpha=0.6, label="its FP32")
    axes.set_ylabel(_ylabel(runs, show))
    axes.set_xlabel("run")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize="small")
    return axes


def trends(found: History) -> Figure:
    """Return a figure with a panel for each trend that some run has.

    Raises
    ------
    UsageError
        When there is nothing to draw.
    """
    from matplotlib.figure import Figure

    known = [one for one in TRENDS if shown(found.runs, one)]
    if not known:
        raise UsageError("The history has no run with a score, an SQNR, a size or a latency: there is nothing to draw.")
    figure = Figure(figsize=(8, 2.6 * len(known)), layout="constrained")
    panels = figure.subplots(len(known), 1, squeeze=False)[:, 0]
    for one, axes in zip(known, panels, strict=True):
        trend(found, one, ax=axes)
    return figure


def _by_name(runs: Iterable[RunRecord], trend: Trend) -> dict[str, list[RunRecord]]:
    found: dict[str, list[RunRecord]] = {}
    for run in runs:
        if _value(run, trend) is not None:
            found.setdefault(run.name, []).append(run)
    return found


def _value(run: RunRecord, trend: Trend) -> float | None:
    """Return INT8's figure; an infinite SQNR has no place on an axis."""
    if trend == "sqnr":
        return run.sqnr_db if run.sqnr_db is not None and abs(run.sqnr_db) < float("inf") else None
    if trend == "size":
        return None if run.int8_bytes is None else run.int8_bytes / 1e6
    return {"drop": run.drop, "score": run.int8, "latency": run.int8_ms}[trend]


def _other(run: RunRecord, trend: Trend) -> float | None:
    """Return FP32's figure, where it stands beside INT8's."""
    size = None if run.fp32_bytes is None else run.fp32_bytes / 1e6
    return {"drop": None, "sqnr": None, "score": run.fp32, "size": size, "latency": run.fp32_ms}[trend]


def _bound(run: RunRecord, side: str) -> float:
    found: float | None = getattr(run, side)
    return found if found is not None else float(run.drop or 0.0)


def _ylabel(runs: Iterable[RunRecord], trend: Trend) -> str:
    if trend not in ("drop", "score"):
        return _LABELS[trend]
    names = {run.metric for run in runs if run.metric}
    units = {run.unit for run in runs if run.metric}
    metric = plain(names.pop()) if len(names) == 1 else "metric"
    if trend == "score":
        return metric
    return f"{metric} {_LABELS[trend]}{', points' if units == {'points'} else ''}"
