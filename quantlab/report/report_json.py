"""The report's values as JSON, for machines: everything that the page shows, and nothing that it only words.

An object with `schema` («quantlab-report»), `version` (1) and the fields of `ReportData`, each a value of the classes that it
names: a dataclass is an object of its fields, a tuple a list, and what is not a finite number is null. Three figures that
follow from others are written out too, as gates ask for them: `coverage` (share of the multiply-accumulates on integers),
and of `ladder` and `flipped` what their properties tell. Names are strangers': escape them wherever they are shown.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from quantlab.calibration.provenance import DataIdentity
from quantlab.report.formats import visible
from quantlab.report.report_data import ReportData
from quantlab.storage.text import write_text

SCHEMA, VERSION = "quantlab-report", 1


def to_json(data: ReportData) -> dict[str, Any]:
    """Return the report as JSON values; equal data make equal values."""
    found: dict[str, Any] = {"schema": SCHEMA, "version": VERSION} | _plain(data)
    found["coverage"] = _plain(data.coverage)
    if data.flipped is not None:
        found["flipped"] |= {"lost": data.flipped.lost, "gained": data.flipped.gained}
    return found


def write_json(path: str | os.PathLike[str], data: ReportData) -> None:
    """Write the JSON, whole or not at all.

    Raises
    ------
    MachineError
        No space, no permission.
    """
    write_text(path, json.dumps(to_json(data), ensure_ascii=True, allow_nan=False, indent=1) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, DataIdentity):
        return {"name": value.name, "digest": value.digest, "count": value.count} | {
            "preprocess": value.preprocess,
            "random": value.random,
        }
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return visible(value) if isinstance(value, str) and not value.isascii() and not _writable(value) else value


def _writable(text: str) -> bool:
    """Tell whether UTF-8 can express a text; half a surrogate pair, from a file name of other bytes, it cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
