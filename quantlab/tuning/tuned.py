"""The outcome of a search: the best network, and everything that was tried."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from html import escape
from typing import TYPE_CHECKING, Any

from typing_extensions import Self

from quantlab.calibration.scale_table import ScaleTable
from quantlab.numerics.markup import frame_table
from quantlab.tuning.candidate import Candidate
from quantlab.tuning.choices import Choice, choices
from quantlab.tuning.ladder import Ladder
from quantlab.tuning.mixed_precision import MixedPrecision
from quantlab.tuning.score import Score
from quantlab.tuning.sensitivity import Sensitivity
from quantlab.tuning.target import Standing, Target
from quantlab.tuning.trial import Trial, trials_frame
from quantlab.tuning.verdict import verdict

if TYPE_CHECKING:
    import pandas as pd

    from quantlab.builder import QuantizedModel


@dataclass(frozen=True, slots=True, eq=False)
class Tuned:
    """What `tune` found.

    Attributes
    ----------
    candidate
        The best: its float model, scales and options.
    trials
        All that was tried, in order.
    target
        What was asked for.
    score
        The best's, on the tuning samples.
    final
        The best's on the evaluation set; None without one.
    choices
        For each activation the method of its range, and why.
    sensitivity, mixed
        What each operator adds, and the front of accuracy over INT8 coverage; None where that rung was not needed.
    """

    candidate: Candidate
    trials: tuple[Trial, ...]
    target: Target
    score: Score
    final: Score | None
    choices: tuple[Choice, ...]
    sensitivity: Sensitivity | None = None
    mixed: MixedPrecision | None = None

    @classmethod
    def of(cls, ladder: Ladder, best: Candidate, target: Target, final: Score | None) -> Self:
        """Return what a ladder came to."""
        found = choices(best.table, ladder.ground.histograms)
        return cls(best, tuple(ladder.trials), target, ladder.score, final, found, ladder.sensitivity, ladder.mixed)

    @property
    def standing(self) -> Standing:
        """How the best stands to the target: on the evaluation set if there is one."""
        if self.final is not None and self._stopped and self.target.undecided(self.final):
            return "undecided"
        return self.target.judged(self.final or self.score)

    @property
    def _stopped(self) -> bool:
        """Whether the search ended because the samples that chose held the target."""
        return self.target.judged(self.score) != "misses"

    @property
    def verdict(self) -> str:
        """What it comes to, in words."""
        floats = len(self.candidate.options.keep_float)
        score, final = self.final or self.score, self.final is not None
        return verdict(self.target, score, final=final, floats=floats, stopped=self._stopped)

    @property
    def table(self) -> ScaleTable:
        """The scales."""
        return self.candidate.table

    def quantized(self) -> QuantizedModel:
        """Return the Q/DQ model."""
        return self.candidate.quantized()

    def frame(self) -> pd.DataFrame:
        """Return the trials as a table; see `trials_frame` for units."""
        return trials_frame(self.trials)

    def choices_frame(self) -> pd.DataFrame:
        """Return a line an activation: range, method, share clipped, expected SQNR in dB and why."""
        import pandas as pd

        return pd.DataFrame([asdict(choice) for choice in self.choices])

    def to_json(self) -> dict[str, Any]:
        """Return everything but the models, as JSON values; what is not a number is null."""
        fields = {
            "schema": "quantlab-tuned",
            "version": 1,
            "verdict": self.verdict,
            "standing": self.standing,
            "target": asdict(self.target),
            "score": asdict(self.score),
            "final": asdict(self.final) if self.final else None,
            "keep_float": list(self.candidate.options.keep_float),
            "weight_method": repr(self.candidate.options.weight_method)
            if self.candidate.options.weight_method
            else None,
            "trials": [asdict(_short(trial)) for trial in self.trials],
            "sensitivity": self.sensitivity.to_json() if self.sensitivity else None,
            "front": [asdict(point) for point in self.mixed.front] if self.mixed else None,
            "choices": [asdict(choice) for choice in self.choices],
        }
        found: dict[str, Any] = json.loads(json.dumps(_finite(fields), allow_nan=False))
        return found

    def _repr_html_(self) -> str:
        return f"<p>{escape(self.verdict)}</p>{frame_table(self.frame())}"


def _short(trial: Trial) -> Trial:
    """Return a trial without what was kept to compare it with others."""
    return replace(trial, stages=(), score=None if trial.score is None else replace(trial.score, noise=()))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value
