"""A regression as Markdown for a pull request: the verdict, the checks, what changed, and what hurts most."""

import os
from collections.abc import Iterator

from quantlab.regression.check import State
from quantlab.regression.regression import Regression
from quantlab.report import formats, markdown_text
from quantlab.report.regression_data import WORDS, chance, interval_of, needed, value_of, with_unit
from quantlab.storage.text import write_text

_MOST = 10
_SIGNS: dict[State, str] = {"pass": "✅", "warn": "⚠️", "fail": "❌", "inconclusive": "❔"}
_LONGEST = 400


def write_regression_markdown(path: str | os.PathLike[str], found: Regression) -> None:
    """Write the summary, whole or not at all.

    Raises
    ------
    InputError
        When a name cannot be written as UTF-8.
    MachineError
        No space, no permission.
    """
    write_text(path, regression_markdown(found))


def regression_markdown(found: Regression) -> str:
    """Return a summary in GitHub's Markdown, a screen long.

    Names come from strangers' models and files: what they hold is text and nothing else, neither markup nor HTML nor a
    mention.
    """
    return "\n".join(_lines(found)) + "\n"


def plain(text: str) -> str:
    """Return a text that Markdown shows as it is, on one line, cut to 400 characters."""
    return markdown_text.plain(text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…")


def _lines(found: Regression) -> Iterator[str]:
    yield f"### {_SIGNS[found.verdict]} INT8 regression: {WORDS[found.verdict].lower()}"
    yield ""
    yield f"**{plain(found.sentence)}**"
    yield ""
    yield f"{plain(found.candidate.name)} against {plain(found.baseline.name)}, {found.samples:,} samples of both."
    count = needed(found)
    if count:
        yield f"About {count} samples would decide."
    yield ""
    yield from _table(
        ("Check", "", "Measured", "Interval", "Limit", "p"),
        [
            (
                plain(c.name),
                _state(c.state),
                value_of(c),
                interval_of(c),
                with_unit(c.limit, c.unit),
                plain(chance(c.p_value)),
            )
            for c in found.checks
        ],
    )
    rest = found.further
    yield from (f"- {_SIGNS[check.state]} {plain(check.sentence)}" for check in rest[:_MOST])
    yield from _more(len(rest))
    yield ""
    changed = [plain(difference) for difference in found.differences]
    yield "**Changed between the runs:** " + (", ".join(changed) or "nothing that is known of") + "."
    yield from _slices(found)
    yield from _tensors(found)
    worse = [flip for flip in found.flips if flip.effect == "worse"]
    if worse:
        named = [plain(flip.name or f"sample {flip.index}") for flip in worse[:_MOST]]
        yield ""
        yield f"**Samples that got worse ({len(worse):,}):** {', '.join(named)}{' …' if len(worse) > _MOST else ''}"


def _slices(found: Regression) -> Iterator[str]:
    parts = [part for part in found.slices if part.state != "pass"]
    if parts:
        yield ""
        yield from _table(
            ("Slice", "", "Samples", "Before", "Now", "Fall", "p"),
            [
                (
                    f"{plain(part.by)} {plain(part.name)}",
                    _state(part.state),
                    f"{part.samples:,}",
                    formats.score(part.baseline, part.unit),
                    formats.score(part.candidate, part.unit),
                    formats.lost(part.drop, part.unit),
                    plain(chance(part.p_value)),
                )
                for part in parts[:_MOST]
            ],
        )
        yield from _more(len(parts))


def _tensors(found: Regression) -> Iterator[str]:
    moved = [drift for drift in found.drifts if drift.state != "pass"]
    if moved:
        yield ""
        yield from _table(
            ("Tensor", "", "Scale before", "Now", "Ratio"),
            [
                (
                    plain(drift.tensor),
                    _state(drift.state),
                    formats.number(drift.baseline),
                    formats.number(drift.candidate),
                    with_unit(drift.ratio, "ratio"),
                )
                for drift in moved[:_MOST]
            ],
        )
        yield from _more(len(moved))


def _state(state: State) -> str:
    return f"{_SIGNS[state]} {WORDS[state].lower()}"


def _table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield f"|{'---|' * len(columns)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)
    yield ""


def _more(count: int) -> Iterator[str]:
    if count > _MOST:
        yield f"- and {count - _MOST:,} more"
