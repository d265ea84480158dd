"""What the shard loop asks of those who work for it, be they processes, Ray actors or this process itself."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from quantlab.data.batch import Divisible
from quantlab.engines.cpu import processor
from quantlab.versions import versions


@dataclass(frozen=True, slots=True)
class Facts:
    """What of a worker decides the bits that it counts.

    Attributes
    ----------
    versions
        As artefacts name them: quantlab, Python, the runtimes with their instruction sets or GPUs.
    processor
        Its own name.
    """

    versions: dict[str, str] = field(hash=False)
    processor: str

    @classmethod
    def of(cls, *backends: str) -> "Facts":
        """Return this machine's."""
        return cls(versions(*backends), processor())

    def __str__(self) -> str:
        return f"{self.processor} with {', '.join(f'{name} {version}' for name, version in self.versions.items())}"


@dataclass(frozen=True, slots=True)
class Count:
    """Work: the samples from `start` to before `stop`.

    Attributes
    ----------
    data
        These samples and no others: a list of a million files does not travel to each worker.
    hashes
        What each of them must turn out to be; empty for one that cannot be read.
    """

    start: int
    stop: int
    data: Divisible = field(repr=False)
    hashes: tuple[bytes, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Merge:
    """Work: parts that follow one another, as they were stored, into one."""

    start: int
    stop: int
    parts: tuple[bytes, ...] = field(repr=False)


Job: TypeAlias = Count | Merge


@dataclass(frozen=True, slots=True)
class Opened:
    """The engine is open, and the worker waits for work."""

    facts: Facts


@dataclass(frozen=True, slots=True)
class Done:
    """A job's part."""

    part: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Failed:
    """A job was refused; the worker is well."""

    error: Exception


@dataclass(frozen=True, slots=True)
class OutOfMemory:
    """A job asked for more memory than there is; the worker is not to be trusted any more."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The worker is gone, or was ended as it took too long; `reason` goes after «the worker …»."""

    reason: str


Outcome: TypeAlias = Opened | Done | Failed | OutOfMemory | Lost


class Bench(Protocol):
    """What a worker holds: its engines, open."""

    @property
    def facts(self) -> Facts:
        """What decides its bits."""
        ...

    def do(self, job: Job) -> bytes:
        """Carry out a job, and return the part as it is stored."""
        ...

    def close(self) -> None:
        """Free the engines."""
        ...


class Task(Protocol):
    """What is to be done to each shard; it travels to the workers, and is opened there."""

    @property
    def gpus(self) -> int:
        """How many GPUs a worker needs."""
        ...

    def open(self, threads: int | None) -> Bench:
        """Open the engines."""
        ...


class Worker(Protocol):
    """One worker, seen from the loop; it does one job at a time."""

    def send(self, job: Job) -> None:
        """Give it work; the outcome comes from the pool's `wait`."""
        ...

    def kill(self) -> None:
        """End it at once, whatever it does."""
        ...


class Pool(Protocol):
    """Hires workers for one task."""

    @property
    def size(self) -> int:
        """How many may work at a time."""
        ...

    def hire(self) -> Worker:
        """Start a worker, whose first outcome is that it opened its engines, or did not."""
        ...

    def wait(self, workers: Collection[Worker], seconds: float | None) -> list[tuple[Worker, Outcome]]:
        """Return what became of some of these workers' jobs; nothing after so many seconds."""
        ...

    def close(self) -> None:
        """Let all go."""
        ...


class Hiring(Protocol):
    """Where workers come from: makes a pool for a task."""

    def pool(self, task: Task) -> Pool:
        """Return a pool; workers are hired one by one."""
        ...
