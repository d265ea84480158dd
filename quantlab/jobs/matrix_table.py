"""What a matrix of jobs came to, as `matrix.json`, and as a page with a row and a link for each cell."""

import json
import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from quantlab.jobs.run_result import CellResult, MatrixResult
from quantlab.jobs.scoring import logit_sqnr_db
from quantlab.storage.text import read_text, write_text

JSON_NAME, PAGE_NAME = "matrix.json", "matrix.html"
_FORMAT, _VERSION = "quantlab matrix", 1
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem;color:#1a1a1a;background:#fff}table{border-collapse:collapse}"
    "th,td{padding:.3rem .8rem;border-bottom:1px solid #ccc;text-align:left}td.n{text-align:right}"
    ".failed,.missed{color:#a40000;font-weight:600}"
    "@media(prefers-color-scheme:dark){body{color:#eee;background:#161616}th,td{border-color:#444}a{color:#8ab4f8}"
    ".failed,.missed{color:#ff8a80}}"
)


def rows_of(found: MatrixResult) -> list[dict[str, Any]]:
    """Return a row of JSON values for each cell; what was not measured is null."""
    return [_row(cell, found.output) for cell in found.cells]


def columns_of(rows: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    """Return the heads and the cells of a table for people."""
    axes = tuple(rows[0]["choices"]) if rows else ()
    heads = (*axes, "standing", "chosen", "metric", "FP32", "INT8", "drop", "agreement", "logit SQNR dB", "INT8 bytes")
    return heads, [_shown(row, axes) for row in rows]


def write_matrix(found: MatrixResult) -> None:
    """Write table and page into the matrix's folder; what says the same already stays as it is.

    Raises
    ------
    MachineError
        No space, no permission.
    """
    rows = rows_of(found)
    document = {"format": _FORMAT, "version": _VERSION, "cells": rows}
    _write(found.output / JSON_NAME, json.dumps(document, ensure_ascii=False, allow_nan=False, indent=1) + "\n")
    _write(found.output / PAGE_NAME, _page(found.output.name, rows))


def _write(path: Path, text: str) -> None:
    if not path.exists() or read_text(path, "a table of jobs") != text:
        write_text(path, text)


def _row(cell: CellResult, folder: Path) -> dict[str, Any]:
    row: dict[str, Any] = {
        "cell": cell.cell.name,
        "choices": {axis: _told(value) for axis, value in cell.cell.choices.items()},
        "standing": cell.standing,
        "exit_code": cell.exit_code,
        "error": None if cell.error is None else str(cell.error) or type(cell.error).__name__,
    }
    measured = dict.fromkeys(
        ("method", "metric", "unit", "fp32", "int8", "drop", "agreement", "sqnr_db", "int8_bytes", "report")
    )
    if cell.result is None:
        return row | measured
    result, final = cell.result, cell.result.final
    measured |= {"method": result.chosen, "report": result.report.relative_to(folder).as_posix()}
    if final is not None:
        measured |= {
            "agreement": final.agreement.score if final.agreement.samples else None,
            "sqnr_db": logit_sqnr_db(final),
            "int8_bytes": final.sizes.int8 if final.sizes else None,
        }
        if final.metrics:
            main = final.metrics[0]
            measured |= {
                "metric": main.name,
                "unit": main.unit,
                "fp32": main.fp32,
                "int8": main.int8,
                "drop": main.drop,
            }
    return row | {key: _plain(value) for key, value in measured.items()}


def _told(value: Any) -> Any:
    """Return a value that JSON holds as it is, and any other as text: YAML knows more."""
    return _plain(value) if isinstance(value, str | int | float | bool | None) else str(value)


def _plain(value: Any) -> Any:
    return repr(value) if isinstance(value, float) and not math.isfinite(value) else value


def _shown(row: Mapping[str, Any], axes: Sequence[str]) -> tuple[object, ...]:
    return (
        *(str(row["choices"][axis]) for axis in axes),
        row["standing"],
        row["method"],
        row["metric"],
        *(_score(row, name) for name in ("fp32", "int8")),
        _rounded(row["drop"], 2),
        None if row["agreement"] is None else f"{100 * row['agreement']:.2f} %",
        _rounded(row["sqnr_db"], 2),
        row["int8_bytes"],
    )


def _score(row: Mapping[str, Any], name: str) -> object:
    """Return a score, in percent where what is lost is in points."""
    value = row[name]
    if not isinstance(value, float):
        return value
    return f"{100 * value:.2f} %" if row["unit"] == "points" else f"{value:.4f}"


def _rounded(value: Any, digits: int) -> object:
    return f"{value:.{digits}f}" if isinstance(value, float) else value


def _page(title: str, rows: Sequence[Mapping[str, Any]]) -> str:
    heads, cells = columns_of(rows)
    head = "".join(f"<th scope=col>{escape(text)}</th>" for text in (*heads, "report"))
    body = "\n".join(_line(row, shown) for row, shown in zip(rows, cells, strict=True))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head>\n<body><h1>{escape(title)}</h1>\n<table><thead><tr>{head}</tr></thead>\n"
        f"<tbody>\n{body}\n</tbody></table></body></html>\n"
    )


def _line(row: Mapping[str, Any], shown: Sequence[object]) -> str:
    standing = row["standing"]
    texts = ("–" if value is None else str(value) for value in shown)
    cells = "".join(
        f'<td class="{standing}">{escape(text)}</td>' if text == standing else f"<td>{escape(text)}</td>"
        for text in texts
    )
    link = escape(str(row["error"] or ""))
    if row["report"] is not None:
        link = f'<a href="{escape(str(row["report"]), quote=True)}">report</a>'
    return f"<tr>{cells}<td>{link}</td></tr>"
