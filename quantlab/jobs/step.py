"""One step of the work: read files, write one, atomically; nothing changed, nothing done."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from quantlab.errors import InputError, StaleError, UsageError
from quantlab.jobs.manifest import Recipe, listed, record, state
from quantlab.jobs.output_lock import writing

Remake: TypeAlias = Literal["never", "stale", "changed", "always"]
"""What happens to a file that is there: never refuses one that is stale, edited or not ours; stale makes a stale one
anew, changed an edited or foreign one too; always makes even a current one anew."""

Progress: TypeAlias = Callable[[int, int | None], None]
"""Told the samples done and how many there will be, or None."""


@dataclass(frozen=True, slots=True)
class Made:
    """What became of a step.

    Attributes
    ----------
    path
        The artefact.
    fresh
        False: it was current, and nothing was done.
    notes
        Sentences that the user should read.
    """

    path: Path
    fresh: bool
    notes: tuple[str, ...] = ()


def carry_out(
    path: Path,
    recipe: Callable[[], Recipe],
    make: Callable[[], Mapping[str, str]],
    *,
    remake: Remake = "never",
) -> bool:
    """Make an artefact unless it is current, and note in its folder's manifest how; tell whether it was made.

    Parameters
    ----------
    path
        The artefact.
    recipe
        Gives what decides its content; asked only when needed, as it may hash data.
    make
        Writes the file, whole or not at all, and returns the versions of what ran.
    remake
        What to do with a file that is there.

    Raises
    ------
    StaleError
        When the file was made from something else, or another command is writing it.
    InputError
        When the file is not quantlab's, or was edited.
    """
    if path.is_dir():
        raise InputError(f"'{path}' is a folder: give the name of a file to write.")
    listed(path.absolute().parent)  # a folder with a stranger's manifest is refused before any work
    if path.exists() and remake != "always" and _is_current(path, recipe(), remake):
        return False
    absent = not path.exists()
    with writing(path):
        if absent and path.exists() and remake != "always" and _is_current(path, recipe(), remake):
            return False  # another command made it since
        versions = make()
        record(path, recipe(), versions=versions)
    return True


def check_output(path: Path, suffixes: Sequence[str], *inputs: Path | None) -> None:
    """Refuse an output that could not be written, or would replace an input, before any work is done.

    Raises
    ------
    UsageError
        For another suffix (none given: any), or a path that is also an input.
    """
    if suffixes and path.suffix.lower() not in suffixes:
        raise UsageError(f"The output '{path}' must end in {' or '.join(suffixes)}.")
    for given in inputs:
        if given is not None and given.absolute() == path.absolute():
            raise UsageError(f"The output '{path}' is also an input: write to another file.")


def _is_current(path: Path, recipe: Recipe, remake: Remake) -> bool:
    try:
        return state(path, recipe) == "current"
    except StaleError:
        if remake == "never":
            raise
    except InputError:
        if remake != "changed":
            raise
    return False
