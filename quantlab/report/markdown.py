"""The report in short, as Markdown for a pull request: verdict, figures, what hurts, ladder, worst tensors."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

from quantlab.report import formats
from quantlab.report.markdown_text import plain
from quantlab.report.report_data import ReportData, State
from quantlab.report.report_score import Score
from quantlab.report.tensor_row import row_db
from quantlab.storage.text import write_text

_STATES: dict[State, str] = {"pass": "✅ Pass", "warn": "⚠️ Warning", "fail": "❌ Fail", "none": "No verdict"}
_MOST = 5


def write_markdown(path: str | os.PathLike[str], data: ReportData) -> None:
    """Write the Markdown, whole or not at all.

    Raises
    ------
    MachineError
        No space, no permission.
    """
    write_text(path, render_markdown(data))


def render_markdown(data: ReportData) -> str:
    """Return the Markdown; names are escaped for Markdown and for HTML, and mention nobody."""
    parts = [
        f"## {_STATES[data.verdict.state]}: {plain(data.title)}",
        plain(data.verdict.headline),
        plain(data.verdict.reason),
        *_hurts(data),
        *_figures(data),
        *_ladder(data),
        *_worst(data),
        _origin(data),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _hurts(data: ReportData) -> Iterator[str]:
    if data.hurts:
        yield "**What hurts most**"
        yield "\n".join(f"- {plain(f'{hurt.subject} {hurt.text}')}." for hurt in data.hurts)


def _figures(data: ReportData) -> Iterator[str]:
    scores = [score for score in (data.score, *data.others) if score is not None]
    rows = [cells for score in scores for cells in _score(score)]
    if rows:
        yield _table(("Model", "Metric", "FP32", "INT8", "Drop (interval)", "Agreement", "Output SQNR"), rows)
    facts = []
    if data.coverage is not None:
        facts.append(f"INT8 share of the multiply-accumulates: {formats.share(data.coverage)}")
    if data.sizes.get("fp32") and data.sizes.get("int8"):
        facts.append(f"size: {formats.size(data.sizes['fp32'])} → {formats.size(data.sizes['int8'])}")
    if data.engines is not None:
        facts += [
            f"{plain(row.name)}: {formats.milliseconds(t.median_ms)} a batch of {t.batch} ({t.speed:.2f}×)"
            for row in data.engines.rows
            for t in row.times
            if t.speed is not None
        ][:_MOST]
    if facts:
        yield "; ".join(facts) + "."


def _score(score: Score) -> Iterator[Sequence[str]]:
    closeness = (formats.share(score.agreement), f"{formats.decibel(score.output_db)} dB")
    for metric in score.metrics:
        interval = (
            f"{formats.lost(metric.interval.low, metric.unit)} … {formats.lost(metric.interval.high, metric.unit)}"
        )
        yield (
            plain(score.model),
            plain(metric.name),
            formats.score(metric.fp32, metric.unit),
            formats.score(metric.int8, metric.unit),
            f"{formats.lost(metric.drop, metric.unit)} ({interval})",
            *closeness,
        )
    if not score.metrics:
        yield (plain(score.model), "no labels", *[formats.NOTHING] * 3, *closeness)


def _ladder(data: ReportData) -> Iterator[str]:
    if data.ladder is None:
        return
    rows = [
        (
            f"**{plain(rung.name)}**" if rung.result else plain(rung.name),
            plain(rung.where) or formats.NOTHING,
            formats.points(rung.drop),
            formats.points(rung.gain),
            formats.share(rung.coverage),
            formats.duration(rung.seconds),
            rung.standing or formats.NOTHING,
        )
        for rung in data.ladder.rungs
    ]
    yield _folded(
        f"Ladder of {len(rows)} rungs",
        _table(("Rung", "On", "Points lost", "Gain", "INT8 share", "Time", "Limit"), rows),
    )


def _worst(data: ReportData) -> Iterator[str]:
    rows = [
        (plain(row.name), f"{formats.decibel(row_db(row))} dB", formats.share(row.clipped), formats.span(row.chosen))
        for row in data.worst[:_MOST]
    ]
    if rows:
        yield _folded(
            f"The {len(rows)} tensors with the lowest SQNR", _table(("Tensor", "SQNR", "Clipped", "Range"), rows)
        )


def _origin(data: ReportData) -> str:
    sets = "; ".join(f"{plain(row.identity.name)} ({row.identity.count:,}, {row.use})" for row in data.data)
    model = f"Model {plain(data.model_name)} {plain(data.model[:19])}…. " if data.model else ""
    return (
        f"{model}Sets: {sets}. Made by quantlab {plain(data.quantlab)}."
        if sets
        else f"{model}Made by quantlab {plain(data.quantlab)}."
    )


def _folded(title: str, text: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{text}\n\n</details>"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
