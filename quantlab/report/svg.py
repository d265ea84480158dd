"""Drawings that the page holds before any script runs: SQNR along the network, and small histograms."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from markupsafe import Markup

from quantlab.report import formats
from quantlab.report.tensor_row import Activation, Sketch, TensorRow

_CEILING_DB = 80.0
"""Drawn at most: exact tensors would flatten all others."""


@dataclass(frozen=True, slots=True)
class Plot:
    """A drawing area in SVG units and the values at its ends."""

    left: float
    right: float
    top: float
    bottom: float
    first: float
    last: float
    low: float
    high: float

    def x(self, value: float) -> float:
        """Return where a value lies from left to right."""
        share = (value - self.first) / (self.last - self.first or 1)
        return round(self.left + share * (self.right - self.left), 1)

    def y(self, value: float) -> float:
        """Return where a value lies from bottom to top."""
        share = (value - self.low) / (self.high - self.low or 1)
        return round(self.bottom - share * (self.bottom - self.top), 1)


def network(rows: Sequence[TensorRow]) -> Markup:
    """Draw SQNR over graph order: own as dots, accumulated as squares on a line; expected where nothing was measured."""
    measured = any(row.own_db is not None for row in rows)
    marks = [
        Activation(
            row.position, row.name, True, row.own_db if measured else row.expected_db, row.accumulated_db, row.position
        )
        for row in rows
    ]
    return _along(marks, "own" if measured else "expected", f"SQNR of {len(rows)} tensors in graph order, in decibel")


def unfused(found: Sequence[Activation]) -> Markup:
    """Draw SQNR over graph order of every activation that both graphs have; those inside kernels have none of their own."""
    return _along(found, "own", f"SQNR of all {len(found)} activations in graph order, in decibel")


def _along(marks: Sequence[Activation], kind: str, label: str) -> Markup:
    values = [v for one in marks for v in (one.own_db, one.accumulated_db) if v is not None and math.isfinite(v)]
    low = 10 * math.floor(min([*values, 0.0]) / 10)
    high = 10 * math.ceil(min(max([*values, 10.0]), _CEILING_DB) / 10)
    plot = Plot(48, 1090, 14, 262, 1, max(len(marks), 2), max(low, -20), high)
    root = new("0 0 1100 306", "chart", label)
    _grid(root, plot, range(int(plot.low), int(plot.high) + 1, 10), _ticks(len(marks)))
    write(root, 569, 300, "tensor, in graph order", "axis", anchor="middle")
    write(root, 14, 138, "dB", "axis", anchor="middle")
    _series(root, plot, [(one, one.accumulated_db) for one in marks], "accumulated")
    _series(root, plot, [(one, one.own_db) for one in marks], kind)
    return markup(root)


def small_histogram(row: TensorRow) -> Markup:
    """Draw a tensor's histogram of |x|, log counts, with the chosen threshold and what lies beyond it."""
    root = new("0 0 320 112", "small", f"Histogram of {formats.visible(row.name)}")
    if row.sketch is None:
        return markup(root)
    reach = row.chosen.amax if row.chosen else 127 * row.scale
    stop = max(row.sketch.stop, min(reach, 1.25 * row.sketch.stop))
    plot = Plot(4, 316, 8, 92, 0, stop, 0, math.log10(max(row.sketch.counts) + 1))
    draw(root, "path", {"class": "bars", "d": outline(row.sketch, plot.x, plot.y)})
    if reach <= stop:
        x = plot.x(reach)
        if reach < row.sketch.stop:
            beyond = {"x": str(x), "y": "8", "width": str(round(plot.x(row.sketch.stop) - x, 1)), "height": "84"}
            draw(root, "rect", {"class": "beyond", **beyond})
        draw(root, "line", {"class": "threshold chosen", "x1": str(x), "x2": str(x), "y1": "4", "y2": "92"})
    draw(root, "line", {"class": "axis", "x1": "4", "x2": "316", "y1": "92", "y2": "92"})
    write(root, 4, 106, "0", "axis")
    write(root, 316, 106, formats.number(stop, 3), "axis", anchor="end")
    return markup(root)


def outline(sketch: Sketch, x: Callable[[float], float], y: Callable[[float], float]) -> str:
    """Return the path of a filled step curve over log10(count + 1)."""
    width = sketch.stop / len(sketch.counts)
    parts = [f"M{x(0):g} {y(0):g}"]
    for i, count in enumerate(sketch.counts):
        parts.append(f"V{y(math.log10(count + 1)):g}H{x((i + 1) * width):g}")
    return "".join([*parts, f"V{y(0):g}Z"])


def _grid(root: ET.Element, plot: Plot, levels: Sequence[int], places: Sequence[int]) -> None:
    for level in levels:
        y = plot.y(level)
        ends = {"x1": str(plot.left), "x2": str(plot.right), "y1": str(y), "y2": str(y)}
        draw(root, "line", {"class": "zero" if level == 0 else "grid", **ends})
        write(root, plot.left - 8, y + 4, formats.signed(str(level)), "axis", anchor="end")
    for place in places:
        write(root, plot.x(place), plot.bottom + 18, str(place), "axis", anchor="middle")


def _ticks(count: int) -> list[int]:
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, 10**9) if count / step <= 16)
    return [1, *(place for place in range(step, count + 1, step) if place > 1)]


def _series(root: ET.Element, plot: Plot, found: Sequence[tuple[Activation, float | None]], kind: str) -> None:
    known = [(row, db) for row, db in found if db is not None and not math.isnan(db) and db != math.inf]
    if not known:
        return
    places = [(plot.x(row.position), plot.y(min(max(db, plot.low), plot.high))) for row, db in known]
    group = draw(root, "g", {"class": f"series {kind}"})
    draw(group, "polyline", {"points": " ".join(f"{x:g},{y:g}" for x, y in places)})
    for (row, db), (x, y) in zip(known, places, strict=True):
        mark = _mark(group, kind, x, y)
        if row.row is not None:
            mark.set("data-tensor", str(row.row))
        title = ET.SubElement(mark, "title")
        title.text = f"{row.position}. {formats.visible(row.name)}: {formats.decibel(db)} dB {kind}"


def _mark(group: ET.Element, kind: str, x: float, y: float) -> ET.Element:
    if kind == "accumulated":
        return draw(group, "rect", {"x": f"{x - 2.5:g}", "y": f"{y - 2.5:g}", "width": "5", "height": "5"})
    return draw(group, "circle", {"cx": f"{x:g}", "cy": f"{y:g}", "r": "3"})


def new(box: str, kind: str, label: str) -> ET.Element:
    """Return an empty drawing: an image with a label for those who cannot see it."""
    return ET.Element("svg", {"viewBox": box, "class": kind, "role": "img", "aria-label": label})


def draw(parent: ET.Element, tag: str, attributes: dict[str, str]) -> ET.Element:
    """Add an element."""
    return ET.SubElement(parent, tag, attributes)


def write(parent: ET.Element, x: float, y: float, text: str, kind: str, *, anchor: str = "start") -> None:
    """Add text."""
    place = {"class": kind, "x": f"{x:g}", "y": f"{y:g}", "text-anchor": anchor}
    draw(parent, "text", place).text = text


def markup(root: ET.Element) -> Markup:
    """Return the drawing as markup; ElementTree has escaped every name in it."""
    return Markup(ET.tostring(root, encoding="unicode"))
