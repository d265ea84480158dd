"""A job may be a stranger's: what its file names stays in its folder, unless whoever gives the command says otherwise.

A path of the file, symbolic links followed, has to lie below

- the folder of the job's file, or
- the folder where the command is run, if the job lies below that too, and it is neither the root nor the user's home,
  where people stand without a thought. So `quantlab run calib_data/fashion.yaml` writes into `reports/` beside it.

What --set and QUANTLAB_JOB_… variables give is the user's own word and may lie anywhere. The file cannot name a store or a
cluster either, which are reached over the network. Python files that a job names in its own folder are run as they are: a
job with a data script or a section `qat` is a program.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from quantlab.jobs.job_fields import DEFAULT, FILE, MATRIX, PREFIX, JobFields
from quantlab.metrics.names import files_in
from quantlab.workers.store import is_remote

_PLAIN = ("model", "output", "overrides", "history", "qat.state_dict")
_FUNCTIONS = ("qat.module", "qat.augment", "qat.loss")
_SETS = ("data.calibration", "data.tuning", "data.evaluation", "qat.train")
_ADDRESS = "workers.address"


def strays(found: JobFields) -> Iterator[tuple[str, str]]:
    """Yield the name of each field of the file that leads elsewhere, and a sentence on it."""
    folder = found.path.absolute().parent
    roots = _roots(folder)
    for name, text in _paths(found):
        if found.origin(name) not in (FILE, DEFAULT, MATRIX):
            continue
        remedy = f"a job may be a stranger's: if you trust it, {_remedy(found, name, text)}"
        if is_remote(text) or name == _ADDRESS:
            yield name, f"«{text}» is reached over the network, and {remedy}"
            continue
        place = next((place for place in _places(folder, name, text) if not _is_below(place, roots)), None)
        if place is not None:
            shown = (
                text
                if place.is_relative_to(folder / text) and not place.is_symlink()
                else f"{text}' by its '{place.name}"
            )
            where = _together(folder, place)
            above = "" if where is None else f", or run the command in '{where}', which holds both"
            yield name, f"'{shown}' leads out of the job's folder '{folder.resolve()}', and {remedy}{above}"


def _roots(folder: Path) -> tuple[Path, ...]:
    """Return the folders below which the file's paths may lie."""
    own, here = folder.resolve(), Path.cwd().resolve()
    return (own, here) if own.is_relative_to(here) and not _is_anybodys(here) else (own,)


def _is_anybodys(folder: Path) -> bool:
    """Tell whether a folder is the root, the user's home, or above that."""
    home = Path(os.path.expanduser("~")).resolve()  # noqa: PTH111 - Path.home() raises where there is none
    return folder == Path(folder.anchor) or home.is_relative_to(folder)


def _is_below(place: Path, roots: tuple[Path, ...]) -> bool:
    try:
        return any(place.resolve().is_relative_to(root) for root in roots)
    except (OSError, RuntimeError, ValueError):  # an endless chain of links, a NUL
        return False


def _places(folder: Path, name: str, text: str) -> Iterator[Path]:
    """Yield all places that a field leads to: what it names, and links in a run folder that is there already."""
    yield folder / text
    script, colon, _ = text.rpartition(":")
    if colon:  # «loader.py:function»
        yield folder / script
    if name == "output":
        for parent, folders, files in os.walk(folder / text):
            yield from (path for each in (*folders, *files) if (path := Path(parent, each)).is_symlink())


def _remedy(found: JobFields, name: str, text: str) -> str:
    """Return how to give a value oneself."""
    if found.origin(name) == MATRIX and name != "output":
        return f"give the lists yourself, with --set {MATRIX}=…"
    value = _value(found.values, name)
    whole = json.dumps(value) if isinstance(value, list) else value if isinstance(value, str) else text
    if found.origin(name) == MATRIX:
        whole = str(Path(text).parent)  # without the cell's own folder
    return f"give it yourself, with --set '{name}={whole}' or the variable {PREFIX}{name.upper().replace('.', '__')}"


def _together(folder: Path, place: Path) -> Path | None:
    """Return the deepest folder that holds the job and a place; None where standing there would say nothing."""
    try:
        found = Path(os.path.commonpath((folder.resolve(), place.resolve().parent)))
    except (OSError, RuntimeError, ValueError):
        return None
    return None if _is_anybodys(found) else found


def _paths(found: JobFields) -> Iterator[tuple[str, str]]:
    for name in (*_PLAIN, _ADDRESS):
        yield from _text(name, _value(found.values, name))
    for name in _FUNCTIONS:
        yield from ((place, text.rpartition(":")[0]) for place, text in _text(name, _value(found.values, name)))
    yield from _preprocess("preprocess", found.values.get("preprocess"))
    yield from _metrics(found.values.get("metrics"))
    for name in _SETS:
        section = _value(found.values, name)
        yield from _text(name, section)
        if isinstance(section, dict):
            for part in ("path", "labels"):
                yield from _text(f"{name}.{part}", section.get(part))
            yield from _preprocess(f"{name}.preprocess", section.get("preprocess"))


def _text(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield name, value


def _preprocess(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield the file of a preprocessing; text that begins with a brace is one itself."""
    if isinstance(value, str) and not value.lstrip().startswith("{"):
        yield name, value


def _metrics(value: Any) -> Iterator[tuple[str, str]]:
    for text in value if isinstance(value, list) else [value]:
        if isinstance(text, str):
            yield from (("metrics", file) for file in files_in(text))


def _value(values: Any, name: str) -> Any:
    for part in name.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return values
