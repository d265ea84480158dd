"""A job's fields as they were given, before anything is checked: by its file, the environment and the command line."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from quantlab.errors import InputError, UsageError
from quantlab.storage.text import read_text
from quantlab.storage.yaml_text import parse_yaml, read_yaml

PREFIX = "QUANTLAB_JOB_"
"""Of environment variables: QUANTLAB_JOB_MAX_DROP=0.5, and QUANTLAB_JOB_DATA__TUNING=b.npz for a field in a section."""

FILE, DEFAULT, MATRIX = "file", "default", "matrix"
"""Who gives a value, beside --set and variables: the job's file, nobody, and its lists of values for many jobs."""

_SHORT = dict.fromkeys(("data.calibration", "data.tuning", "data.evaluation", "qat.train"), "path") | {
    "workers": "count"
}
"""Sections that may be given by one of their fields alone, and by which."""


@dataclass(frozen=True, slots=True)
class JobFields:
    """What was given, and by whom.

    Attributes
    ----------
    path
        The job's file.
    values
        The fields, as YAML has them, after all changes.
    changed
        Dotted name of each field that was changed → who did: «--set», or the name of an environment variable.
    lines
        Dotted name → its line in the file, from 1.
    """

    path: Path
    values: dict[str, Any]
    changed: Mapping[str, str] = field(default_factory=dict)
    lines: Mapping[str, int] = field(default_factory=dict)

    def origin(self, name: str) -> str:
        """Return where a field's value comes from: «--set», an environment variable, file, or default."""
        parts = name.split(".")
        inner: Any = self.values
        for part in parts:
            if not isinstance(inner, dict):
                if parts[-1] == "path":
                    break  # a set that was given by its place alone
                return DEFAULT
            if part not in inner:
                return DEFAULT
            inner = inner[part]
        prefixes = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
        return next((self.changed[prefix] for prefix in prefixes if prefix in self.changed), FILE)

    def line(self, name: str) -> int | None:
        """Return the line of a field, or of the section that it lacks in; None if the file does not have it."""
        parts = name.split(".")
        if self.origin(name) not in (FILE, DEFAULT):
            return None
        found = (self.lines.get(".".join(parts[:length])) for length in range(len(parts), 0, -1))
        return next((line for line in found if line is not None), None)


def read_fields(path: Path, changes: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> JobFields:
    """Return the fields of a job's file, changed by the environment and then by «key=value» changes.

    Parameters
    ----------
    path
        The YAML file.
    changes
        «key=value», «data.tuning=null»; the value is read as YAML.
    environment
        Of its variables those that begin with `PREFIX`; the others say nothing.

    Raises
    ------
    InputError
        When the file is no YAML mapping, or a variable's value no YAML.
    UsageError
        For a change that is no «key=value», or one below a value that is no mapping.
    """
    found = read_yaml(path)
    if not isinstance(found, dict):
        raise InputError(f"'{path}' must be a mapping with `model`, `output` and `data`.")
    changed: dict[str, str] = {}
    for variable, text in sorted((environment or {}).items()):
        if variable.startswith(PREFIX) and variable != PREFIX:
            name = variable.removeprefix(PREFIX).lower().replace("__", ".")
            _change(found, name, text, f"{variable}={text}")
            changed[name] = variable
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals or not name.strip().split(".")[-1]:
            raise UsageError(f"A change looks like key=value, for instance target=ort, not «{change}».")
        _change(found, name.strip(), text, change)
        changed[name.strip()] = "--set"
    return JobFields(path, found, changed, _lines(path))


def this_environment() -> Mapping[str, str]:
    """Return the variables of this process."""
    return os.environ


def _change(fields: dict[str, Any], name: str, text: str, change: str) -> None:
    try:
        put(fields, name, parse_yaml(text, f"The value of {name}"))
    except UsageError as error:
        raise UsageError(f"«{change}»: {error}") from None


def put(fields: dict[str, Any], name: str, value: Any) -> None:
    """Set a field by its dotted name; sections that are not there are made, and those in their short form are spelt out.

    Raises
    ------
    UsageError
        When something above it is no mapping.
    """
    *parents, last = name.split(".")
    for depth, parent in enumerate(parents, start=1):
        inner = fields.get(parent)
        short = _SHORT.get(".".join(parents[:depth]))
        if inner is None:
            inner = {}
        elif short is not None and isinstance(inner, str | int):
            inner = {short: inner}
        if not isinstance(inner, dict):
            raise UsageError(f"`{parent}` is no mapping, so it has no {last}.")
        fields[parent] = inner
        fields = inner
    fields[last] = value


def _lines(path: Path) -> dict[str, int]:
    """Return the line of each key; the file has been read as plain YAML before."""
    try:
        root = yaml.compose(read_text(path, "a job").removeprefix("\ufeff"), yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError, InputError):
        return {}
    found: dict[str, int] = {}

    def note(node: Any, prefix: str) -> None:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                name = f"{prefix}{key.value}"
                found[name] = key.start_mark.line + 1
                note(value, f"{name}.")

    note(root, "")
    return found
