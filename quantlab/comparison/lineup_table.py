"""A lineup's lines as people read them: one row of short texts an engine."""

from collections.abc import Sequence
from typing import Any


def table_cells(rows: Sequence[dict[str, Any]]) -> tuple[tuple[str, ...], list[tuple[str | None, ...]]]:
    """Return the headings and the cells of `Lineup.rows()`; a column in which nothing is known is left out.

    Times stand in one cell, by batch size; the last ratio is that of the largest batch, with CUDA graph if it was timed.
    """
    metrics = [name.removesuffix(" drop") for name in rows[0] if name.endswith(" drop")]
    plain = _batches(rows, graph=False)
    graph = _batches(rows, graph=True)
    ratio = f"speed b{graph[-1]} graph" if graph else f"speed b{plain[-1]}" if plain else ""
    lines = [
        {
            "engine": row["name"],
            "precision": row["precision"] or None,
            **{cell: text for name in metrics for cell, text in _score(name, row).items()},
            "agreement %": _number(row.get("agreement"), 2, 100),
            "SQNR dB": _number(row.get("sqnr_db"), 2),
            f"ms {_named(plain)}": _times(row, plain, ""),
            f"ms {_named(graph)}, CUDA graph": _times(row, graph, " graph"),
            f"speed b{(graph or plain or [0])[-1]}": _number(row.get(ratio), 2, unit=" ×"),
            "MB": _number(row["model_bytes"], 2, 1e-6),
            "device MB": _number(row["device_bytes"], 1, 1e-6),
            "build s": _number(row["build_seconds"], 1),
            "W": _number(row["watts"], 0),
            "mJ a sample": _number(row["joules_per_sample"], 3, 1000),
        }
        for row in rows
    ]
    known = [name for name in lines[0] if any(line[name] is not None for line in lines)]
    return tuple(known), [tuple(line[name] for name in known) for line in lines]


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Return the table of `table_cells` in Markdown."""
    columns, lines = table_cells(rows)
    body = [columns, ("---",) * len(columns), *lines]
    return "".join("| " + " | ".join(_cell(text) for text in line) + " |\n" for line in body)


def _cell(text: str | None) -> str:
    return "–" if text is None else text.replace("|", "\\|")


def _batches(rows: Sequence[dict[str, Any]], *, graph: bool) -> list[int]:
    names = [name.removeprefix("ms b") for name in rows[0] if name.startswith("ms b")]
    return [int(name.removesuffix(" graph")) for name in names if name.endswith(" graph") == graph]


def _named(batches: Sequence[int]) -> str:
    return " / ".join(f"b{size}" for size in batches)


def _times(row: dict[str, Any], batches: Sequence[int], suffix: str) -> str | None:
    times = [row.get(f"ms b{size}{suffix}") for size in batches]
    return None if all(time is None for time in times) else " / ".join(_number(time, 3) or "–" for time in times)


def _score(name: str, row: dict[str, Any]) -> dict[str, str | None]:
    share = name.startswith("top-")
    digits, factor = (2, 100.0) if share else (4, 1.0)
    drop, low, high = (row.get(f"{name} {what}") for what in ("drop", "low", "high"))
    span = None if drop is None else f"{drop:+.{digits}f} ({low:+.{digits}f} … {high:+.{digits}f})"
    return {f"{name}{' %' if share else ''}": _number(row.get(name), digits, factor), f"{name} drop": span}


def _number(value: float | None, digits: int, factor: float = 1.0, unit: str = "") -> str | None:
    return None if value is None else f"{value * factor:.{digits}f}{unit}"
