"""A regression's tables as pandas frames."""

from collections.abc import Iterable
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from quantlab.regression.check import Check
from quantlab.regression.regression import RegressionFlip, ScaleDrift, Slice

if TYPE_CHECKING:
    import pandas as pd

_CHECK = [
    "name",
    "state",
    "value",
    "limit",
    "unit",
    "low",
    "high",
    "p_value",
    "baseline",
    "candidate",
    "needed_samples",
    "level",
    "sentence",
]
_SLICE = [
    "by", "name", "samples", "metric", "baseline", "candidate", "drop", "low", "high", "unit", "worse", "better",
    "p_value", "q_value", "state",
]  # fmt: skip


def checks_frame(checks: Iterable[Check]) -> "pd.DataFrame":
    """Return one line a check."""
    return _frame(checks, _CHECK)


def slices_frame(slices: Iterable[Slice]) -> "pd.DataFrame":
    """Return one line a slice."""
    return _frame(slices, _SLICE)


def drifts_frame(drifts: Iterable[ScaleDrift]) -> "pd.DataFrame":
    """Return one line a tensor."""
    return _frame(drifts, [field.name for field in fields(ScaleDrift)])


def flips_frame(flips: Iterable[RegressionFlip]) -> "pd.DataFrame":
    """Return one line a flip."""
    return _frame(flips, [field.name for field in fields(RegressionFlip)])


def _frame(values: Iterable[Any], columns: list[str]) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame([_line(value) for value in values], columns=pd.Index(columns))


def _line(value: Any) -> dict[str, Any]:
    line = asdict(value)
    interval = line.pop("interval", None)
    if "interval" in value.__dataclass_fields__:
        line |= {"low": interval["low"] if interval else None, "high": interval["high"] if interval else None}
    return line
