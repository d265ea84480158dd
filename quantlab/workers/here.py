"""The pool of one: this process works itself, on the engines that are open already; nothing saves it from a crash."""

from collections.abc import Collection

from quantlab.errors import QuantlabError
from quantlab.workers.pool import Bench, Done, Failed, Job, Opened, Outcome, Worker


class HereWorker:
    """Does a job when its outcome is asked for."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._job: Job | None = None

    def send(self, job: Job) -> None:
        """Keep the job."""
        self._job = job

    def kill(self) -> None:
        """Drop the job."""
        self._job = None

    def outcome(self) -> Outcome:
        """Do the job; any error but our own goes through, with all that its traceback tells."""
        if self._job is None:
            return Opened(self._bench.facts)
        try:
            return Done(self._bench.do(self._job))
        except QuantlabError as error:
            return Failed(error)


class HerePool:
    """One worker, which is this process."""

    size = 1

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def hire(self) -> HereWorker:
        """Return the worker."""
        return HereWorker(self._bench)

    def wait(
        self,
        workers: Collection[Worker],
        seconds: float | None,  # noqa: ARG002 - nothing interrupts it
    ) -> list[tuple[Worker, Outcome]]:
        """Do the work now."""
        return [(worker, worker.outcome()) for worker in workers if isinstance(worker, HereWorker)]

    def close(self) -> None:
        """Nothing is held: the engines are the caller's."""
