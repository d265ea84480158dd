"""What a run folder's files were made by: the folder's manifest, read for its page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from quantlab.errors import InputError
from quantlab.storage.text import read_text
from quantlab.storage.validated import validated

MANIFEST = "manifest.json"
_FORMAT = "quantlab manifest"


@dataclass(frozen=True, slots=True)
class Artefact:
    """One file of the run.

    Attributes
    ----------
    name
        Relative to the folder.
    command
        What made it.
    digest
        «sha256:…» of its bytes when it was made.
    inputs, options
        Digests of what it was made from, by role, and the options that decide its content, a seed among them.
    versions
        What ran.
    """

    name: str
    command: str
    digest: str
    inputs: Mapping[str, str]
    options: Mapping[str, Any]
    versions: Mapping[str, str]

    @property
    def seeds(self) -> str:
        """The seeds among the options, as «seed 0»; empty where none had a say."""
        found = [f"{key.rpartition('.')[2]} {value}" for key, value in _flat("", self.options) if key.endswith("seed")]
        return ", ".join(found)


class _Recipe(BaseModel):
    model_config = ConfigDict(extra="ignore")
    command: str
    inputs: dict[str, str]
    options: dict[str, Any]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="ignore")
    recipe: _Recipe
    sha256: str
    versions: dict[str, str] = {}


class _Manifest(BaseModel):
    model_config = ConfigDict(extra="ignore")
    format: str
    version: int
    files: dict[str, _Entry]


def read_artefacts(folder: Path) -> tuple[Artefact, ...]:
    """Return what the folder's manifest lists, by name; reports are left out, as they follow from the rest.

    Raises
    ------
    InputError
        When the manifest is damaged, or of another program.
    """
    path = folder / MANIFEST
    if not path.exists():
        return ()
    try:
        found = validated(_Manifest, json.loads(read_text(path, "a manifest")))
        if found.format != _FORMAT or found.version != 1:
            raise ValueError
    except (ValidationError, ValueError, RecursionError) as error:
        raise InputError(
            f"'{path}' is no manifest that this quantlab wrote, or it is damaged: write to another folder, or move it away."
        ) from error
    return tuple(
        Artefact(name, e.recipe.command, e.sha256, e.recipe.inputs, e.recipe.options, e.versions)
        for name, e in sorted(found.files.items())
        if e.recipe.command != "report"
    )


def _flat(place: str, value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping):
        return [pair for key, inner in value.items() for pair in _flat(f"{place}.{key}" if place else str(key), inner)]
    return [(place, value)]
