"""Workers that are processes of this machine, started anew (`spawn`), so that nothing of the parent's state is theirs."""

import multiprocessing
import os
import pickle  # noqa: TID251 - only its error is named: what travels between own processes is no stranger's
import signal
import threading
from collections.abc import Collection
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from quantlab.errors import UsageError
from quantlab.workers.bench import Worktop
from quantlab.workers.pool import Job, Lost, Outcome, Task, Worker

_CONTEXT = multiprocessing.get_context("spawn")
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

    def send(self, job: Job) -> None:
        """Send a job; a worker that is gone is found out by `wait`."""
        try:
            self.pipe.send(job)
        except (BrokenPipeError, ConnectionResetError):
            return

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
            process.start()
        finally:
            there.close()
        worker = ProcessWorker(process, here, place)
        self._hired.append(worker)
        try:
            # Not as an argument: the pipe of those is open at both ends here, so that writing to a process that has died
            # would never end.
            here.send(self._task)
        except (BrokenPipeError, ConnectionResetError):
            return worker  # it is gone, as `wait` finds out
        except (AttributeError, TypeError, pickle.PicklingError) as error:
            raise UsageError(
                f"What is to run on workers cannot be sent to them ({error}): define metrics and data at the top of a module, "
                "or leave the workers out."
            ) from error
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
