"""Workers that are Ray actors, on this machine or on a cluster; Ray is imported here alone, when work begins."""

import importlib
import os
import re
import socket
import warnings
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from quantlab.errors import MachineError
from quantlab.workers.bench import Worktop, travelling
from quantlab.workers.pool import Job, Lost, Outcome, OutOfMemory, Task, Worker

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is reported to anyone
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
}
_BRIEF = {"RAY_NUM_REDIS_GET_RETRIES": "5"}
"""Tries, a second and a line on stderr each, at a cluster whose address answers (Ray reads it when imported; its own is 20)."""

_PATIENCE = 5.0
"""Seconds in which a cluster's address must answer."""

_OBJECTS = 256 * 2**20
"""Bytes of a local Ray's object store: what lies in it is a model and a few parts."""


@dataclass(frozen=True, slots=True)
class RayHiring:
    """So many actors, each on so many cores, and on a GPU where the engine takes one.

    Attributes
    ----------
    workers
        Actors at a time.
    address
        Of a cluster («auto», «host:6379», «ray://host:10001»); None starts Ray on this machine for the time of the work.
    threads
        Cores of an actor; None shares this machine's out, and takes one on a cluster.
    """

    workers: int
    address: str | None = None
    threads: int | None = None

    def pool(self, task: Task) -> "RayPool":
        """Connect to the cluster, or start one here.

        Raises
        ------
        MachineError
            When Ray is not installed, or does not answer.
        """
        return RayPool(task, self)


class RayWorker:
    """An actor, and what it was asked last."""

    def __init__(self, actor: Any, asked: Any, library: Any) -> None:
        self._actor, self.asked, self._library = actor, asked, library

    def send(self, job: Job) -> None:
        """Ask for a job.

        Raises
        ------
        UsageError
            For data that cannot travel.
        """
        with travelling():
            self.asked = self._actor.do.remote(job)

    def kill(self) -> None:
        """End the actor."""
        with suppress(Exception):  # it may be gone already, and Ray's errors have no common class below this one
            self._library.kill(self._actor, no_restart=True)


class RayPool:
    """Actors that do one task; the task travels once, into Ray's object store."""

    def __init__(self, task: Task, hiring: RayHiring) -> None:
        self.size = hiring.workers
        self._threads = hiring.threads or _share(hiring)
        self._gpus = task.gpus
        self._library = _ray(hiring.address)
        self._started = _connect(self._library, hiring, self._threads * self.size)
        with travelling():
            self._task = self._library.put(task)
        self._actors = self._library.remote(_Actor)
        self._hired: list[RayWorker] = []

    def hire(self) -> RayWorker:
        """Start an actor; Ray places it where its cores and GPU are free."""
        placed = self._actors.options(num_cpus=self._threads, num_gpus=self._gpus, max_restarts=0)
        actor = placed.remote(self._task, self._threads)
        worker = RayWorker(actor, actor.open.remote(), self._library)
        self._hired.append(worker)
        return worker

    def wait(self, workers: Collection[Worker], seconds: float | None) -> list[tuple[Worker, Outcome]]:
        """Return what the actors answered."""
        asked = {worker.asked: worker for worker in workers if isinstance(worker, RayWorker)}
        ready, _ = self._library.wait(list(asked), num_returns=1, timeout=seconds)
        return [(asked[reference], self._answer(reference)) for reference in ready]

    def close(self) -> None:
        """End the actors, and Ray where it was started here."""
        for worker in self._hired:
            worker.kill()
        self._hired = []
        if self._started:
            self._library.shutdown()

    def _answer(self, reference: Any) -> Outcome:
        errors = self._library.exceptions
        try:
            found: Outcome = self._library.get(reference)
        except errors.OutOfMemoryError:
            return OutOfMemory()
        except errors.RayError as error:
            return Lost(f"was lost ({type(error).__name__}: {_first_line(error)})")
        return found


class _Actor:
    """What runs in Ray: the same as in a worker process."""

    def __init__(self, task: Task, threads: int) -> None:
        self._top = Worktop(task, threads)

    def open(self) -> Outcome:
        """Open the engines."""
        return self._top.open()

    def do(self, job: Job) -> Outcome:
        """Carry out a job."""
        return self._top.do(job)


def _ray(address: str | None = None) -> Any:
    for name, value in (_QUIET | ({} if address is None else _BRIEF)).items():
        os.environ.setdefault(name, value)
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise MachineError(
            f"Ray is not installed ({error}): pip install 'quantlab[ray]', or give --workers without --engine ray."
        ) from error


def _connect(library: Any, hiring: RayHiring, cores: int) -> bool:
    """Connect, unless the caller's program has; tell whether Ray was started for us."""
    if library.is_initialized():
        return False
    here: dict[str, Any] = {"include_dashboard": False, "num_cpus": cores, "object_store_memory": _OBJECTS}
    where: dict[str, Any] = here if hiring.address is None else {"address": hiring.address}
    _check_answers(hiring.address)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Ray's own, about its next versions
            library.init(**where, log_to_driver=False, logging_level="ERROR", configure_logging=True)
    except (ConnectionError, OSError, RuntimeError, TimeoutError, ValueError) as error:
        place = "on this machine" if hiring.address is None else f"at '{hiring.address}'"
        raise MachineError(
            f"Ray does not answer {place}: {_first_line(error)}. Check that Ray, of the version here, is what runs there."
        ) from error
    return True


def _check_answers(address: str | None) -> None:
    """Refuse an address at which nothing listens: Ray itself would try for a quarter of an hour."""
    found = re.fullmatch(r"(?:ray://)?\[?([^/\]]+)\]?:(\d{1,5})", address or "")
    if found is None:
        return
    try:
        socket.create_connection((found[1], int(found[2])), _PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise MachineError(
            f"Ray does not answer at '{address}': {error}. Check the address, or leave it out."
        ) from error


def _share(hiring: RayHiring) -> int:
    return 1 if hiring.address is not None else max(1, (os.cpu_count() or 1) // hiring.workers)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0].rstrip(".")
