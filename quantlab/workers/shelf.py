"""Finished parts on disk: a file a part, whole or not there, under a name that says of what it is and what is in it.

`part-<start>-<stop>-<recipe>-<sha256>.h5`, numbers with twelve digits, 32 hexadecimal digits of each digest. A part of another
recipe (model, data, options) is never taken, nor one whose bytes are not those of its name.
"""

import hashlib
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from quantlab.errors import InputError
from quantlab.storage.text import write_bytes

_NAME = re.compile(r"part-(\d{12})-(\d{12})-([0-9a-f]{32})-([0-9a-f]{32})\.h5")
_HALF_WRITTEN = re.compile(r"\.part-[0-9a-f-]+\.h5")
_DIGITS = 32


@dataclass(frozen=True, slots=True)
class Part:
    """A stored part: the samples from `start` to before `stop`."""

    start: int
    stop: int
    path: Path


class Shelf:
    """The parts of one recipe in a folder.

    Parameters
    ----------
    folder
        Made with the first part.
    recipe
        Digest of all that decides what a part holds, hexadecimal.
    """

    def __init__(self, folder: Path, recipe: str) -> None:
        self.folder = folder
        self._recipe = recipe[:_DIGITS]

    def parts(self, total: int) -> list[Part]:
        """Return the parts there, in order and none within another, each of them read and found to be as it was written.

        What is damaged, half-written or within a larger part is deleted.
        """
        found: list[Part] = []
        for part in sorted(self._named(), key=lambda part: part.start - part.stop):
            apart = all(part.stop <= other.start or other.stop <= part.start for other in found)
            if apart and 0 <= part.start < part.stop <= total and _is_whole(part.path):
                found.append(part)
            else:
                part.path.unlink(missing_ok=True)
        return sorted(found, key=lambda part: part.start)

    def put(self, start: int, stop: int, data: bytes) -> Part:
        """Store a part.

        Raises
        ------
        MachineError
            No space, no permission.
        """
        name = f"part-{start:012}-{stop:012}-{self._recipe}-{_digest(data)}.h5"
        write_bytes(self.folder / name, data)
        return Part(start, stop, self.folder / name)

    def read(self, part: Part) -> bytes:
        """Return a part's bytes.

        Raises
        ------
        InputError
            When they are not those that were written.
        """
        try:
            data = part.path.read_bytes()
        except OSError as error:
            raise InputError(f"'{part.path}' cannot be read: {error.strerror or error}; start again.") from error
        if not part.path.name.endswith(f"-{_digest(data)}.h5"):
            raise InputError(f"'{part.path}' is not as it was written: start again, and it is counted anew.")
        return data

    def drop(self, parts: Iterable[Part]) -> None:
        """Delete parts."""
        for part in parts:
            part.path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Delete every part, of other recipes too, and the folder unless something else is in it."""
        with suppress(OSError):
            for path in list(self.folder.iterdir()):
                if _NAME.fullmatch(path.name) or _HALF_WRITTEN.fullmatch(path.name):
                    path.unlink(missing_ok=True)
            self.folder.rmdir()

    def _named(self) -> list[Part]:
        """Return the parts of this recipe by their names; what a killed process left half-written is deleted."""
        if not self.folder.is_dir():
            return []
        parts: list[Part] = []
        for path in list(self.folder.iterdir()):
            match = _NAME.fullmatch(path.name)
            if match is not None and match[3] == self._recipe:
                parts.append(Part(int(match[1]), int(match[2]), path))
            elif _HALF_WRITTEN.fullmatch(path.name):
                path.unlink(missing_ok=True)
        return parts


def _is_whole(path: Path) -> bool:
    try:
        return path.is_file() and path.name.endswith(f"-{_digest(path.read_bytes())}.h5")
    except OSError:
        return False


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:_DIGITS]
