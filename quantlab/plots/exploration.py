"""What the explorer knows: a tensor, a threshold, what it costs, and the override that it would be. Pure values."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from glob import escape
from math import isfinite
from typing import Any, Literal, TypeAlias

import numpy as np

from quantlab.calibration.calibrate import calibrate
from quantlab.calibration.expected_error import clipped_share, expected_sqnr_db
from quantlab.calibration.histogram_set import HistogramSet
from quantlab.calibration.method import within_observed
from quantlab.calibration.methods.entropy import Entropy
from quantlab.calibration.methods.squared_error import SquaredError
from quantlab.calibration.overrides import Override
from quantlab.calibration.ranges import Range
from quantlab.calibration.scale_table import ScaleTable
from quantlab.calibration.schemes import LARGEST_SCALE, SMALLEST_SCALE, Symmetric
from quantlab.errors import InputError, UsageError
from quantlab.numerics.arrays import F64
from quantlab.numerics.histogram import Histogram

Spacing: TypeAlias = Literal["linear", "log"]
STEPS = 400
"""Candidates that the slider has."""

REASON = "set in the explorer"
_DECADES = 3.0
_LEVELS = 127


@dataclass(frozen=True, slots=True)
class Cost:
    """What a threshold costs.

    Attributes
    ----------
    step
        Of the integers, in the tensor's unit.
    clipped
        Share of the values beyond, 0 … 1.
    sqnr_db
        Expected SQNR of DQ(Q(x)), dB.
    divergence
        Kullback–Leibler divergence of the nearest candidate of the entropy search, nats; NaN where all is zero.
    """

    step: float
    clipped: float
    sqnr_db: float
    divergence: float


@dataclass(frozen=True, slots=True, eq=False)
class Exploration:
    """A tensor and a threshold on it; every change is a new value.

    Attributes
    ----------
    histograms
        By tensor, on the default grid.
    tensor, threshold
        Which one is looked at, and the magnitude at which it is clipped, in its unit.
    table
        Scales to start from; None: those of SquaredError.
    """

    histograms: Mapping[str, Any]
    tensor: str
    threshold: float
    table: ScaleTable | None = None
    _curves: dict[str, tuple[F64, F64]] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls, histograms: Mapping[str, Any], table: ScaleTable | None = None, tensor: str | None = None
    ) -> "Exploration":
        """Begin at a tensor, by default the first one that has values, with the table's threshold.

        Raises
        ------
        UsageError
            When these are no histograms on the default grid, or there is no such tensor.
        InputError
            When no tensor has a finite value.
        """
        if not isinstance(histograms, Mapping) or not all(isinstance(h, Histogram) for h in histograms.values()):
            raise UsageError("The explorer needs histograms by tensor on the default grid, as ql.collect returns them.")
        usable = {name: seen for name, seen in histograms.items() if seen.total}
        if not usable:
            raise InputError("No tensor has a finite value: there is no threshold to explore.")
        whole = replace(histograms, histograms=usable) if isinstance(histograms, HistogramSet) else usable
        start = cls(whole, "", 0.0, table)
        return start.on(tensor if tensor is not None else next(iter(usable)))

    @property
    def seen(self) -> Histogram:
        """The tensor's histogram."""
        found: Histogram = self.histograms[self.tensor]
        return found

    def on(self, tensor: str) -> "Exploration":
        """Return the exploration of another tensor, at the threshold that the table has for it.

        Raises
        ------
        UsageError
            When there is no such tensor.
        """
        if tensor not in self.histograms:
            raise UsageError(f"There is no tensor «{tensor}» with values among the {len(self.histograms)}.")
        row = self.table[tensor] if self.table is not None and tensor in self.table else None
        if row is None:
            return replace(self, tensor=tensor).by(SquaredError())
        return replace(self, tensor=tensor).at(row.chosen.amax if row.chosen else row.amax)

    def at(self, threshold: float) -> "Exploration":
        """Return the exploration at another threshold, in the tensor's unit.

        Raises
        ------
        UsageError
            When it is negative or no number.
        """
        if not (isfinite(threshold) and threshold >= 0):
            raise UsageError(f"A threshold is a magnitude, at least 0, not {threshold}.")
        return replace(self, threshold=float(threshold))

    def by(self, method: Any) -> "Exploration":
        """Return the exploration at the threshold that a method chooses."""
        return self.at(method(self.seen).amax)

    def candidates(self, spacing: Spacing = "linear") -> F64:
        """Return 400 thresholds, rising, up to the largest magnitude: even, or over three decades; one where all is zero."""
        top = min(self.seen.amax, _LEVELS * LARGEST_SCALE)
        if not self.seen.counts.any():
            return np.array([top])
        if spacing == "linear":
            return np.linspace(top / STEPS, top, STEPS)
        return np.geomspace(max(top * 10**-_DECADES, SMALLEST_SCALE), top, STEPS)

    def nearest(self, spacing: Spacing = "linear") -> int:
        """Return the index of the candidate that is nearest to the threshold."""
        return int(np.argmin(np.abs(self.candidates(spacing) - self.threshold)))

    @property
    def range(self) -> Range:
        """What the integers shall cover: ± the threshold, cut to what was observed; a threshold beyond it is kept."""
        seen = self.seen
        if self.threshold <= seen.amax:
            return within_observed(seen, self.threshold)
        return Range(-self.threshold if seen.low < 0 else 0.0, self.threshold)

    @property
    def cost(self) -> Cost:
        """What the threshold costs in symmetric INT8."""
        params = Symmetric().params(self.range)
        seen = self.seen
        return Cost(
            float(params.scale), clipped_share(seen, params), expected_sqnr_db(seen, params), self._divergence()
        )

    @property
    def override(self) -> Override:
        """The range as an override of this tensor alone."""
        others = (name for name in self.histograms if name != self.tensor)
        plain = Override(self.tensor, self.range, REASON)
        if any(plain.matches(name) for name in others):  # «a[0]» as a pattern is «a0»
            return Override(escape(self.tensor), self.range, REASON)
        return plain

    def tables(self) -> tuple[ScaleTable, ScaleTable]:
        """Return the scales to start from, and those with the override.

        Raises
        ------
        InputError
            When the table has no such tensor, or a tensor's scale cannot be chosen.
        """
        before = self.table if self.table is not None else calibrate(self.histograms)
        entry = self.override
        return before, before.override(entry.pattern, entry.range, reason=entry.reason)

    def _divergence(self) -> float:
        if not self.seen.counts.any():
            return float("nan")
        if self.tensor not in self._curves:
            found = Entropy().curve(self.seen)
            self._curves[self.tensor] = found.thresholds, found.divergences
        thresholds, divergences = self._curves[self.tensor]
        return float(divergences[int(np.argmin(np.abs(thresholds - self.threshold)))])
