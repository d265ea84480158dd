"""What a worker does, wherever it is: opens its engines once, then answers one job after the other."""

import pickle  # noqa: TID251 - only its error is named: what travels between own processes is no stranger's
from collections.abc import Iterator
from contextlib import contextmanager

from quantlab.errors import InputError, QuantlabError, UsageError
from quantlab.workers.pool import Bench, Done, Failed, Job, Opened, Outcome, OutOfMemory, Task


class Worktop:
    """A task's engines, opened when first asked for; every failure becomes an outcome."""

    def __init__(self, task: Task, threads: int | None) -> None:
        self._task, self._threads = task, threads
        self._bench: Bench | None = None

    def open(self) -> Outcome:
        """Open the engines."""
        try:
            self._bench = self._task.open(self._threads)
        except MemoryError:
            return OutOfMemory()
        except Exception as error:  # noqa: BLE001 - whatever goes wrong here has to be told there
            return Failed(told(error))
        return Opened(self._bench.facts)

    def do(self, job: Job) -> Outcome:
        """Carry out a job."""
        if self._bench is None:
            return Failed(InputError("The worker has no engine open."))
        try:
            return Done(self._bench.do(job))
        except MemoryError:
            return OutOfMemory()
        except Exception as error:  # noqa: BLE001 - whatever goes wrong here has to be told there
            return Failed(told(error))

    def close(self) -> None:
        """Free the engines."""
        if self._bench is not None:
            self._bench.close()


def told(error: Exception) -> QuantlabError:
    """Return an error that reads the same in another process: others than our own may not even travel."""
    if isinstance(error, QuantlabError):
        return type(error)(*map(str, error.args))
    said = (str(error).strip().splitlines() or ["no message"])[0].rstrip(".")
    return InputError(f"{type(error).__name__}: {said}.")


@contextmanager
def travelling() -> Iterator[None]:
    """Say of metrics or data that cannot be pickled what to do.

    Raises
    ------
    UsageError
        For these.
    """
    try:
        yield
    except (AttributeError, TypeError, pickle.PicklingError) as error:
        raise UsageError(
            f"What is to run on workers cannot be sent to them ({error}): define metrics and data at the top of a module, or leave "
            "the workers out."
        ) from error
