"""What a bundle says of itself: `bundle.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from quantlab.calibration.provenance import DataIdentity
from quantlab.deploy.checksums import safe_path
from quantlab.storage.json_documents import read_document
from quantlab.storage.text import located, write_text

NAME = "bundle.json"
SCHEMA = "quantlab-bundle"
VERSION = 1

Kind: TypeAlias = Literal["triton", "embedded", "onnxruntime"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A bundle's content.

    Attributes
    ----------
    kind
        triton, embedded or onnxruntime.
    name
        What to call the network.
    target
        What runs or builds it, for instance «tensorrt 8.6.1».
    model, model_name
        Digest by content and file name of the ONNX model, or of the one that the plan was built from.
    files
        Role → path within the folder: «model», «cache», «scales», «plan», «config», «labels», ….
    settings
        What the bundle's own programs read: how to build, or how to preprocess.
    chosen_on
        The sets of samples that had a say in the scales.
    versions
        What made the bundle.
    notes
        What a user should know.
    """

    kind: Kind
    name: str
    target: str
    model: str
    model_name: str
    files: Mapping[str, str]
    settings: Mapping[str, Any] = field(default_factory=dict)
    chosen_on: tuple[DataIdentity, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class _Document(BaseModel):
    """A quantlab bundle."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    schema_name: Literal["quantlab-bundle"] = Field(alias="schema")
    version: Literal[1]
    kind: Kind
    name: str
    target: str
    model: str
    model_name: str
    files: dict[str, str]
    settings: dict[str, Any]
    chosen_on: list[dict[str, Any]] = Field(fail_fast=True)
    versions: dict[str, str]
    notes: list[str] = Field(fail_fast=True)


def write_bundle(folder: Path, bundle: Bundle) -> None:
    """Write `bundle.json`; equal bundles make equal bytes, as no time or place is in them.

    Raises
    ------
    MachineError
        No space, no permission.
    """
    fields = {
        "schema": SCHEMA,
        "version": VERSION,
        "kind": bundle.kind,
        "name": bundle.name,
        "target": bundle.target,
        "model": bundle.model,
        "model_name": bundle.model_name,
        "files": dict(bundle.files),
        "settings": dict(bundle.settings),
        "chosen_on": [used.to_json() for used in bundle.chosen_on],
        "versions": dict(bundle.versions),
        "notes": list(bundle.notes),
    }
    write_text(folder / NAME, json.dumps(fields, ensure_ascii=False, allow_nan=False, indent=1, sort_keys=True) + "\n")


def read_bundle(folder: Path) -> Bundle:
    """Return what a folder's `bundle.json` says.

    Raises
    ------
    InputError
        When it is missing, damaged, foreign or of a newer version, or names a file outside the folder.
    """
    path = folder / NAME
    found = read_document(path, _Document, schema=SCHEMA, version=VERSION, what="a bundle")
    with located(f"'{path}'"):
        return Bundle(
            kind=found.kind,
            name=found.name,
            target=found.target,
            model=found.model,
            model_name=found.model_name,
            files={role: safe_path(name) for role, name in found.files.items()},
            settings=found.settings,
            chosen_on=tuple(DataIdentity.from_json(used) for used in found.chosen_on),
            versions=found.versions,
            notes=tuple(found.notes),
        )
