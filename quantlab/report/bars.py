"""Drawings of the ladder and of the engines' times: one row each, a name on the left and figures to scale on the right."""

import math
from collections.abc import Sequence
from xml.etree import ElementTree as ET

from markupsafe import Markup

from quantlab.report import formats
from quantlab.report.engines import Engines
from quantlab.report.ladder import Ladder, Rung
from quantlab.report.svg import Plot, draw, markup, new, write

_NAME_WIDTH, _RIGHT, _ROW = 250, 1080, 26
_LONGEST = 34
_FAR = 4.0
"""A rung that loses so many times what all others do is drawn at the edge: to scale it would flatten them."""


def ladder(found: Ladder) -> Markup:
    """Draw each rung's drop in points with its interval; a dashed line at the limit; hollow marks where samples chose."""
    rungs = [rung for rung in found.rungs if rung.drop is not None]
    low, high, step = _scale([0.0, *([] if found.limit is None else [found.limit]), *_ends(rungs)])
    bottom = 10 + _ROW * len(rungs)
    plot = Plot(_NAME_WIDTH, _RIGHT, 10, bottom, low, high, 0, 1)
    root = new(f"0 0 1100 {bottom + 40}", "chart", f"Points lost on each of {len(rungs)} rungs, with intervals")
    for i in range(round((high - low) / step) + 1):
        value = low + i * step
        x = str(plot.x(value))
        kind = "zero" if abs(value) < step / 2 else "grid"
        draw(root, "line", {"class": kind, "x1": x, "x2": x, "y1": "10", "y2": str(bottom)})
        write(
            root,
            plot.x(value),
            bottom + 17,
            formats.number(0.0 if kind == "zero" else value, 3),
            "axis",
            anchor="middle",
        )
    if found.limit is not None:
        x = str(plot.x(found.limit))
        draw(
            root,
            "line",
            {"class": "threshold chosen", "stroke-dasharray": "6 3", "x1": x, "x2": x, "y1": "4", "y2": str(bottom)},
        )
    for i, rung in enumerate(rungs):
        _rung(draw(root, "g", {"class": f"series {_colour(rung)}"}), rung, plot, 10 + _ROW * (i + 0.5))
    limit = "" if found.limit is None else f"; dashed: what may be lost, {formats.number(found.limit)}"
    write(root, (_NAME_WIDTH + _RIGHT) / 2, bottom + 35, f"points lost, less is better{limit}", "axis", anchor="middle")
    return markup(root)


def times(found: Engines, batch: int, *, graph: bool) -> Markup:
    """Draw each engine's median time of one batch as a bar from 0."""
    known = [(row, t) for row in found.rows for t in row.times if (t.batch, t.graph) == (batch, graph)]
    low, high, _ = _scale([0.0, *(t.median_ms for _, t in known)])
    bottom = 6 + _ROW * len(known)
    plot = Plot(_NAME_WIDTH, _RIGHT - 150, 6, bottom, low, high, 0, 1)
    root = new(f"0 0 1100 {bottom + 6}", "chart", f"Milliseconds of a batch of {batch}, {len(known)} engines")
    for i, (row, t) in enumerate(known):
        y = 6 + _ROW * i
        write(root, _NAME_WIDTH - 10, y + 17, _short(row.name), "axis", anchor="end")
        width = max(plot.x(t.median_ms) - _NAME_WIDTH, 1)
        draw(
            root,
            "rect",
            {"class": "bars", "x": str(_NAME_WIDTH), "y": f"{y + 5:g}", "width": f"{width:g}", "height": "16"},
        )
        speed = "" if t.speed is None else f", {t.speed:.2f}× as fast"
        write(root, _NAME_WIDTH + width + 8, y + 17, f"{formats.milliseconds(t.median_ms)}{speed}", "axis")
    return markup(root)


def _rung(group: ET.Element, rung: Rung, plot: Plot, y: float) -> None:
    if rung.drop is None:
        return
    write(group, _NAME_WIDTH - 10, y + 4, _short(rung.name), "axis", anchor="end")
    place = min(plot.x(rung.drop), plot.right)
    if rung.interval is not None:
        ends = (min(max(plot.x(end), plot.left), plot.right) for end in (rung.interval.low, rung.interval.high))
        points = " ".join(f"{x:g},{y:g}" for x in ends)
        draw(group, "polyline", {"points": points})
    if rung.drop > plot.last:
        write(group, plot.right - 10, y + 4, f"{formats.points(rung.drop)} →", "axis", anchor="end")
    mark = draw(group, "circle", {"cx": f"{place:g}", "cy": f"{y:g}", "r": "5"})
    title = draw(mark, "title", {})
    where = f" on {rung.samples:,} samples of «{formats.visible(rung.where)}»" if rung.samples else ""
    title.text = f"{formats.visible(rung.name)}: {formats.points(rung.drop)} points lost{where}"


def _ends(rungs: Sequence[Rung]) -> list[float]:
    """Return the ends of the intervals; of rungs that lose many times as much as all others, none."""
    ordered = sorted(rungs, key=lambda rung: abs(rung.drop or 0.0))
    while len(ordered) > 2 and _reach(ordered[-1]) > _FAR * max(_reach(rung) for rung in ordered[:-1]):
        ordered.pop()
    return [
        value
        for rung in ordered
        for value in (rung.drop, *((rung.interval.low, rung.interval.high) if rung.interval else ()))
        if value is not None
    ]


def _reach(rung: Rung) -> float:
    ends = (rung.interval.low, rung.interval.high) if rung.interval else (0.0,)
    return max(abs(value) for value in (rung.drop or 0.0, *ends))


def _colour(rung: Rung) -> str:
    """Return how a rung is drawn: what a set chose by is another colour than a last word."""
    return "own" if rung.kind == "float" or rung.where.startswith("evaluation") or rung.result else "accumulated"


def _scale(values: Sequence[float]) -> tuple[float, float, float]:
    """Return round ends and the step between the lines of a grid."""
    low, high = min(values), max(values)
    width = (high - low) or 1.0
    step = 10 ** math.floor(math.log10(width))
    step = next(step * part for part in (0.1, 0.2, 0.5, 1, 2, 5) if width / (step * part) <= 8)
    return step * math.floor(low / step), step * math.ceil(high / step) or step, step


def _short(name: str) -> str:
    shown = formats.visible(name)
    return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 1]}…"
