"""One command at a time writes an output; the second one is refused before it works in vain."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from quantlab.errors import StaleError

if sys.platform != "win32":  # there, of two commands at once the later one wins
    import fcntl


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Hold an output for the time of the block, by a lock on a hidden file beside it that is gone afterwards.

    Where the folder takes no lock, the block runs without: what is wrong there, writing will tell.

    Raises
    ------
    StaleError
        When another command holds it.
    """
    folder, made = path.absolute().parent, False
    lock, handle = folder / f".{path.name}.lock", None
    try:
        with suppress(OSError):
            made = not folder.exists()
            folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        if handle is not None:
            _hold(handle, path)
        try:
            yield
        finally:
            if handle is not None:
                lock.unlink(missing_ok=True)
    finally:
        if handle is not None:
            os.close(handle)
        if made:
            with suppress(OSError):  # it is not empty: the output is there
                folder.rmdir()


def _hold(handle: int, path: Path) -> None:
    if sys.platform == "win32":
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StaleError(
            f"Another command is writing '{path}' at this moment: let it end, or give another output."
        ) from None
    except OSError:
        return  # some network file systems have no locks
