"""A job's part `matrix`: lists of values for its fields, and the jobs that their combinations are."""

import re
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

from quantlab.errors import InputError, UsageError
from quantlab.jobs.job_fields import DEFAULT, FILE, MATRIX, JobFields, put

EXCLUDE = "exclude"
LARGEST = 1000
"""Cells of a matrix at most."""

_METHODS = ("method", "methods")
_NEVER = ("output", MATRIX, "qat")
_LONGEST = 40


@dataclass(frozen=True, slots=True)
class Cell:
    """One job of a matrix.

    Attributes
    ----------
    name
        What tells it from the others, and its sub-folder of the job's output: «net_tensorrt-8.6_entropy».
    choices
        Field → its value here, as it was written.
    fields
        The job's fields, `output` its own folder.
    """

    name: str
    choices: Mapping[str, Any]
    fields: JobFields


def cells_of(found: JobFields) -> tuple[Cell, ...]:
    """Return the jobs of a job with a matrix, in the order of its lists.

    Raises
    ------
    InputError
        When the matrix is no mapping of fields to lists, excludes what it does not have or everything, has more than
        1,000 cells or two of the same name; or when the job asks for training.
    """
    if found.values.get("qat") is not None:
        raise InputError(
            f"'{found.path}' has both a `{MATRIX}` and `qat`: a training takes hours and decides what to try next by what came "
            f"before, so it is one job at a time; give --set qat=null for the matrix without training, or --set {MATRIX}=null "
            "with --set for the fields of one cell."
        )
    axes, excluded = _axes(found)
    combinations = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
    kept = [choices for choices in combinations if not any(_fits(choices, rule) for rule in excluded)]
    if not kept:
        raise InputError(f"'{found.path}': `{MATRIX}.{EXCLUDE}` leaves no combination.")
    cells = tuple(_cell(found, choices) for choices in kept)
    names = [cell.name for cell in cells]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"'{found.path}': two cells of `{MATRIX}` would both be called «{twice}»: list a value once.")
    return cells


def _axes(found: JobFields) -> tuple[dict[str, list[Any]], list[Mapping[str, Any]]]:
    section = found.values.get(MATRIX)
    where = f"'{found.path}': field `{MATRIX}`"
    if not isinstance(section, dict):
        raise InputError(f"{where}: a mapping of fields to lists of values is expected, such as {{target: [a, b]}}.")
    excluded = section.get(EXCLUDE) or []
    axes = {str(name): values for name, values in section.items() if name != EXCLUDE}
    for name, values in axes.items():
        if name in _NEVER or not re.fullmatch(r"[a-z_]+(\.[a-z_]+)*", name):
            raise InputError(f"{where}: a matrix cannot have `{_short(name)}`.")
        if not isinstance(values, list) or not values:
            raise InputError(f"{where}.{name}: a list of values is expected.")
    if not axes:
        raise InputError(f"{where}: it lists no field; add one, such as target: [tensorrt@8.6, ort].")
    count = prod(len(values) for values in axes.values())
    if count > LARGEST:
        raise InputError(f"{where}: it has {count:,} combinations; {LARGEST:,} are the most.")
    _check_excluded(excluded, axes, where)
    return axes, excluded


def _check_excluded(excluded: Any, axes: Mapping[str, list[Any]], where: str) -> None:
    if not isinstance(excluded, list) or not all(isinstance(rule, dict) and rule for rule in excluded):
        raise InputError(f"{where}.{EXCLUDE}: a list of mappings is expected, such as [{{target: ort}}].")
    for rule in excluded:
        for name, value in rule.items():
            if value not in axes.get(str(name), []):
                raise InputError(f"{where}.{EXCLUDE}: `{_short(name)}` has no value «{_short(value)}» there.")


def _fits(choices: Mapping[str, Any], rule: Mapping[str, Any]) -> bool:
    return all(choices[name] == value for name, value in rule.items())


def _cell(found: JobFields, choices: Mapping[str, Any]) -> Cell:
    values = {key: deepcopy(value) for key, value in found.values.items() if key != MATRIX}
    name = "_".join(_slug(axis, value) for axis, value in choices.items())
    changed = dict(found.changed)
    given: dict[str, Any] = {"output": f"{values.get('output', '')}/{name}" if values.get("output") else None}
    for axis, value in choices.items():
        if axis in _METHODS and isinstance(value, str):
            given |= {"methods": [value], "choose": value}
        else:
            given["methods" if axis in _METHODS else axis] = deepcopy(value)
    if choices.get("target") == "ort":  # what is only for TensorRT, or is a second model for ort, goes with the others
        given |= {
            name: None if name == "cache" else False
            for name in ("cache", "ort")
            if name in values and name not in choices
        }
    for axis, value in given.items():
        try:
            put(values, axis, value)
        except UsageError as error:
            raise InputError(f"'{found.path}': field `{MATRIX}.{axis}`: {error}") from None
        given_by = found.origin("output" if axis == "output" else f"{MATRIX}.{axis}")
        changed[axis] = MATRIX if given_by in (FILE, DEFAULT) else given_by
    return Cell(name, choices, replace(found, values=values, changed=changed))


def _short(value: Any) -> str:
    """Return a stranger's value on one line."""
    return " ".join(str(value).split())[:_LONGEST]


def _slug(axis: str, value: Any) -> str:
    """Return a value as part of a folder's name; of a path, its name without ending."""
    text = str(value)
    if (axis == "model" or axis.startswith("data.")) and isinstance(value, str):
        text = Path(value).stem
    return re.sub(r"[^a-zA-Z0-9.]+", "-", text).strip("-.")[:_LONGEST] or "empty"
