"""Overrides as YAML, for people: `overrides:` tensor name or pattern → `low`, `high` and why."""

from collections.abc import Callable
from math import isfinite
from pathlib import Path
from typing import Any

import yaml

from quantlab.atomic import atomic_path
from quantlab.calibration.overrides import BY_HAND, Override, Overrides
from quantlab.calibration.ranges import Range
from quantlab.errors import InputError
from quantlab.storage.text import StrPath
from quantlab.storage.yaml_text import parse_yaml, read_yaml

_HEAD = """\
# Ranges set by hand, in each tensor's own unit; the first entry that matches a tensor wins.
# quantlab calibrate HISTOGRAMS.h5 --overrides THIS-FILE -o scales.json
"""
_LOOKS = "overrides: {tensor name: {low: -6.0, high: 6.0, reason: why}}"


def parse_overrides(text: str, where: str = "The text") -> Overrides:
    """Return what a YAML text says; `where` names it in messages.

    Raises
    ------
    InputError
        When it is no YAML, or no overrides; the entry is named.
    """
    return _overrides(parse_yaml(text, where), where)


def render_overrides(overrides: Overrides) -> str:
    """Return the YAML text; reading it back gives the same values, bit for bit."""
    entries = {
        entry.pattern: {"low": float(entry.range.low), "high": float(entry.range.high), "reason": entry.reason}
        for entry in overrides.entries
    }
    # PyYAML writes U+0085 as it is, and reads it back as a blank.
    unicode = all(text.isprintable() for entry in overrides.entries for text in (entry.pattern, entry.reason))
    written = {"overrides": entries}
    body = yaml.safe_dump(written, sort_keys=False, allow_unicode=unicode, default_flow_style=False, width=1000)
    return _HEAD + body


def read_overrides(path: StrPath) -> Overrides:
    """Return the overrides in a file.

    Raises
    ------
    InputError
        As `parse_overrides`, and when there is no such file.
    """
    return _overrides(read_yaml(Path(path)), f"'{path}'")


def write_overrides(path: StrPath, overrides: Overrides) -> None:
    """Write the file, whole or not at all.

    Raises
    ------
    MachineError
        No space, no permission.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(render_overrides(overrides), encoding="utf-8")


def change_overrides(path: StrPath, change: Callable[[Overrides], Overrides]) -> Overrides:
    """Read the file, if there is one, change what it says and write it; the entries not changed stay as they are.

    Comments in the file are not kept.

    Raises
    ------
    InputError
        When the file there is no overrides file: it stays as it is.
    """
    before = read_overrides(path) if Path(path).exists() else Overrides()
    after = change(before)
    if after != before or not Path(path).exists():
        write_overrides(path, after)
    return after


def _overrides(found: Any, where: str) -> Overrides:
    if not isinstance(found, dict) or set(found) != {"overrides"}:
        raise InputError(f"{where} holds no overrides: it looks like {_LOOKS}.")
    entries = found["overrides"] if found["overrides"] is not None else {}
    if not isinstance(entries, dict):
        raise InputError(f"{where}: `overrides` is a mapping from tensor names to ranges: {_LOOKS}.")
    return Overrides(tuple(_entry(name, value, where) for name, value in entries.items()))


def _entry(name: Any, value: Any, where: str) -> Override:
    place = f"{where}, override of «{name}»"
    if not isinstance(name, str):
        raise InputError(f"{place}: a tensor's name is text; put it in quotes.")
    if not isinstance(value, dict) or not {"low", "high"} <= set(value) <= {"low", "high", "reason"}:
        raise InputError(f"{place}: `low` and `high` are needed, and `reason` may be there, nothing else: {_LOOKS}.")
    low, high = (_bound(value[side], f"{place}, `{side}`") for side in ("low", "high"))
    reason = value.get("reason", BY_HAND)
    if not isinstance(reason, str):
        raise InputError(f"{place}: the reason is text, not {reason!r:.60}.")
    if low > high:
        raise InputError(f"{place}: `low` is {low} and `high` is {high}; the lower one comes first.")
    return Override(name, Range(low, high), reason)


def _bound(value: Any, place: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise InputError(f"{place} is a finite number, not {value!r:.60}.")
    return float(value)
