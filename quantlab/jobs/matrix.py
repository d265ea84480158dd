"""Carries out a matrix of jobs: one run folder a cell, histograms counted once, and a table of what each came to."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from quantlab.atomic import atomic_path
from quantlab.errors import InputError, QuantlabError
from quantlab.jobs import places
from quantlab.jobs.job import Job
from quantlab.jobs.job_fields import JobFields
from quantlab.jobs.job_file import job_of
from quantlab.jobs.manifest import file_digest, listed, record, recorded
from quantlab.jobs.matrix_section import Cell, cells_of
from quantlab.jobs.matrix_table import write_matrix
from quantlab.jobs.output_lock import working_in, writing
from quantlab.jobs.run import run_job
from quantlab.jobs.run_result import CellResult, Listener, MatrixResult
from quantlab.jobs.step import noted_or_gone


@dataclass(frozen=True, slots=True)
class MatrixJob:
    """A matrix of which every cell was read.

    Attributes
    ----------
    output
        The folder of the cells' folders.
    cells
        Each with its job, or with the error that makes it none.
    """

    output: Path
    cells: tuple[tuple[Cell, Job | QuantlabError], ...]


def read_matrix(found: JobFields) -> MatrixJob:
    """Return the matrix that a job's fields describe.

    Raises
    ------
    InputError
        When the matrix or every cell of it is no valid job, or asks for training.
    """
    read = tuple((cell, _job(cell)) for cell in cells_of(found))
    jobs = [job for _, job in read if isinstance(job, Job)]
    if not jobs:
        raise next(job for _, job in read if isinstance(job, QuantlabError))
    return MatrixJob(jobs[0].output.parent, read)


def run_matrix(matrix: MatrixJob, *, listener: Callable[[Cell], Listener], force: bool = False) -> MatrixResult:
    """Carry out every cell; one that fails does not stop the others.

    Parameters
    ----------
    matrix
        What `read_matrix` returned.
    listener
        Gives for a cell what is told of its steps.
    force
        As for `run_job`.

    Raises
    ------
    QuantlabError
        BusyError when another job works in the folder; InputError when it holds a run of its own; MachineError where
        the table cannot be written. What cells raise is in the result.
    """
    if listed(matrix.output):
        raise InputError(f"'{matrix.output}' holds a run; a matrix needs a folder of its own: give another output.")
    results: list[CellResult] = []
    with working_in(matrix.output):
        for cell, job in matrix.cells:
            results.append(_carried_out(cell, job, results, listener, force=force))
        found = MatrixResult(matrix.output, tuple(results))
        write_matrix(found)
    return found


def _job(cell: Cell) -> Job | QuantlabError:
    try:
        return job_of(cell.fields)
    except QuantlabError as error:
        return error


def _carried_out(
    cell: Cell,
    job: Job | QuantlabError,
    before: Sequence[CellResult],
    listener: Callable[[Cell], Listener],
    *,
    force: bool,
) -> CellResult:
    if not isinstance(job, Job):
        return CellResult(cell, error=job)
    try:
        reuse_histograms(job, [done.result.job for done in before if done.result is not None])
        return CellResult(cell, run_job(job, listener=listener(cell), force=force))
    except (QuantlabError, OSError, MemoryError) as error:
        return CellResult(cell, error=error)


def reuse_histograms(job: Job, earlier: Sequence[Job]) -> bool:
    """Copy histograms that an earlier job counted on the same model and data; tell whether there were any.

    What is in the job's folder already stays: its own step decides whether it is current.

    Raises
    ------
    QuantlabError
        As writing an artefact.
    """
    reused = False
    for name in (places.HISTOGRAMS, places.TENSORRT_HISTOGRAMS):
        output = job.output / name
        same = (other.output / name for other in earlier if _counts_alike(other, job, name))
        source = next((path for path in same if path.exists()), None)
        if source is not None and not output.exists():
            _copy(source, output)
            reused = True
    return reused


def _counts_alike(one: Job, two: Job, name: str) -> bool:
    """Tell whether two jobs count the same histograms."""

    def counted(job: Job) -> tuple[object, ...]:
        targets = (job.target, job.ort) if job.exposed == "quantizable" else ()
        grid = job.tensorrt_grid if name == places.TENSORRT_HISTOGRAMS else None
        return (job.model.resolve(), job.sources["calibration"], job.exposed, job.nonfinite, targets, grid)

    wanted = name == places.HISTOGRAMS or two.tensorrt_grid is not None
    return wanted and counted(one) == counted(two)


def _copy(source: Path, output: Path) -> None:
    entry = recorded(source)
    if entry is None or entry.sha256 != file_digest(source):
        return  # it was edited since: this job counts its own
    with writing(output), noted_or_gone((output,)):
        with atomic_path(output) as temporary:
            shutil.copyfile(source, temporary)
        record(output, entry.recipe, versions=entry.versions)
