"""What a run tells while it goes on, and what it came to."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from quantlab.comparison.comparison import Comparison
from quantlab.errors import InputError, MachineError, QuantlabError, is_out_of_memory
from quantlab.jobs.job import Job
from quantlab.jobs.matrix_section import Cell
from quantlab.jobs.step import Made, Progress

INTERRUPTED, INTERNAL = 130, 70
"""Exit codes of what was stopped with Ctrl-C, and of what is quantlab's own fault."""


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


def exit_code_of(error: BaseException) -> int:
    """Return what a process that ends with this error returns."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error.__cause__, PermissionError):  # whoever read the file: it is the machine's refusal
        return MachineError.exit_code
    if isinstance(error, QuantlabError):
        return error.exit_code
    if isinstance(error, FileNotFoundError):
        return InputError.exit_code
    return MachineError.exit_code if isinstance(error, OSError) or is_out_of_memory(error) else INTERNAL


@dataclass(frozen=True, slots=True)
class CellResult:
    """What one job of a matrix came to: its result, or the error that ended it."""

    cell: Cell
    result: RunResult | None = None
    error: Exception | None = None

    @property
    def standing(self) -> Literal["passed", "missed", "failed"]:
        """Missed: more was lost than the job allows."""
        if self.result is None:
            return "failed"
        return "passed" if self.result.too_much is None else "missed"

    @property
    def exit_code(self) -> int:
        """What a process with this job alone would return."""
        return int(self.standing == "missed") if self.error is None else exit_code_of(self.error)


@dataclass(frozen=True, slots=True)
class MatrixResult:
    """What a matrix of jobs came to.

    Attributes
    ----------
    output
        The folder of the cells' folders.
    cells
        In order.
    """

    output: Path
    cells: tuple[CellResult, ...]

    @property
    def exit_code(self) -> int:
        """0 if every cell passed; the code that all failed cells share, else 1."""
        failed = {cell.exit_code for cell in self.cells if cell.standing == "failed"}
        if len(failed) == 1:
            return failed.pop()
        return int(any(cell.standing != "passed" for cell in self.cells))
