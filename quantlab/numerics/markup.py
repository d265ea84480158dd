"""HTML for notebooks: what a value is and a few facts of it, every text escaped, as names come from strangers' models."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from math import isnan
from numbers import Integral, Real
from typing import Any

MOST_ROWS = 40


def card(kind: str, facts: Mapping[str, object] | None = None, *, name: str = "", more: str = "") -> str:
    """Return a value's kind and name, and its facts as a list on one line.

    Parameters
    ----------
    kind
        What the value is, for instance «Recording».
    facts
        Words → what they say; those that are None or empty are left out.
    name
        What it is of.
    more
        HTML that follows, escaped already.
    """
    head = f"<b>{escape(kind)}</b>{f' of «{escape(name)}»' if name else ''}"
    known = {word: value for word, value in (facts or {}).items() if value is not None and value != ""}
    listed = ", ".join(f"{escape(word)}: {escape(cell(value))}" for word, value in known.items())
    return f"<div><p>{head}{': ' if listed else ''}{listed}</p>{more}</div>"


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, most: int = MOST_ROWS) -> str:
    """Return a table; of more rows than `most` the first ones, and how many there are."""
    every = list(rows)
    head = "".join(f"<th>{escape(str(column))}</th>" for column in columns)
    body = "".join(f"<tr>{''.join(_td(value) for value in row)}</tr>" for row in every[:most])
    left = len(every) - most
    end = f"<p>… and {left:,} more of {len(every):,} rows</p>" if left > 0 else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{end}"


def frame_table(frame: Any, *, most: int = MOST_ROWS) -> str:
    """Return a pandas frame as `table`: pandas itself would cut long names."""
    return table([str(column) for column in frame.columns], frame.itertuples(index=False, name=None), most=most)


def cell(value: object) -> str:
    """Return a value as people read it: four digits of a number, «–» of what is not known; not escaped."""
    if value is None:
        return "–"
    if isinstance(value, bool) or type(value).__name__ in ("bool_", "bool"):
        return "yes" if value else "no"
    if isinstance(value, Integral):
        return f"{int(value):,}"
    if isinstance(value, Real):
        return "–" if isnan(float(value)) else f"{float(value):.4g}"
    return str(value)


def _td(value: object) -> str:
    right = ' style="text-align: right"' if isinstance(value, Real) else ""
    return f"<td{right}>{escape(cell(value))}</td>"
