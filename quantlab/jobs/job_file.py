"""Reads a YAML job; what is wrong in it is said with file, field and what is expected there."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from quantlab.errors import InputError
from quantlab.jobs.field_names import meant
from quantlab.jobs.job import Job, ObjectionsError
from quantlab.jobs.job_fields import DEFAULT, FILE, MATRIX, JobFields, read_fields
from quantlab.jobs.job_paths import strays

_LISTED = 3
_LONGEST = 60
_KIND = re.compile(r"(function-|literal|tuple|dict\[|str$|bool$|[A-Z]\w+Section$)")
"""What pydantic puts among the names of fields: which kind of value it tried."""

_UNSAID = (FILE, DEFAULT, MATRIX)
_EXPECTED = {
    "missing": "it is missing",
    "tuple_": "a list is expected, such as [a, b]",
    "dict_": "a mapping is expected, such as {{key: value}}",
    "model_": "a mapping is expected, such as {{key: value}}",
    "string_too_short": "it is empty",
    "string_": "text is expected",
    "too_short": "a list with at least one entry is expected",
    "int_": "a whole number is expected",
    "float_": "a number is expected",
    "finite_": "a finite number is expected",
    "bool_": "true or false is expected",
    "greater_than_equal": "at least {ge:g} is expected",
    "greater_than": "more than {gt:g} is expected",
    "less_than_equal": "at most {le:g} is expected",
    "less_than": "less than {lt:g} is expected",
    "literal_": "{expected} is expected",
}
"""Beginnings of pydantic's error types → what the user should read; the first that fits."""


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
        The file; paths in it are relative to its folder, and stay there as `quantlab.jobs.job_paths` tells.
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
    outside = tuple(Problem(name, found.line(name), text) for name, text in strays(found))
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
        return [_objection(text.rstrip("."), found) for text in cause.listed]
    place = ".".join(str(part) for part in item["loc"] if not _KIND.match(str(part)))
    given = _given(place, found)
    if item["type"] == "extra_forbidden":
        return [Problem(place, found.line(place), f"there is no such field{meant(place)}{given}")]
    text = _expected(item).rstrip(".")
    got = "" if item["type"] in ("missing", "value_error") else f" (it is {_shown(item['input'])})"
    return [Problem(place, found.line(place), f"{text}{got}{given}")]


def _expected(item: Mapping[str, Any]) -> str:
    """Return what is expected in words of YAML; pydantic speaks of Python's types."""
    kind, limits = str(item["type"]), item.get("ctx", {})
    for beginning, text in _EXPECTED.items():
        if kind.startswith(beginning):
            return text.format(**limits)
    return str(item["msg"]).removeprefix("Value error, ")


def _shown(value: Any) -> str:
    """Return a value as YAML has it, cut short."""
    try:
        text = value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False, default=str)
    except (RecursionError, ValueError):
        text = str(type(value).__name__)
    return f"{text[:_LONGEST]}…" if len(text) > _LONGEST else text


def _objection(text: str, found: JobFields) -> Problem:
    """Return what does not go together, with the line of the field that it names first, and who gave the others."""
    named = dict.fromkeys(re.findall(r"`([a-z_]+(?:\.[a-z_]+)*)", text))
    first = next(iter(named), "")
    line = found.line(first) if first else None
    alone = re.match(r"`([a-z_.]+)`: ", text)
    if alone:
        return Problem(first, line, text[alone.end() :] + _given(first, found))
    origins = ((name, found.origin(name)) for name in named)
    given = "".join(f"; `{name}` is given by {origin}" for name, origin in origins if origin not in _UNSAID)
    return Problem("", line, text + given)


def _given(place: str, found: JobFields) -> str:
    origin = found.origin(place) if place else FILE
    return "" if origin in (FILE, DEFAULT) else f" (given by {origin})"
