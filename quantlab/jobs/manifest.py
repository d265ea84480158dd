"""What a folder's files were made from: `manifest.json` maps each file to its recipe and its checksum."""

import hashlib
import json
import os
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from quantlab.atomic import atomic_path
from quantlab.errors import InputError, StaleError
from quantlab.jobs.differences import differences

if sys.platform != "win32":  # there, two commands at once may lose an entry, and say so at the next run
    import fcntl

JSON: TypeAlias = Any
State: TypeAlias = Literal["absent", "current"]

NAME = "manifest.json"
_FORMAT, _VERSION = "quantlab manifest", 1
_FORCE = "give --force to make it anew, or another output"


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


def state(path: Path, recipe: Recipe) -> State:
    """Tell whether an artefact has to be made, or is exactly what the recipe makes.

    Raises
    ------
    StaleError
        When it was made by another recipe; the sentence tells which input or option changed.
    InputError
        When the file is not in its folder's manifest, or was changed after it was made.
    """
    if not path.exists():
        return "absent"
    entry = recorded(path)
    if entry is None:
        raise InputError(f"'{path}' exists and was not made by quantlab (no manifest names it): {_FORCE}.")
    if entry.recipe != recipe:
        raise StaleError(f"'{path}' is stale: {differences(entry.recipe, recipe)}; {_FORCE}.")
    if entry.sha256 != file_digest(path):
        raise InputError(f"'{path}' was changed after quantlab made it: {_FORCE}.")
    return "current"


def recorded(path: Path) -> Entry | None:
    """Return what the manifest says of a file; None if no manifest names it.

    Raises
    ------
    InputError
        When the manifest is damaged, or of another program.
    """
    home = _home(path)
    return _read(home / NAME).get(_key(path, home))


def record(path: Path, recipe: Recipe, *, versions: Mapping[str, str] | None = None) -> None:
    """Note that this file, as it is now, was made by the recipe.

    The manifest is that of the file's folder, or of the folder above where that one has a manifest (a run folder's
    `scales/`).

    Raises
    ------
    InputError
        When the manifest there is damaged, or of another program.
    """
    home = _home(path)
    entry = Entry(recipe, file_digest(path), dict(versions or {}))
    with _alone(home):
        entries = _read(home / NAME) | {_key(path, home): entry}
        with atomic_path(home / NAME) as temporary:
            temporary.write_text(_render(entries), encoding="utf-8")


def file_digest(path: Path) -> str:
    """Return «sha256:…» of a file's bytes.

    Raises
    ------
    InputError
        When the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            state = hashlib.sha256()
            while block := file.read(1 << 20):
                state.update(block)
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror or error}.") from error
    return f"sha256:{state.hexdigest()}"


def listed(folder: Path) -> Mapping[str, Entry]:
    """Return what a folder's own manifest says, by path relative to the folder; empty if it has none.

    Raises
    ------
    InputError
        When the manifest is damaged, or of another program.
    """
    return _read(folder / NAME)


def remove(folder: Path, names: Collection[str]) -> None:
    """Delete files that a folder's manifest lists, and their entries.

    Raises
    ------
    InputError
        When one of them is not as it was made; nothing is deleted then.
    """
    with _alone(folder):
        entries = _read(folder / NAME)
        for name in names:
            if (folder / name).exists() and entries[name].sha256 != file_digest(folder / name):
                raise InputError(f"'{folder / name}' was changed after quantlab made it: move it away.")
        for name in names:
            (folder / name).unlink(missing_ok=True)
        with atomic_path(folder / NAME) as temporary:
            kept = {name: entry for name, entry in entries.items() if name not in names}
            temporary.write_text(_render(kept), encoding="utf-8")


def _home(path: Path) -> Path:
    """Return the folder whose manifest speaks for a file: its own, or the one above where only that one has one."""
    own, above = path.absolute().parent, path.absolute().parent.parent
    return above if not (own / NAME).exists() and _is_ours(above / NAME) else own


def _key(path: Path, home: Path) -> str:
    return path.absolute().relative_to(home).as_posix()


def _is_ours(path: Path) -> bool:
    try:
        return bool(_read(path))
    except InputError:
        return False


def _read(path: Path) -> dict[str, Entry]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"'{path}' cannot be read: {error}.") from error
    try:
        found = json.loads(text)
        if found["format"] != _FORMAT or found["version"] != _VERSION:
            raise ValueError
        return {key: _entry(value) for key, value in found["files"].items()}
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise InputError(
            f"'{path}' is no manifest that this quantlab wrote, or it is damaged: write to another folder, or move it away."
        ) from error


def _entry(value: Mapping[str, Any]) -> Entry:
    recipe = value["recipe"]
    return Entry(
        Recipe(str(recipe["command"]), dict(recipe["inputs"]), dict(recipe["options"])),
        str(value["sha256"]),
        dict(value.get("versions", {})),
    )


def _render(entries: Mapping[str, Entry]) -> str:
    files = {key: asdict(entries[key]) for key in sorted(entries)}
    return json.dumps({"format": _FORMAT, "version": _VERSION, "files": files}, indent=1, ensure_ascii=False) + "\n"


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, so that of two commands each adds its entry to the other's."""
    if sys.platform == "win32":
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        _lock(handle)
        yield
    finally:
        os.close(handle)


def _lock(handle: int) -> None:
    if sys.platform != "win32":
        with suppress(OSError):  # some network file systems have no locks
            fcntl.flock(handle, fcntl.LOCK_EX)
