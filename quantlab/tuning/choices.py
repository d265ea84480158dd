"""Why each activation has the range it has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from quantlab.calibration.expected_error import clipped_share, expected_sqnr_db
from quantlab.calibration.methods.minmax import MinMax
from quantlab.calibration.scale_table import Scale, ScaleTable
from quantlab.calibration.schemes import Symmetric
from quantlab.numerics.histogram import Histogram


@dataclass(frozen=True, slots=True)
class Choice:
    """One activation's range.

    Attributes
    ----------
    tensor
        Its name.
    amax
        The magnitude that 127 stands for.
    method
        What chose it.
    clipped
        Share of the values seen that lie beyond; None for a tensor that the user's model does not have.
    sqnr_db
        Expected of the values seen, in dB; None likewise.
    gain_db
        Over the range of all that was seen, in dB.
    why
        In words.
    """

    tensor: str
    amax: float
    method: str
    clipped: float | None
    sqnr_db: float | None
    gain_db: float | None
    why: str


def choices(table: ScaleTable, histograms: Mapping[str, Any]) -> tuple[Choice, ...]:
    """Return a line for each activation of the table."""
    return tuple(_choice(row, histograms.get(row.tensor)) for row in table.rows if row.role == "activation")


def _choice(row: Scale, histogram: Any) -> Choice:
    method = row.method.partition("(")[0] or "given"
    seen = row.observed
    if seen is None or not isinstance(histogram, Histogram) or (seen.low, seen.high) != (histogram.low, histogram.high):
        return Choice(row.tensor, row.amax, method, row.clipped, row.sqnr_db, None, "values scaled since, counted anew")
    clipped, expected = clipped_share(histogram, row.params), expected_sqnr_db(histogram, row.params)
    wide = expected_sqnr_db(histogram, Symmetric().params(MinMax()(histogram)))
    why = f"clips {clipped:.2%}, {expected - wide:+.1f} dB over min-max"
    return Choice(row.tensor, row.amax, method, clipped, expected, expected - wide, why)
