"""The JSON Schema of job files, for editors and for other programs."""

import re
from collections.abc import Mapping
from inspect import cleandoc, getdoc
from typing import Any

from pydantic import BaseModel

from quantlab.jobs.cache_section import CacheSection
from quantlab.jobs.data_section import DataSection, DataSets
from quantlab.jobs.job import Job
from quantlab.jobs.job_fields import MATRIX
from quantlab.jobs.matrix_section import EXCLUDE
from quantlab.jobs.training_section import DistillationSection, TrainingSection
from quantlab.jobs.workers_section import WorkersSection

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TEXT = {"type": "string"}
_LISTED = ("expose", "methods", "metrics")
"""Lists that may be given as their only entry."""


def job_schema() -> dict[str, Any]:
    """Return the schema of a job's file: what `read_job` takes, as far as a schema can say it."""
    schema = Job.model_json_schema()
    sections = schema["$defs"]
    for model, found in (
        (Job, schema),
        *(
            (part, sections[part.__name__])
            for part in (DataSets, DataSection, CacheSection, TrainingSection, WorkersSection)
        ),
        (DistillationSection, sections["DistillationSection"]),
    ):
        _describe(found, model)
    fields = schema["properties"]
    fields["budget"] = {"anyOf": [{"type": "integer", "minimum": 1}, _TEXT], **_kept(fields["budget"])}
    for name in _LISTED:
        fields[name] = {"anyOf": [*fields[name].get("anyOf", [_bare(fields[name])]), _TEXT], **_kept(fields[name])}
    fields["workers"]["anyOf"].insert(0, {"type": "integer", "minimum": 1})
    _allow_places(sections["DataSets"]["properties"])
    _allow_places({"train": sections["TrainingSection"]["properties"]["train"]})
    version = sections["CacheSection"]["properties"]["version"]
    version["type"] = ["string", "number"]  # YAML reads 8.6 as a number
    fields[MATRIX] = _matrix()
    required = [name for name in schema.pop("required") if name != "model"]
    named = [{"required": ["model"]}, {"required": ["qat"]}, {"required": [MATRIX]}]
    return {"$schema": _DIALECT, **schema, "title": "quantlab job", "required": required, "anyOf": named}


def descriptions(model: type[BaseModel]) -> dict[str, str]:
    """Return what a section's docstring says of each of its fields."""
    _, _, text = (getdoc(model) or "").partition("Attributes\n----------\n")
    found: dict[str, str] = {}
    for names, body in re.findall(r"^(\w[\w, ]*)\n((?: {4}.*\n?)+)", text, re.MULTILINE):
        found |= dict.fromkeys(re.split(r",\s*", names), " ".join(cleandoc(body).split()))
    return found


def _describe(schema: dict[str, Any], model: type[BaseModel]) -> None:
    schema["description"] = (getdoc(model) or "").splitlines()[0]
    told = descriptions(model)
    for name, found in schema["properties"].items():
        found.pop("title", None)
        if name in told:
            found["description"] = told[name]


def _allow_places(sets: Mapping[str, dict[str, Any]]) -> None:
    """Let a set be given by its place alone."""
    for found in sets.values():
        kinds = found.pop("anyOf", None) or [{"$ref": found.pop("$ref")}]
        found["anyOf"] = [_TEXT, *kinds]


def _matrix() -> dict[str, Any]:
    return {
        "description": "Fields with lists of values: every combination is a run of its own, in a sub-folder of `output`; "
        "`method` stands for `methods` and `choose` with one method. `exclude` lists combinations to leave out.",
        "type": "object",
        "properties": {EXCLUDE: {"type": "array", "items": {"type": "object", "minProperties": 1}}},
        "additionalProperties": {"type": "array", "minItems": 1},
        "minProperties": 1,
    }


def _kept(found: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in found.items() if key in ("default", "description")}


def _bare(found: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in found.items() if key not in ("default", "description", "title")}
