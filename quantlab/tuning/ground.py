"""What a search stands on: data, what was counted of them, who measures, and what is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from quantlab.calibration.calibrate import calibrate
from quantlab.calibration.histogram_set import HistogramSet
from quantlab.calibration.rules import Rule
from quantlab.calibration.scale_table import ScaleTable
from quantlab.data.batch import Dataset
from quantlab.tuning.scoring import RANKS, Scorer
from quantlab.tuning.target import Target

Watch = Callable[[str, int, int | None], None]
"""Told what is going on, how much of it is done, and of how much."""


@dataclass(frozen=True, slots=True, eq=False)
class Methods:
    """Which method chooses each activation's range."""

    default: Any
    single: Mapping[str, Any] = field(default_factory=dict)

    def table(self, histograms: HistogramSet) -> ScaleTable:
        """Return the scales."""
        rules = tuple(Rule(tensor, method) for tensor, method in self.single.items() if tensor in histograms)
        return calibrate(histograms, self.default, rules=rules)


@dataclass(frozen=True, slots=True, eq=False)
class Ground:
    """What the ladder stands on.

    Attributes
    ----------
    data
        Calibration samples.
    histograms
        Of the user's float model.
    scorer
        Candidates are measured on it; its first two stages rank.
    target
        What is asked for.
    walk
        Samples and memory of walks.
    threads
        Of ONNX Runtime.
    watch
        Told what is going on.
    """

    data: Dataset
    histograms: HistogramSet
    scorer: Scorer
    target: Target
    walk: Mapping[str, int]
    threads: int | None = None
    watch: Watch = lambda _what, _done, _total: None

    @property
    def ranks(self) -> tuple[Scorer, ...]:
        """The stages on which trials that only rank are measured."""
        return self.scorer.stages[:RANKS]

    @property
    def ranking(self) -> Scorer:
        """The last of them."""
        return self.ranks[-1]
