"""Files of a store that fsspec reads, brought to this machine for as long as they are needed."""

import atexit
import importlib
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

from typing_extensions import Self

from quantlab.data.listing import ImageFile
from quantlab.errors import InputError, MachineError, QuantlabError

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
            with reaching(f"'{remote}' cannot be fetched"):
                system_of(self._root)[0].get_file(remote, str(local))
        except InputError:  # there is no such file; of a store that does not answer nothing is left out
            if self._must_be:
                raise


@cache
def copy_of(url: str) -> Path:
    """Fetch a file, once a process; it is gone with the process."""
    folder = mkdtemp(prefix="quantlab-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    system, path = system_of(url)
    local = Path(folder) / PurePosixPath(path).name
    with reaching(f"'{url}' cannot be fetched"):
        system.get_file(path, str(local))
    return local


@contextmanager
def reaching(what: str) -> Iterator[None]:
    """Tell what goes wrong with a store as a sentence that begins so.

    Raises
    ------
    InputError
        When there is no such file or address.
    MachineError
        When the store does not answer, or not to us.
    """
    try:
        yield
    except QuantlabError:
        raise
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise InputError(f"{what}: nothing is there ({_said(error)}).") from error
    except Exception as error:  # each store's library has errors of its own, without a class in common
        raise MachineError(
            f"{what}: {_said(error)}. Check the address, the network, and the store's credentials on this machine."
        ) from error


@cache
def system_of(url: str) -> tuple[Any, str]:
    """Return the file system of an address, and the path in it."""
    with reaching(f"'{url}' cannot be reached"):
        try:
            system, path = importlib.import_module("fsspec.core").url_to_fs(url)
        except ImportError as error:
            raise MachineError(
                f"'{url}' needs fsspec (pip install 'quantlab[ray]') and fsspec's package for such addresses: {_said(error)}."
            ) from error
        except ValueError as error:
            raise InputError(f"'{url}' is no address that fsspec knows: {_said(error)}.") from error
    return system, path


def _said(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
