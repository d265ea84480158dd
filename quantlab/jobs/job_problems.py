"""All that is wrong with a job, at once: its fields, what does not go together, and the files that it names."""

import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from quantlab.data.stream import Stream
from quantlab.errors import QuantlabError
from quantlab.graph.model import Model, load_model
from quantlab.jobs.checks import check_float
from quantlab.jobs.collecting import fitting
from quantlab.jobs.data_source import DataSource, open_data, script_of
from quantlab.jobs.job import BEST, EXPORTED, Job
from quantlab.jobs.job_fields import MATRIX, JobFields, read_fields
from quantlab.jobs.job_file import Problem, checked
from quantlab.jobs.matrix_section import cells_of
from quantlab.storage.file_digest import file_digest
from quantlab.storage.overrides_yaml import read_overrides

_Found = TypeVar("_Found")
_ANY = "any.npz"


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
    """Yield what is wrong; what is wrong with a field hides neither what does not go together nor what a file lacks."""
    job, problems = checked(found)
    yield from problems
    wrong = {problem.field for problem in problems}
    if problems and "" not in wrong:
        job, more = checked(_without(found, wrong))
        yield from (problem for problem in more if not _follows(problem, wrong))
    if job is None:
        job, _ = checked(_without(_places_of(found), wrong))
    for name, text in () if job is None else _of_files(job):
        problem = Problem(name, found.line(name), text.rstrip("."))
        if not _follows(problem, wrong):
            yield problem


def _without(found: JobFields, wrong: Collection[str]) -> JobFields:
    """Return the fields without those that are wrong; one that has to be there stands for a file that is not looked for."""
    values = deepcopy(found.values)
    for name in wrong:
        first = name.partition(".")[0]
        if name.startswith("data.") and isinstance(values.get("data"), dict):
            values["data"][name.split(".")[1]] = _ANY if name.startswith("data.calibration") else None
        elif first in ("model", "output"):
            values[first] = _ANY
        elif first == "data":
            values["data"] = {"calibration": _ANY}
        else:
            values.pop(first, None)
    if "methods" in wrong:  # they decide what may be chosen
        values.pop("choose", None)
    return replace(found, values=values)


def _places_of(found: JobFields) -> JobFields:
    """Return the fields that name files and say how the data are read."""
    kept = ("model", "output", "preprocess", "data", "overrides")
    return replace(found, values={name: value for name, value in found.values.items() if name in kept})


def _follows(problem: Problem, wrong: Collection[str]) -> bool:
    """Tell whether a problem is there only because a field was left out."""
    named = (problem.field, *re.findall(r"`([a-z_.]+)", problem.text))
    heads = {".".join(name.split(".")[:2]) if name.startswith("data.") else name.partition(".")[0] for name in wrong}
    return any(name == head or name.startswith(f"{head}.") for name in named if name for head in heads)


def _of_files(job: Job) -> Iterator[tuple[str, str]]:
    """Yield field and sentence for each file that is missing or cannot be used."""
    wrong: list[tuple[str, str]] = []
    if job.output.exists() and not job.output.is_dir():
        wrong.append(("output", f"'{job.output}' is a file: name a folder"))
    model = None if job.model == job.output / EXPORTED else _tried("model", wrong, lambda: _float(job.model))
    for name, source in job.sources.items():
        place = "qat.train" if name == "train" else f"data.{name}"
        _tried(place, wrong, partial(_check_data, source, model, name))
    wrong += _judged_by_their_own(job)
    if job.overrides is not None:
        overrides = job.overrides
        _tried("overrides", wrong, lambda: read_overrides(overrides))
    if job.qat is not None and not job.qat.file.is_file():
        wrong.append(("qat.module", f"there is no file '{job.qat.file}'"))
    if job.qat is not None and job.qat.weights is not None and not job.qat.weights.is_file():
        wrong.append(("qat.state_dict", f"there is no file '{job.qat.weights}'"))
    yield from wrong


def _judged_by_their_own(job: Job) -> list[tuple[str, str]]:
    """Return field and sentence where the samples that score the result also had a say in it; a run looks at each sample."""
    places = {name: os.path.realpath(source.place or "") for name, source in job.sources.items()}
    say = ("calibration", "tuning") if job.choose == BEST else ("calibration",)
    return [
        ("data.evaluation", f"it is the {name} set, which has a say in the scales: score on other samples")
        for name in say
        if "evaluation" in places and places["evaluation"] == places.get(name)
    ]


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
    """Refuse data whose first batch is not for this model; of a script, which may do anything, only the file is looked for."""
    path = script_of(source)
    if path is not None:
        file_digest(path)
        return
    if model is None:
        open_data(source, {}, name=name)
        return
    data = open_data(fitting(source, model), {}, name=name)
    if not isinstance(data, Stream):
        stored = {tensor.name for tensor in model.proto.graph.initializer}
        next(iter(data)).bind([value.name for value in model.proto.graph.input if value.name not in stored])
