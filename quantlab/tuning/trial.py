"""One line of the search: what was tried, what it cost, and whether it was kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isnan
from typing import TYPE_CHECKING

from quantlab.tuning.score import Score
from quantlab.tuning.target import Standing

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "rung", "trial", "what changed", "samples", "metric", "drop, points", "low", "high", "agreement", "SQNR dB", "fidelity",
    "float operators", "kept", "target", "best SQNR dB", "seconds", "note",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Trial:
    """What was tried.

    Attributes
    ----------
    rung, label
        The rung of the ladder and the trial's name on it; together unlike any other trial's.
    change
        What is other than in the best so far, in words.
    score
        None for what was not run; `note` says why.
    kept
        Whether it is the best so far now. Trials for ranking, on fewer samples, never are.
    standing
        How the score stands to the target.
    best_db
        Mean SQNR of the best so far, in dB.
    floats
        How many operators stay float by wish.
    seconds
        What it took, measuring included.
    note
        Why it was not run, or what else is to be said.
    stages
        What it scored on the first samples, ever more of them, before the whole.
    """

    rung: str
    label: str
    change: str
    score: Score | None = None
    kept: bool = False
    standing: Standing = "misses"
    best_db: float = float("nan")
    floats: int = 0
    seconds: float = 0.0
    note: str = ""
    stages: tuple[Score, ...] = ()

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from other trials."""
        return self.rung, self.label

    @property
    def scores(self) -> tuple[Score, ...]:
        """All scores, on ever more samples; empty for what was not run."""
        return () if self.score is None else (*self.stages, self.score)

    def leads(self, rival: tuple[Score, ...], by_db: float) -> bool:
        """Tell whether the trial came as far as a rival's scores do and is worth more there, by more than `by_db`."""
        if self.score is None or len(self.scores) < len(rival):
            return False
        level = rival[-1].worth_db if rival else -inf
        return self.score.worth_db > (-inf if isnan(level) else level) + by_db

    def line(self) -> tuple[object, ...]:
        """Return its cells, as `COLUMNS` names them."""
        score = self.score
        if score is None:
            return (self.rung, self.label, self.change, *(None,) * 10, None, None, round(self.seconds, 1), self.note)
        interval = score.drop_interval
        return (
            self.rung, self.label, self.change, score.samples, score.metric, score.drop,
            interval.low if interval else None, interval.high if interval else None, score.agreement, score.mean_sqnr_db,
            score.fidelity, self.floats, self.kept, self.standing, self.best_db, round(self.seconds, 1), self.note,
        )  # fmt: skip


def trials_frame(trials: Sequence[Trial]) -> pd.DataFrame:
    """Return the search as a table.

    Columns: drop, low and high in percentage points, agreement and fidelity as shares, SQNR in dB, seconds.
    """
    import pandas as pd

    return pd.DataFrame([trial.line() for trial in trials], columns=list(COLUMNS))
