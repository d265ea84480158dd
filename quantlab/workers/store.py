"""Files of a store that fsspec reads, brought to this machine for as long as they are needed."""

import atexit
import importlib
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

from typing_extensions import Self

from quantlab.data.listing import ImageFile
from quantlab.errors import InputError, MachineError

FAILURES = (OSError, RuntimeError, ValueError, KeyError, TypeError)
"""What the file systems of fsspec raise for what is not there, not allowed or not reached."""

_AT_ONCE = 8
"""Files that are fetched at a time."""


def is_remote(place: str) -> bool:
    """Tell whether a place is a store's address."""
    scheme, found, _ = place.partition("://")
    return bool(found) and scheme.replace("+", "").isalnum()


class Local:
    """Files of a store on this machine, for the time of a block."""

    def __init__(self, root: str, remote: Sequence[ImageFile], *, must_be: bool) -> None:
        self._root, self._remote, self._must_be = root, remote, must_be
        self._folder = TemporaryDirectory(prefix="quantlab-")
        self.files: tuple[ImageFile, ...] = ()

    def __enter__(self) -> Self:
        folder = Path(self._folder.name)
        self.files = tuple(
            replace(file, path=folder / f"{number:06}{file.path.suffix}") for number, file in enumerate(self._remote)
        )
        pairs = [(file.path.as_posix(), local.path) for file, local in zip(self._remote, self.files, strict=True)]
        try:
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                list(pool.map(lambda pair: self._fetch(*pair), pairs))
        except BaseException:
            self._folder.cleanup()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._folder.cleanup()

    def _fetch(self, remote: str, local: Path) -> None:
        try:
            system_of(self._root)[0].get_file(remote, str(local))
        except FAILURES as error:
            if self._must_be:
                raise InputError(f"'{remote}' cannot be fetched: {error}.") from error


@cache
def copy_of(url: str) -> Path:
    """Fetch a file, once a process; it is gone with the process."""
    folder = mkdtemp(prefix="quantlab-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    system, path = system_of(url)
    local = Path(folder) / PurePosixPath(path).name
    try:
        system.get_file(path, str(local))
    except FAILURES as error:
        raise InputError(f"'{url}' cannot be fetched: {error}.") from error
    return local


@cache
def system_of(url: str) -> tuple[Any, str]:
    """Return the file system of an address, and the path in it."""
    try:
        core = importlib.import_module("fsspec.core")
        system, path = core.url_to_fs(url)
    except ImportError as error:
        raise MachineError(
            f"'{url}' needs fsspec and what it names for such addresses ({error}): pip install 'quantlab[ray]'."
        ) from error
    except ValueError as error:
        raise InputError(f"'{url}' is no address that fsspec knows: {error}.") from error
    return system, path
