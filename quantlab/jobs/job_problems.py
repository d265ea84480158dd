"""All that is wrong with a job, at once: its fields, what does not go together, and the files that it names."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from quantlab.data.stream import Stream
from quantlab.errors import QuantlabError
from quantlab.graph.model import Model, load_model
from quantlab.jobs.checks import check_float
from quantlab.jobs.collecting import fitting
from quantlab.jobs.data_source import DataSource, open_data
from quantlab.jobs.job import EXPORTED, Job
from quantlab.jobs.job_fields import JobFields, read_fields
from quantlab.jobs.job_file import MATRIX, Problem, checked
from quantlab.jobs.matrix_section import cells_of
from quantlab.storage.overrides_yaml import read_overrides

_Found = TypeVar("_Found")


def problems_of(
    path: Path, changes: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> tuple[Problem, ...]:
    """Return everything that keeps a job from running, as far as that can be told before it runs.

    Parameters
    ----------
    path, changes, environment
        As `read_job` takes them.

    Raises
    ------
    QuantlabError
        When the file is no YAML mapping, or a change is none.
    """
    found = read_fields(path, changes, environment)
    if found.values.get(MATRIX) is None:
        return tuple(_of_job(found))
    try:
        cells = cells_of(found)
    except QuantlabError as error:
        return (Problem(MATRIX, found.line(MATRIX), str(error).rstrip(".")),)
    return tuple(dict.fromkeys(problem for cell in cells for problem in _of_job(cell.fields)))


def _of_job(found: JobFields) -> Iterator[Problem]:
    job, problems = checked(found)
    yield from problems
    if job is not None:
        for name, text in _of_files(job):
            yield Problem(name, found.line(name), text.rstrip("."))


def _of_files(job: Job) -> Iterator[tuple[str, str]]:
    """Yield field and sentence for each file that is missing or cannot be used."""
    wrong: list[tuple[str, str]] = []
    if job.output.exists() and not job.output.is_dir():
        wrong.append(("output", f"'{job.output}' is a file: name a folder"))
    model = None if job.model == job.output / EXPORTED else _tried("model", wrong, lambda: _float(job.model))
    for name, source in job.sources.items():
        place = "qat.train" if name == "train" else f"data.{name}"
        _tried(place, wrong, partial(_check_data, source, model, name))
    if job.overrides is not None:
        overrides = job.overrides
        _tried("overrides", wrong, lambda: read_overrides(overrides))
    if job.qat is not None and not job.qat.file.is_file():
        wrong.append(("qat.module", f"there is no file '{job.qat.file}'"))
    if job.qat is not None and job.qat.weights is not None and not job.qat.weights.is_file():
        wrong.append(("qat.state_dict", f"there is no file '{job.qat.weights}'"))
    yield from wrong


def _tried(name: str, wrong: list[tuple[str, str]], call: Callable[[], _Found]) -> _Found | None:
    try:
        return call()
    except QuantlabError as error:
        wrong.append((name, str(error)))
        return None


def _float(path: Path) -> Model:
    model = load_model(path)
    check_float(model)
    return model


def _check_data(source: DataSource, model: Model | None, name: str) -> None:
    """Refuse data whose first batch is not for this model; scripts, which may do anything, are not run for it."""
    if model is None:
        open_data(source, {}, name=name)
        return
    data = open_data(fitting(source, model), {}, name=name)
    if not isinstance(data, Stream):
        stored = {tensor.name for tensor in model.proto.graph.initializer}
        next(iter(data)).bind([value.name for value in model.proto.graph.input if value.name not in stored])
