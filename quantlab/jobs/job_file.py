"""Reads a YAML job; what is wrong in it is said with file, field and what is expected there."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from quantlab.errors import InputError, UsageError
from quantlab.jobs.job import Job
from quantlab.jobs.yaml_text import parse_yaml, read_yaml

_LISTED = 3


def read_job(path: Path, changes: Sequence[str] = ()) -> Job:
    """Return the job in a YAML file.

    Parameters
    ----------
    path
        The file; paths in it are relative to its folder.
    changes
        «key=value», «data.tuning=null»: replaced before anything is checked; the value is read as YAML.

    Raises
    ------
    InputError
        When the file is no valid job: file, field and what is expected are named.
    UsageError
        For a change that is no «key=value».
    """
    found = read_yaml(path)
    if not isinstance(found, dict):
        raise InputError(f"'{path}' must be a mapping with `model`, `output` and `data`.")
    for change in changes:
        _change(found, change)
    try:
        return Job.model_validate(found, context={"file": path.absolute()})
    except ValidationError as error:
        raise InputError(f"'{path}': {_problems(error)}.") from error


def _change(fields: dict[str, Any], change: str) -> None:
    name, equals, text = change.partition("=")
    *parents, last = name.strip().split(".")
    if not equals or not last:
        raise UsageError(f"A change looks like key=value, for instance target=ort, not «{change}».")
    for parent in parents:
        inner = fields.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise UsageError(f"«{change}»: {parent} is no mapping, so it has no {last}.")
        fields = inner
    fields[last] = parse_yaml(text, f"The value of {name}")


def _problems(error: ValidationError) -> str:
    """Return the first few problems as field path and what is expected there."""
    found = [_problem(dict(item)) for item in error.errors(include_url=False)]
    more = f"; and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    return "; ".join(dict.fromkeys(found[:_LISTED])) + more


def _problem(item: Mapping[str, Any]) -> str:
    place = ".".join(str(part) for part in item["loc"] if not str(part).startswith(("function-", "literal", "tuple")))
    known = {
        "extra_forbidden": "there is no such field",
        "missing": "it is missing",
    }
    text = known.get(item["type"]) or str(item["msg"]).removeprefix("Value error, ")
    got = "" if item["type"] in {"extra_forbidden", "missing", "value_error"} else f" (it is {item['input']!r:.60})"
    text = text[0].lower() + text[1:] if text.startswith("Input") else text
    return f"field `{place}`: {text.rstrip('.')}{got}" if place else f"{text.rstrip('.')}{got}"
