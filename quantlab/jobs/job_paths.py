"""A job may be a stranger's: the paths that its file gives stay in its folder, or in the one where the command is run."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from quantlab.jobs.job_fields import FILE, JobFields

_PLAIN = ("model", "output", "overrides", "history", "qat.state_dict")
_FUNCTIONS = ("qat.module", "qat.augment", "qat.loss")
_SETS = ("data.calibration", "data.tuning", "data.evaluation", "qat.train")


def strays(found: JobFields) -> Iterator[tuple[str, str]]:
    """Yield name and path of each field of the file that leads elsewhere, symbolic links followed.

    What the command line or the environment gives is the user's own word, and may lie anywhere.
    """
    folder = found.path.absolute().parent
    roots = (folder.resolve(), Path.cwd().resolve())
    for name, text in _paths(found):
        try:
            place = (folder / text).resolve()
        except (OSError, RuntimeError, ValueError):  # an endless chain of links, a NUL
            yield name, text
            continue
        if found.origin(name) == FILE and not any(place.is_relative_to(root) for root in roots):
            yield name, text


def _paths(found: JobFields) -> Iterator[tuple[str, str]]:
    for name in _PLAIN:
        yield from _text(name, _value(found.values, name))
    for name in _FUNCTIONS:
        yield from ((place, text.rpartition(":")[0]) for place, text in _text(name, _value(found.values, name)))
    yield from _preprocess("preprocess", found.values.get("preprocess"))
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


def _value(values: Any, name: str) -> Any:
    for part in name.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return values
