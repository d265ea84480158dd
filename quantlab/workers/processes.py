"""Workers that are processes of this machine, started anew (`spawn`), so that nothing of the parent's state is theirs."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from quantlab.errors import UsageError
from quantlab.workers.bench import Worktop, travelling
from quantlab.workers.pool import Job, Lost, Outcome, Task, Worker

_CONTEXT = multiprocessing.get_context("spawn")
_THREADS = "OMP_NUM_THREADS"
_GRACE = 5.0
"""Seconds that a killed process has to end."""


@dataclass(frozen=True, slots=True)
class ProcessHiring:
    """So many processes, each with so many threads; None shares the cores out."""

    workers: int
    threads: int | None = None

    def pool(self, task: Task) -> "ProcessPool":
        """Return the pool of a task."""
        share = max(1, (os.cpu_count() or 1) // self.workers)
        return ProcessPool(task, self.workers, share if self.threads is None else self.threads)


class ProcessWorker:
    """A process and the pipe to it."""

    def __init__(self, process: BaseProcess, pipe: Connection, place: int) -> None:
        self.process, self.pipe, self.place = process, pipe, place

    def send(self, job: Job | Task) -> None:
        """Send a job, or the task before the first; a worker that is gone is found out by `wait`.

        Raises
        ------
        UsageError
            For metrics or data that cannot travel.
        """
        with suppress(BrokenPipeError, ConnectionResetError), travelling():
            self.pipe.send(job)

    def kill(self) -> None:
        """End the process, and wait for it."""
        self.process.kill()
        self.process.join(_GRACE)
        self.pipe.close()


class ProcessPool:
    """Processes that do one task."""

    def __init__(self, task: Task, size: int, threads: int) -> None:
        self.size = size
        self._task, self._threads = task, threads
        self._hired: list[ProcessWorker] = []

    def hire(self) -> ProcessWorker:
        """Start a process; on GPUs, each of the places has one of its own."""
        self._hired = [worker for worker in self._hired if worker.process.is_alive()]
        taken = {worker.place for worker in self._hired}
        place = next(number for number in range(len(taken) + 1) if number not in taken)
        gpu = _gpu(place) if self._task.gpus else None
        here, there = _CONTEXT.Pipe()
        process = _CONTEXT.Process(target=serve, args=(there, self._threads, gpu), daemon=True)
        try:
            with _loading(self._threads):
                process.start()
        finally:
            there.close()
        worker = ProcessWorker(process, here, place)
        self._hired.append(worker)
        # Not as an argument: the pipe of those is open at both ends here, so that writing to a process that has died
        # would never end.
        worker.send(self._task)
        return worker

    def wait(self, workers: Collection[Worker], seconds: float | None) -> list[tuple[Worker, Outcome]]:
        """Return what came through the pipes; one that is closed is of a worker that is gone."""
        pipes = {worker.pipe: worker for worker in workers if isinstance(worker, ProcessWorker)}
        return [(pipes[pipe], _received(pipes[pipe])) for pipe in wait(list(pipes), seconds)]  # type: ignore[index]

    def close(self) -> None:
        """End all processes."""
        for worker in self._hired:
            worker.kill()
        self._hired = []


def serve(pipe: Connection, threads: int, gpu: str | None) -> None:
    """Be a worker process: open the engines of the task that comes first, then do what follows until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends its workers
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # before anything of CUDA is loaded
    _end_with_the_parent()
    try:
        task: Task = pipe.recv()
    except (EOFError, ConnectionResetError):
        return
    top = Worktop(task, threads)
    try:
        pipe.send(top.open())
        while True:
            pipe.send(top.do(pipe.recv()))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        top.close()


@contextmanager
def _loading(threads: int) -> Iterator[None]:
    """Let what starts a thread for each core as it loads, NumPy's and SciPy's linear algebra, start a worker's share only."""
    if _THREADS in os.environ:
        yield
        return
    os.environ[_THREADS] = str(threads)
    try:
        yield
    finally:
        del os.environ[_THREADS]


def _end_with_the_parent() -> None:
    """End this process as soon as its parent is gone, even in the middle of a hung engine's call."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch(sentinel: int) -> None:
        wait([sentinel])
        os._exit(1)

    threading.Thread(target=watch, args=(parent.sentinel,), daemon=True).start()


def _gpu(place: int) -> str:
    """Return the GPU of a worker's place, among those that this process may see."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return str(place)
    known = [name for name in visible.split(",") if name]
    if place >= len(known):
        raise UsageError(f"There are {len(known)} GPUs (CUDA_VISIBLE_DEVICES={visible}) for more workers: give fewer.")
    return known[place]


def _received(worker: ProcessWorker) -> Outcome:
    try:
        found: Outcome = worker.pipe.recv()
    except (EOFError, ConnectionResetError):
        worker.process.join(_GRACE)
        return Lost(_ended(worker.process.exitcode))
    return found


def _ended(code: int | None) -> str:
    if code is None:
        return "closed its pipe"
    if code == -signal.SIGKILL:
        return "was killed (signal 9, as when the machine's memory is used up)"
    if code < 0:
        return f"ended by signal {-code} ({signal.strsignal(-code)})"
    return f"ended itself with exit code {code}"
