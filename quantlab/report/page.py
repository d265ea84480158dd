"""The page: one HTML file that holds everything it shows."""

import json
import os
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from quantlab.report import bars, formats, svg
from quantlab.report.document import asset, environment, policy
from quantlab.report.engines import Engines
from quantlab.report.report_data import ReportData, State
from quantlab.report.report_score import Score
from quantlab.report.tensor_row import TensorRow, Threshold, row_db
from quantlab.storage.text import write_text

_STATES: dict[State, str] = {"pass": "Pass", "warn": "Warning", "fail": "Fail", "none": "No verdict"}
_FILTERS = {
    "row_db": row_db,
    "signed_count": lambda value: formats.signed(f"{value:+,}"),
    "short_digest": lambda text: text[:19],
    "first_words": lambda text: " ".join(text.split()[:2]),
    "compact": lambda value: json.dumps(value, ensure_ascii=False, sort_keys=True),
}


def write_report(path: str | os.PathLike[str], data: ReportData) -> None:
    """Write the page, whole or not at all; equal data make equal bytes.

    Raises
    ------
    MachineError
        No space, no permission.
    """
    write_text(path, render(data))


def render(data: ReportData) -> str:
    """Return the page; its policy runs no script and no style but the two that it holds."""
    style, script = asset("page.css"), asset("page.js")
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            data=data,
            style=style,
            script=script,
            policy=policy([style], [script]),
            histograms=_embedded(_histograms(data)),
            sections=_sections(data),
            states=_STATES,
            drawing={
                "network": svg.network,
                "small_histogram": svg.small_histogram,
                "unfused": svg.unfused,
                "ladder": bars.ladder,
            },
        )
    )


def _sections(data: ReportData) -> list[tuple[str, str]]:
    """Return the places that the navigation leads to."""
    found = [
        ("verdict", "Verdict", True),
        ("ladder", "Ladder", data.ladder),
        ("methods", "Methods", data.methods),
        ("network", "Network", data.tensors),
        ("tensors", "Tensors", data.tensors),
        ("worst", "Lowest SQNR", data.worst),
        ("precision", "Precision", data.precision or data.engine_precision or data.floats),
        ("flips", "Changed answers", data.flipped),
        ("engines", "Latency", data.engines),
        ("diagnostics", "Data", data.diagnostics),
        ("provenance", "Provenance", True),
    ]
    return [(place, name) for place, name, there in found if there]


def _histograms(data: ReportData) -> dict[str, Any]:
    """Return what the page's script draws from; method names once, tensors by their place."""
    names = list(dict.fromkeys(line.method for row in data.tensors for line in row.thresholds))
    chosen = next((names.index(method.name) for method in data.methods if method.chosen and method.name in names), None)
    places = {name: i for i, name in enumerate(names)}
    tensors = {str(row.position): _tensor(row, places) for row in data.tensors}
    return {"methods": names, "chosen": chosen, "tensors": tensors}


def _tensor(row: TensorRow, places: Mapping[str, int]) -> dict[str, Any]:
    lines = [_line(line, places) for line in row.thresholds]
    if row.sketch is None:
        return {"t": lines}
    drawn = row.sketch
    return {"c": drawn.counts, "s": _short(drawn.stop), "z": drawn.zeros, "n": drawn.total, "t": lines}


def _line(line: Threshold, places: Mapping[str, int]) -> list[Any]:
    return [places[line.method], _short(line.amax), _short(line.clipped), _short(line.expected_db)]


def _short(value: float | None) -> float | None:
    """Return five significant digits; JSON has no infinity."""
    if value is None or not abs(value) < float("inf"):
        return None
    return float(f"{value:.5g}")


def _embedded(value: object) -> Markup:
    """Return JSON that nothing in it can end early: no «<», and ASCII only, so no U+2028 either."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    made = environment()
    made.filters.update(_FILTERS)
    made.globals.update(scored=_scored, same_method=_same_method, float_words=_float_words, timed=_timed)
    made.globals.update(MOST_LAYERS=150, MOST_CLASSES=20, MOST_ODD=40, MOST_FILES=100)
    return made


def _scored(data: ReportData) -> list[Score]:
    return [score for score in (data.score, *data.others) if score is not None]


def _same_method(data: ReportData) -> str:
    """Return the method that all rows have; empty where they differ."""
    named = {row.method for row in data.tensors}
    return named.pop() if len(named) == 1 else ""


def _float_words(data: ReportData) -> str:
    """Return how many tensors and operators stay float; tensors inside kernels are neither."""
    counts = (
        (data.float_count("inside"), "tensor inside a kernel", "tensors inside kernels"),
        (data.float_count("tensors"), "tensor in float", "tensors in float"),
        (data.float_count("operators"), "operator in float", "operators in float"),
    )
    return ", ".join(
        f"{formats.count(number)} {one if number == 1 else many}" for number, one, many in counts if number
    )


def _timed(engines: Engines) -> list[tuple[int, bool, Markup]]:
    """Return a chart a batch size, at most six."""
    return [(batch, graph, bars.times(engines, batch, graph=graph)) for batch, graph in engines.batches[:6]]
