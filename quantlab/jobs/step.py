"""One step of the work: read files, write one, atomically; nothing changed, nothing done."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from os.path import realpath
from pathlib import Path
from typing import Literal, TypeAlias

from quantlab.atomic import check_place, remove_unfinished
from quantlab.errors import InputError, QuantlabError, StaleError, UsageError
from quantlab.jobs.manifest import Recipe, listed, record, state
from quantlab.jobs.output_lock import is_unfinished, writing

Remake: TypeAlias = Literal["never", "stale", "changed", "always", "ask"]
"""What happens to a file that is there: never refuses one that is stale, edited or not ours; stale makes a stale one
anew, changed an edited or foreign one too; always makes even a current one anew. With ask nothing is made: what would
have to be is raised as `PendingError`."""

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


class PendingError(QuantlabError):
    """An artefact that would have to be made, and why; raised where it was only asked for.

    Attributes
    ----------
    path
        The artefact.
    state
        absent; stale (made from something else); or foreign (edited, or not quantlab's).
    """

    def __init__(self, path: Path, state: Literal["absent", "stale", "foreign"], why: str) -> None:
        super().__init__(why)
        self.path, self.state = path, state


def carry_out(
    path: Path,
    recipe: Callable[[], Recipe],
    make: Callable[[], Mapping[str, str]],
    *,
    remake: Remake = "never",
    beside: Sequence[Path] = (),
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
    beside
        Further files that `make` writes and the artefact goes with: where one is missing, all are made anew.

    Raises
    ------
    StaleError
        When the file was made from something else; BusyError when another command is writing it.
    InputError
        When the file is not quantlab's, or was edited.
    PendingError
        When it was only asked for, and is not current.
    """
    if path.is_dir():
        raise InputError(f"'{path}' is a folder: give the name of a file to write.")
    listed(path.absolute().parent)  # a folder with a stranger's manifest is refused before any work
    files = (path, *beside)
    if remake == "ask":
        return _asked(files, recipe)
    if remake != "always" and not is_unfinished(path) and _are_current(files, recipe, remake):
        return False
    absent = not path.exists()
    check_place(path)
    with writing(path):
        if absent and path.exists() and remake != "always" and _are_current(files, recipe, remake):
            return False  # another command made it since
        for file in files:
            remove_unfinished(file)
        with noted_or_gone(files):
            versions = make()
            for file in (*beside, path):
                record(file, recipe(), versions=versions)
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
        if given is not None and realpath(given) == realpath(path):
            raise UsageError(f"The output '{path}' is also an input: write to another file.")


@contextmanager
def noted_or_gone(files: Sequence[Path]) -> Iterator[None]:
    """Delete what the block wrote if it fails: a full disk may take a file and then not the manifest that names it."""
    before = [_identity(file) for file in files]
    try:
        yield
    except BaseException:
        for file, old in zip(files, before, strict=True):
            if _identity(file) != old:
                with suppress(OSError):
                    file.unlink(missing_ok=True)
        raise


def _identity(file: Path) -> tuple[int, int, int] | None:
    """Return what a replaced file does not share with the one before; None without a file."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _are_current(files: Sequence[Path], recipe: Callable[[], Recipe], remake: Remake) -> bool:
    """Tell whether all files are there and as the recipe makes them; the first is the artefact."""
    if not any(file.exists() for file in files):
        return False
    try:
        wanted = recipe()
        return {state(file, wanted) for file in files} == {"current"}
    except StaleError:
        if remake == "never" and files[0].exists():
            raise
    except InputError:
        if remake != "changed":
            raise
    return False


def _asked(files: Sequence[Path], recipe: Callable[[], Recipe]) -> Literal[False]:
    """Raise why a file has to be made, or return that none has."""
    wanted = recipe()
    if is_unfinished(files[0]):
        raise PendingError(files[0], "absent", f"'{files[0]}' was not finished, or is being made now.")
    for file in files:
        try:
            found = state(file, wanted)
        except StaleError as error:
            raise PendingError(file, "stale", str(error)) from error
        except InputError as error:
            raise PendingError(file, "foreign", str(error)) from error
        if found == "absent":
            raise PendingError(file, "absent", f"'{file}' is not there.")
    return False
