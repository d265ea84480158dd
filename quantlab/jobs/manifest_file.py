"""A folder's `manifest.json` as a value: its files' recipes and checksums, and what ran there."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from quantlab.atomic import atomic_path
from quantlab.errors import InputError

JSON: TypeAlias = Any

NAME = "manifest.json"
_FORMAT, _VERSION = "quantlab manifest", 1
_LARGEST = 1 << 26


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that decides the content of an artefact.

    Attributes
    ----------
    command
        What makes it: «collect», «calibrate», ….
    inputs
        Digest of each input by its role: «model», «data», «scales», ….
    options
        JSON values by name; only those that change the result.
    """

    command: str
    inputs: Mapping[str, str]
    options: Mapping[str, JSON] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "inputs", dict(self.inputs))
        # As it will be read back: tuples are lists.
        object.__setattr__(self, "options", json.loads(json.dumps(dict(self.options))))


@dataclass(frozen=True, slots=True)
class Entry:
    """A file's line in the manifest: its recipe, the checksum of its bytes, and what ran («onnxruntime» → version)."""

    recipe: Recipe
    sha256: str
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """What a manifest says.

    Attributes
    ----------
    files
        Path relative to the manifest's folder → what it was made from.
    run
        What the job that made them was, as JSON values; empty without one.
    """

    files: Mapping[str, Entry] = field(default_factory=dict)
    run: Mapping[str, JSON] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether it says nothing."""
        return not (self.files or self.run)


def read_manifest(folder: Path) -> ManifestFile:
    """Return what a folder's manifest says; an empty one if there is none.

    Raises
    ------
    InputError
        When the manifest is damaged, or of another program.
    """
    path = folder / NAME
    try:
        if path.stat().st_size > _LARGEST or not path.is_file():
            raise _foreign(path)
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ManifestFile()
    except (OSError, ValueError) as error:  # no text, a NUL in the path
        raise InputError(f"'{path}' cannot be read: {error}.") from error
    try:
        found = json.loads(text)
        if found["format"] != _FORMAT or found["version"] != _VERSION:
            raise ValueError
        return ManifestFile(
            {key: _entry(value) for key, value in found["files"].items()},
            dict(found.get("run", {})),
        )
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise _foreign(path) from error


def write_manifest(folder: Path, found: ManifestFile) -> None:
    """Write a folder's manifest, whole or not at all; equal ones make equal bytes.

    Raises
    ------
    MachineError
        No space, no permission.
    """
    document = {
        "format": _FORMAT,
        "version": _VERSION,
        **({"run": found.run} if found.run else {}),
        "files": {key: asdict(found.files[key]) for key in sorted(found.files)},
    }
    with atomic_path(folder / NAME) as temporary:
        temporary.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _foreign(path: Path) -> InputError:
    return InputError(
        f"'{path}' is no manifest that this quantlab wrote, or it is damaged: write to another folder, or move it away."
    )


def _entry(value: Mapping[str, Any]) -> Entry:
    recipe = value["recipe"]
    return Entry(
        Recipe(str(recipe["command"]), dict(recipe["inputs"]), dict(recipe["options"])),
        str(value["sha256"]),
        dict(value.get("versions", {})),
    )
