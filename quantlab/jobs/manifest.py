"""What a folder's files were made from: `manifest.json` maps each file to its recipe and its checksum."""

import os
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeAlias

from quantlab.atomic import remove_unfinished
from quantlab.errors import InputError, StaleError
from quantlab.jobs.differences import differences
from quantlab.jobs.manifest_file import JSON, NAME, Entry, Recipe, read_manifest, write_manifest
from quantlab.storage.file_digest import file_digest

if sys.platform != "win32":  # there, two commands at once may lose an entry, and say so at the next run
    import fcntl

__all__ = [
    "NAME",
    "Entry",
    "Recipe",
    "State",
    "file_digest",
    "listed",
    "note_run",
    "record",
    "recorded",
    "remove",
    "run_of",
    "state",
]

State: TypeAlias = Literal["absent", "current"]

_FORCE = "give --force to make it anew, or another output"


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
    home = _home(path)
    entry = read_manifest(home).files.get(_key(path, home))
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
    return read_manifest(home).files.get(_key(path, home))


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
    entry, key = Entry(recipe, file_digest(path), dict(versions or {})), _key(path, home)
    with _alone(home):
        remove_unfinished(home / NAME)
        found = read_manifest(home)
        write_manifest(home, replace(found, files={**found.files, key: entry}))


def note_run(folder: Path, run: Mapping[str, JSON]) -> None:
    """Note what job made the folder's files; nothing is written where that is noted already.

    Raises
    ------
    InputError
        When the manifest there is damaged, or of another program.
    """
    with _alone(folder):
        found = read_manifest(folder)
        if found.run != run:
            write_manifest(folder, replace(found, run=dict(run)))


def run_of(folder: Path) -> Mapping[str, JSON]:
    """Return what `note_run` noted; empty without.

    Raises
    ------
    InputError
        When the manifest there is damaged, or of another program.
    """
    return read_manifest(folder).run


def listed(folder: Path) -> Mapping[str, Entry]:
    """Return what a folder's own manifest says, by path relative to the folder; empty if it has none.

    Raises
    ------
    InputError
        When the manifest is damaged, or of another program.
    """
    return read_manifest(folder).files


def remove(folder: Path, names: Collection[str]) -> None:
    """Delete files that a folder's manifest lists, and their entries.

    Raises
    ------
    InputError
        When one of them is not as it was made; nothing is deleted then.
    """
    with _alone(folder):
        found = read_manifest(folder)
        for name in names:
            if (folder / name).exists() and found.files[name].sha256 != file_digest(folder / name):
                raise InputError(f"'{folder / name}' was changed after quantlab made it: move it away.")
        for name in names:
            (folder / name).unlink(missing_ok=True)
        kept = {name: entry for name, entry in found.files.items() if name not in names}
        write_manifest(folder, replace(found, files=kept))


def _home(path: Path) -> Path:
    """Return the folder whose manifest speaks for a file: its own, or the one above where only that one has one."""
    own, above = path.absolute().parent, path.absolute().parent.parent
    return above if not (own / NAME).exists() and _is_ours(above) else own


def _key(path: Path, home: Path) -> str:
    return path.absolute().relative_to(home).as_posix()


def _is_ours(folder: Path) -> bool:
    try:
        return not read_manifest(folder).is_empty
    except InputError:
        return False


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
