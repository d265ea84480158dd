"""The page: one HTML file that holds everything it shows."""

import base64
import hashlib
import json
import os
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from quantlab.atomic import atomic_path
from quantlab.report import formats, svg
from quantlab.report.report_data import ReportData, Score, State, TensorRow, Threshold, row_db

_STATES: dict[State, str] = {"pass": "Pass", "warn": "Warning", "fail": "Fail", "none": "No verdict"}
_FILTERS = {
    "breakable": formats.breakable,
    "number": formats.number,
    "count": formats.count,
    "share": formats.share,
    "score": formats.score,
    "lost": formats.lost,
    "decibel": formats.decibel,
    "milliseconds": formats.milliseconds,
    "size": formats.size,
    "span": formats.span,
    "dimensions": formats.dimensions,
    "sortable": formats.sortable,
    "row_db": row_db,
    "first_words": lambda text: " ".join(text.split()[:2]),
}


def write_report(path: str | os.PathLike[str], data: ReportData) -> None:
    """Write the page, whole or not at all; equal data make equal bytes.

    Raises
    ------
    MachineError
        No space, no permission.
    """
    text = render(data)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def render(data: ReportData) -> str:
    """Return the page.

    Names come from strangers' models: the template escapes whatever it prints, control characters are spelled out, and
    the page's own policy runs no script and no style but the two that it holds.
    """
    style, script = _asset("page.css"), _asset("page.js")
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            data=data,
            style=Markup(style),
            script=Markup(script),
            policy=_policy(style, script),
            histograms=_embedded(_histograms(data)),
            sections=_sections(data),
            states=_STATES,
            drawing=svg,
        )
    )


def _policy(style: str, script: str) -> str:
    return (
        f"default-src 'none'; style-src '{_source_hash(style)}'; script-src '{_source_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _source_hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _sections(data: ReportData) -> list[tuple[str, str]]:
    """Return the places that the navigation leads to."""
    found = [
        ("verdict", "Verdict", True),
        ("methods", "Methods", data.methods),
        ("network", "Network", data.tensors),
        ("tensors", "Tensors", data.tensors),
        ("worst", "Lowest SQNR", data.worst),
        ("floats", "Float", data.floats),
        ("flips", "Changed answers", data.flips),
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
    made = Environment(
        loader=PackageLoader("quantlab.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: formats.visible(value) if type(value) is str else value,
        keep_trailing_newline=True,
    )
    made.filters.update(_FILTERS)
    made.filters["compact"] = lambda value: json.dumps(value, ensure_ascii=False, sort_keys=True)
    made.globals.update(scored=_scored, float_count=lambda data: sum(len(group.names) for group in data.floats))
    return made


def _scored(data: ReportData) -> list[Score]:
    return [score for score in (data.score, *data.others) if score is not None]


@lru_cache(maxsize=4)
def _asset(name: str) -> str:
    loader = _environment().loader
    if loader is None:
        raise LookupError(name)
    return loader.get_source(_environment(), name)[0].replace("\r\n", "\n")
