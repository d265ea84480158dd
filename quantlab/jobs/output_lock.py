"""One command at a time writes an output, or works in a run folder; the second one is told who the first one is."""

import json
import os
import shlex
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

from quantlab.atomic import make_folder
from quantlab.errors import BusyError, InputError
from quantlab.jobs.command_line import command_line

if sys.platform != "win32":  # there, of two commands at once the later one wins
    import fcntl

RUN_LOCK = ".run.lock"
_LARGEST = 4096
_LONGEST = 160


@dataclass(frozen=True, slots=True)
class Owner:
    """Who holds a lock: its machine, its process there, its command line, and since when (UTC)."""

    host: str
    pid: int
    command: str
    since: str

    @classmethod
    def here(cls) -> "Owner":
        """Return this process."""
        command = shlex.join(command_line())
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        return cls(socket.gethostname(), os.getpid(), command[:_LONGEST], now)

    @property
    def may_live(self) -> bool:
        """False if its process has ended for certain: it was on this machine, and is no more."""
        if self.host != socket.gethostname():
            return True
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except OSError:  # it is another user's
            return True
        return True

    def __str__(self) -> str:
        return f"«{self.command}», process {self.pid} on {self.host}, since {self.since}"


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Hold an output for the time of the block, by a lock on a hidden file beside it that is gone afterwards.

    Where the folder takes no lock, the block runs without: what is wrong there, writing will tell. The lock of a process
    that has died is taken over; until then it says that the output was not finished.

    Raises
    ------
    BusyError
        When another command holds it, naming that command.
    InputError
        When its lock file is a symbolic link.
    """
    said = f"Another command is writing '{path}' at this moment{{}}: let it end, or give another output."
    with _held(_lock_of(path), said):
        yield


def is_unfinished(path: Path) -> bool:
    """Tell whether an output is being written, or was when its process died: its lock file is still there.

    What lies at its place then may be whole, but nobody has noted so.
    """
    return _lock_of(path).exists()


def unfinished_in(folder: Path) -> tuple[Path, ...]:
    """Return the outputs below a folder that are unfinished."""
    locks = (lock for lock in sorted(folder.rglob(".?*.lock")) if lock.name != RUN_LOCK)
    return tuple(lock.with_name(lock.name[1:].removesuffix(".lock")) for lock in locks)


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Hold a run folder for the time of the block, as `writing` holds a file.

    Raises
    ------
    BusyError
        When another job works there, naming its command.
    MachineError
        When there is no such folder and none can be made.
    """
    said = f"Another job works in '{folder}' at this moment{{}}: let it end, or give another output."
    with _held(folder.absolute() / RUN_LOCK, said):
        if not folder.exists():  # a file there is refused with its own words
            make_folder(folder)
        yield


def _lock_of(path: Path) -> Path:
    return path.absolute().parent / f".{path.name}.lock"


@contextmanager
def _held(lock: Path, said: str) -> Iterator[None]:
    made, handle = False, None
    try:
        with suppress(OSError):
            made = not lock.parent.exists()
            lock.parent.mkdir(parents=True, exist_ok=True)
            handle = _opened(lock, said)
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
                lock.parent.rmdir()


def _opened(lock: Path, said: str) -> int:
    """Return the lock's file, held and with this process named in it."""
    while True:
        if lock.is_symlink():  # signing would write into what it leads to
            raise InputError(f"'{lock}' is a symbolic link, which quantlab never makes: delete it.")
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
        try:
            _hold(handle, lock, said)
            if _is_there(handle, lock):
                _sign(handle)
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # its holder ended and removed the file between opening and holding it


def _hold(handle: int, lock: Path, said: str) -> None:
    if sys.platform == "win32":
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = _owner(handle)
        raise BusyError(said.format(f" ({owner})" if owner else "")) from None
    except OSError:  # some network file systems have no locks: what the file says has to do
        owner = _owner(handle)
        if owner is not None and owner.may_live:
            there = f" ({owner}; this file system has no locks, so delete '{lock}' if that process has ended)"
            raise BusyError(said.format(there)) from None


def _is_there(handle: int, lock: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), lock.stat())
    except FileNotFoundError:
        return False


def _sign(handle: int) -> None:
    with suppress(OSError):  # on a full disk the lock has no name, but holds
        os.ftruncate(handle, 0)
        os.lseek(handle, 0, os.SEEK_SET)
        os.write(handle, json.dumps(asdict(Owner.here()), ensure_ascii=False).encode())


def _owner(handle: int) -> Owner | None:
    """Return whom a lock's file names; None if nobody, or nothing that quantlab wrote."""
    try:
        os.lseek(handle, 0, os.SEEK_SET)
        found = json.loads(os.read(handle, _LARGEST))
        host, pid, command, since = (found[name] for name in ("host", "pid", "command", "since"))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    known = isinstance(pid, int) and 0 < pid < 1 << 31 and all(isinstance(text, str) for text in (host, command, since))
    return Owner(host[:_LONGEST], pid, command[:_LONGEST], since[:_LONGEST]) if known else None
