"""Says what a job would do, without doing it: its values and who gave them, its inputs, what is current and what is not."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from quantlab.data.stream import Stream
from quantlab.errors import QuantlabError
from quantlab.graph.model import load_model
from quantlab.jobs import places
from quantlab.jobs.data_source import script_of
from quantlab.jobs.job import EXPORTED, Job
from quantlab.jobs.job_fields import JobFields
from quantlab.jobs.run_facts import files_of, resolved_job
from quantlab.jobs.run_result import Listener
from quantlab.jobs.run_steps import RunSteps
from quantlab.jobs.step import PendingError, Progress
from quantlab.storage.file_digest import file_digest

State = Literal["current", "to do", "stale", "refused", "waits"]


@dataclass(frozen=True, slots=True)
class Value:
    """A field of the resolved job, its value, and where that comes from: --set, a variable's name, matrix, file, default."""

    name: str
    value: Any
    origin: str


@dataclass(frozen=True, slots=True)
class Input:
    """What goes in: its role, its place, its digest (None if only a full pass tells) and its samples, for data."""

    role: str
    place: str
    digest: str | None
    samples: int | None = None


@dataclass(frozen=True, slots=True)
class StepState:
    """What would become of a step, and why.

    Attributes
    ----------
    state
        current: nothing is done, unless a step before changes what it is made from; to do; stale: refused without
        --force; refused: a file there is edited, or not quantlab's; waits: for a step before it.
    """

    number: int
    title: str
    state: State
    why: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a job would do.

    Attributes
    ----------
    leftovers
        Files of another job in the run folder, which --force would remove.
    """

    job: Job
    values: tuple[Value, ...]
    inputs: tuple[Input, ...]
    steps: tuple[StepState, ...]
    leftovers: tuple[str, ...] = ()


class _Silence:
    def begins(self, _number: int, _total: int, _title: str) -> Progress:
        return _unheard

    def ended(self, _number: int, _total: int, _text: str, _seconds: float) -> None:
        return


SILENCE: Listener = _Silence()


def explain(found: JobFields, job: Job) -> Explanation:
    """Return what a job would do; no file is written, no network runs, and no Python file of the job.

    Parameters
    ----------
    found, job
        The fields as they were given, and the job that they are.

    Raises
    ------
    QuantlabError
        For a model or data that are missing or cannot be used.
    """
    values = tuple(_values(resolved_job(job, found.path.absolute().parent), found))
    if job.model == job.output / EXPORTED and not job.model.exists():
        steps = (
            StepState(1, "export the module", "to do", "there is no model yet"),
            StepState(2, "all others", "waits", "for the exported model"),
        )
        return Explanation(job, values, (), steps)
    scripts = sorted({str(path) for path in map(script_of, job.sources.values()) if path is not None})
    if scripts:
        why = f"for the samples of '{scripts[0]}': it is a Python file, and explaining runs none"
        inputs = (Input("model", str(job.model), load_model(job.model).digest), *_files(job))
        return Explanation(job, values, inputs, (StepState(1, "all steps", "waits", why),), places.leftovers(job))
    run = RunSteps(job, SILENCE, "ask")
    return Explanation(job, values, tuple(_inputs(run)), tuple(_states(run)), places.leftovers(job))


def _values(fields: Mapping[str, Any], found: JobFields, prefix: str = "") -> Iterator[Value]:
    for name, value in fields.items():
        if isinstance(value, Mapping) and value:
            yield from _values(value, found, f"{prefix}{name}.")
        else:
            yield Value(prefix + name, value, found.origin(prefix + name))


def _inputs(run: RunSteps) -> Iterator[Input]:
    job = run.job
    yield Input("model", str(job.model), run.model.digest)
    for name, data in run.data.items():
        place = job.sources[name].place or "random"
        if isinstance(data, Stream) and not data.is_known:
            yield Input(name, place, None)
        else:
            yield Input(name, place, data.identity.digest, len(data))
    yield from _files(job)


def _files(job: Job) -> Iterator[Input]:
    for role, path in files_of(job).items():
        yield Input(role, str(path), file_digest(path))


def _states(run: RunSteps) -> Iterator[StepState]:
    awaited = ""
    for number, (title, step) in enumerate(run.steps(), start=1):
        found = _asked(run, number, title, step, awaited)
        if found.state != "current" and not awaited:
            awaited = title
        yield found


def _asked(run: RunSteps, number: int, title: str, step: Any, awaited: str) -> StepState:
    try:
        step(_unheard)
    except PendingError as pending:
        kinds: Mapping[str, State] = {"absent": "to do", "stale": "stale", "foreign": "refused"}
        state = kinds[pending.state]
        stands = state == "stale" and title == "report"  # it follows from the others, and is made anew unasked
        why = _inside(str(pending), run.folder)
        return StepState(
            number, title, "to do" if stands else state, why.partition("; give --force")[0] if stands else why
        )
    except QuantlabError:
        if not awaited:
            raise
        return StepState(number, title, "waits", f"for «{awaited}»")
    return StepState(number, title, "current", f"unless «{awaited}» changes what it is made from" if awaited else "")


def _inside(text: str, folder: Path) -> str:
    return text.replace(f"{folder}/", "")


def _unheard(_done: int, _total: int | None) -> None:
    return
