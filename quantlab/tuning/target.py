"""When an INT8 network is good enough, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isnan
from typing import Literal, TypeAlias

from quantlab.comparison.statistics import PairedCounts, newcombe, wilson
from quantlab.errors import UsageError
from quantlab.numerics.markup import card
from quantlab.tuning.score import Score

_NO_CLASSES = "No output of the network can be told to hold class scores [samples, classes]"
_INSTEAD = "give a least SQNR, or a fidelity function and the least mean of it, or metrics"

# How much less SQNR, and how many standard errors of the fidelity, no further samples make up for.
_FAR_DB = 1.0
_FAR_ERRORS = 2.0

Standing: TypeAlias = Literal["holds", "likely", "undecided", "misses"]
"""«undecided» is a last word alone: what held on the samples that chose may be missed by chance on others."""


@dataclass(frozen=True, slots=True)
class Target:
    """What may be lost; what is None is not asked for.

    Attributes
    ----------
    max_drop
        Percentage points of the task's metric, ≥ 0: of the first metric where there are labels, else of samples whose
        class is another one, which bounds it.
    min_agreement
        Share, 0 … 1, of samples that INT8 puts into FP32's class.
    min_sqnr_db
        Signal-to-noise ratio of the worst output, in dB.
    min_fidelity
        Mean of the user's own comparison with FP32.
    confidence
        Of the interval that has to keep `max_drop`, 0 … 1.
    """

    max_drop: float | None = 0.5
    min_agreement: float | None = None
    min_sqnr_db: float | None = None
    min_fidelity: float | None = None
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if self.max_drop is not None and not self.max_drop >= 0:
            raise UsageError(f"The drop that is allowed is in percentage points, at least 0, not {self.max_drop}.")
        if self.min_agreement is not None and not 0 <= self.min_agreement <= 1:
            raise UsageError(f"The agreement is a share from 0 to 1, not {self.min_agreement}.")
        if not 0 < self.confidence < 1:
            raise UsageError(f"The confidence lies between 0 and 1, as 0.95 does, not at {self.confidence}.")
        for name, value in (("SQNR", self.min_sqnr_db), ("fidelity", self.min_fidelity)):
            if value is not None and isnan(value):
                raise UsageError(f"The {name} that is asked for must be a number, not {value}.")

    def _repr_html_(self) -> str:
        asked = {
            "largest drop": None
            if self.max_drop is None
            else f"{self.max_drop:g} points, with {self.confidence:g} confidence",
            "least agreement": self.min_agreement,
            "least SQNR": None if self.min_sqnr_db is None else f"{self.min_sqnr_db:g} dB",
            "least fidelity": self.min_fidelity,
        }
        return card("Target", asked)

    def fitting(self, exact: Score) -> Target:
        """Return the target without a drop where none can be measured and something else is asked for.

        Parameters
        ----------
        exact
            Of FP32 against itself.

        Raises
        ------
        UsageError
            When it asks for nothing, or for what cannot be measured or reached.
        """
        others = (self.min_agreement, self.min_sqnr_db, self.min_fidelity)
        if exact.metric and exact.drop is None:
            raise UsageError(
                f"«{exact.metric}», the first metric, is no share, so what it loses cannot be told in points: say that it is one "
                "(`in_points`), or give it as the fidelity function."
            )
        if self.max_drop is None and all(value is None for value in others):
            raise UsageError(
                "The target asks for nothing: give a largest drop, or a least agreement, SQNR or fidelity."
            )
        if self.min_agreement is not None and exact.agreement is None:
            raise UsageError(f"{_NO_CLASSES}, so there is no agreement to reach: {_INSTEAD}.")
        if self.min_fidelity is not None and exact.fidelity is None:
            raise UsageError(f"A fidelity of {self.min_fidelity:g} is asked for: give the function that compares, too.")
        if self.min_fidelity is not None and exact.fidelity is not None and exact.fidelity < self.min_fidelity:
            raise UsageError(
                f"A fidelity of {self.min_fidelity:g} is asked for, and FP32 against itself has {exact.fidelity:g}: larger "
                "must be better."
            )
        if self.max_drop is None or exact.drop is not None:
            return self
        if all(value is None for value in others):
            raise UsageError(f"{_NO_CLASSES}, so no drop in points can be measured: {_INSTEAD}.")
        return replace(self, max_drop=None)

    def judged(self, score: Score) -> Standing:
        """Return whether a score holds the target: with the confidence asked for, as far as one can see, or not."""
        limits = (
            (self.min_agreement, score.agreement),
            (self.min_sqnr_db, score.worst_sqnr_db),
            (self.min_fidelity, score.fidelity),
        )
        if any(limit is not None and (value is None or not value >= limit) for limit, value in limits):
            return "misses"
        if self.max_drop is None or score.drop is None or score.drop_interval is None:
            return "holds" if any(limit is not None for limit, _ in limits) else "misses"
        if score.drop_interval.high <= self.max_drop:
            return "holds"
        return "likely" if score.drop <= self.max_drop else "misses"

    def far(self, score: Score) -> bool:
        """Tell whether a score misses by more than what further samples like these could change, as far as one can see."""
        if self.min_sqnr_db is not None and not score.worst_sqnr_db >= self.min_sqnr_db - _FAR_DB:
            return True
        if self.min_agreement is not None and score.agreement is not None:
            same = round(score.agreement * score.samples)
            if wilson(same, score.samples, self.confidence).high < self.min_agreement:
                return True
        if self.min_fidelity is not None and score.fidelity is not None:
            reach = _FAR_ERRORS * (score.fidelity_error or 0.0)
            if not score.fidelity + reach >= self.min_fidelity:
                return True
        return self.max_drop is not None and score.drop_interval is not None and score.drop_interval.low > self.max_drop

    def undecided(self, score: Score) -> bool:
        """Tell whether a target is missed by a drop alone whose interval holds what is allowed: more samples would tell."""
        if self.judged(score) != "misses" or self.max_drop is None or score.drop_interval is None:
            return False
        others = replace(self, max_drop=None)
        kept = others.judged(score) != "misses" or others == Target(max_drop=None, confidence=self.confidence)
        return kept and score.drop_interval.low <= self.max_drop

    def can_be_shown(self, score: Score) -> bool:
        """Tell whether so many samples could show the drop with this confidence, if INT8 changed not one of them."""
        return self._shown_by(score.samples, score.fp32)

    def samples_needed(self, score: Score) -> int | None:
        """Return how many samples like these show the drop if not one changes; None where no number does."""
        low, high = 1, 1 << 40
        if not self._shown_by(high, score.fp32):
            return None
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self._shown_by(middle, score.fp32) else (middle + 1, high)
        return low

    def _shown_by(self, samples: int, share: float | None) -> bool:
        if self.max_drop is None or share is None:
            return True
        right = round(share * samples)
        return newcombe(PairedCounts(right, 0, 0, samples - right), self.confidence).high * 100 <= self.max_drop

    def sentence(self) -> str:
        """Return what is asked, in words."""
        asked = []
        if self.max_drop is not None:
            asked.append(f"at most {self.max_drop:g} points lost")
        if self.min_agreement is not None:
            asked.append(f"agreement ≥ {self.min_agreement:g}")
        if self.min_sqnr_db is not None:
            asked.append(f"SQNR ≥ {self.min_sqnr_db:g} dB")
        if self.min_fidelity is not None:
            asked.append(f"fidelity ≥ {self.min_fidelity:g}")
        return ", ".join(asked) or "nothing"
