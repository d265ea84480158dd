"""Reads a YAML job; what is wrong in it is said with file, field and what is expected there."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from quantlab.errors import InputError
from quantlab.jobs.job import Job, ObjectionsError
from quantlab.jobs.job_fields import DEFAULT, FILE, JobFields, read_fields
from quantlab.jobs.job_paths import strays

MATRIX = "matrix"
_LISTED = 3
_OUTSIDE = (
    "'{}' leads out of the job's folder, and out of the one where you are: run the command above both, or give the path "
    "yourself, with --set"
)


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a job: the field («data.tuning»; empty for the whole), its line in the file, and a sentence."""

    field: str
    line: int | None
    text: str

    def __str__(self) -> str:
        return f"field `{self.field}`: {self.text}" if self.field else self.text


def read_job(path: Path, changes: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> Job:
    """Return the job in a YAML file.

    Parameters
    ----------
    path
        The file; paths in it are relative to its folder.
    changes
        «key=value», «data.tuning=null»: replaced before anything is checked; the value is read as YAML.
    environment
        Variables such as QUANTLAB_JOB_DATA__TUNING=b.npz; they replace what the file says, and `changes` replaces
        them. None: no variable is looked at.

    Raises
    ------
    InputError
        When the file is no valid job: file, field and what is expected are named; or when it has a matrix.
    UsageError
        For a change that is no «key=value».
    """
    found = read_fields(path, changes, environment)
    if found.values.get(MATRIX) is not None:
        raise InputError(f"'{path}' has a `{MATRIX}`, so it is many jobs: only `quantlab run` carries them out.")
    return job_of(found)


def job_of(found: JobFields) -> Job:
    """Return the job that fields are.

    Raises
    ------
    InputError
        As `read_job`.
    """
    job, problems = checked(found)
    if job is None:
        more = f"; and {len(problems) - _LISTED} more" if len(problems) > _LISTED else ""
        listed = dict.fromkeys(str(problem) for problem in problems[:_LISTED])
        raise InputError(f"'{found.path}': {'; '.join(listed)}{more}.")
    return job


def checked(found: JobFields) -> tuple[Job | None, tuple[Problem, ...]]:
    """Return the job, or None and all that is wrong with its fields."""
    outside = tuple(Problem(name, found.line(name), _OUTSIDE.format(path)) for name, path in strays(found))
    if outside:
        return None, outside
    values = {key: value for key, value in found.values.items() if key != MATRIX}
    try:
        return Job.model_validate(values, context={"file": found.path.absolute()}), ()
    except ValidationError as error:
        items = [dict(item) for item in error.errors(include_url=False)]
        problems = [problem for item in items for problem in _problems(item, found)]
        return None, tuple(dict.fromkeys(problems))


def _problems(item: Mapping[str, Any], found: JobFields) -> list[Problem]:
    cause = item.get("ctx", {}).get("error")
    if isinstance(cause, ObjectionsError):
        return [_objection(text, found) for text in cause.listed]
    place = ".".join(str(part) for part in item["loc"] if not str(part).startswith(("function-", "literal", "tuple")))
    known = {
        "extra_forbidden": f"there is no such field{_meant(place)}",
        "missing": "it is missing",
    }
    text = known.get(item["type"]) or str(item["msg"]).removeprefix("Value error, ")
    got = "" if item["type"] in {"extra_forbidden", "missing", "value_error"} else f" (it is {item['input']!r:.60})"
    text = text[0].lower() + text[1:] if text.startswith("Input") else text
    return [Problem(place, found.line(place), f"{text.rstrip('.')}{got}{_given(place, found)}")]


def _objection(text: str, found: JobFields) -> Problem:
    """Return what does not go together, with the line of the field that it names first."""
    named = re.search(r"`([a-z_.]+)", text)
    name = named[1] if named else ""
    return Problem("", found.line(name) if name else None, text)


def _meant(place: str) -> str:
    *parents, last = place.split(".")
    near = get_close_matches(last, Job.model_fields, 1) if not parents else []
    return f" (did you mean `{near[0]}`?)" if near else ""


def _given(place: str, found: JobFields) -> str:
    origin = found.origin(place) if place else FILE
    return "" if origin in (FILE, DEFAULT) else f" (given by {origin})"
