"""What a run tells while it goes on, and what it came to."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from quantlab.comparison.comparison import Comparison
from quantlab.jobs.job import Job
from quantlab.jobs.step import Made, Progress


class Listener(Protocol):
    """Told what the run is doing."""

    def begins(self, number: int, total: int, title: str) -> Progress:
        """Note that a step begins, and return what is told its progress."""
        ...

    def ended(self, number: int, total: int, text: str, seconds: float) -> None:
        """Note that a step has ended, and how."""
        ...


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a job came to.

    Attributes
    ----------
    job
        What was asked for.
    chosen
        The method of the result.
    tuning
        Method → its comparison on the tuning set; empty without one.
    final, ort
        The scores on the evaluation set; None without one.
    artefacts
        What every step left, in order; the report is the last one.
    notes
        Sentences that the user should read.
    """

    job: Job
    chosen: str
    tuning: Mapping[str, Comparison]
    final: Comparison | None
    ort: Comparison | None
    artefacts: tuple[Made, ...]
    notes: tuple[str, ...] = ()

    @property
    def report(self) -> Path:
        """The page."""
        return self.artefacts[-1].path

    @property
    def too_much(self) -> float | None:
        """The points lost, if they are more than the job allows; None if not, or if nothing was measured."""
        if self.job.max_drop is None or self.final is None or not self.final.metrics:
            return None
        drop = self.final.metrics[0].drop
        return drop if drop > self.job.max_drop else None
