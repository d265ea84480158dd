"""How a user asks for workers: `ql.processes(4)`, `ql.ray(workers=4)`, or options of a command and a job."""

import os
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Literal, TypeAlias

from quantlab.errors import UsageError
from quantlab.workers.ledger import SHARD
from quantlab.workers.loop import Survival
from quantlab.workers.pool import Hiring
from quantlab.workers.processes import ProcessHiring
from quantlab.workers.ray_cluster import RayHiring
from quantlab.workers.spread import Spread

Kind: TypeAlias = Literal["processes", "ray"]

_MANY = 4
"""Workers a core that still make sense: where each waits for data of a network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """Workers as declared; nothing is started yet.

    Attributes
    ----------
    workers
        How many; None is this process itself.
    kind
        processes of this machine, or ray.
    address, threads
        As in `ray` and `processes`.
    timeout, allow_mixed
        As in `Survival`.
    shard
        As in `Spread`.
    """

    workers: int | None = None
    kind: Kind = "processes"
    address: str | None = None
    threads: int | None = None
    timeout: float | None = None
    allow_mixed: bool = False
    shard: int | None = None

    def __post_init__(self) -> None:
        for what, count in (("workers", self.workers), ("threads", self.threads), ("samples of a shard", self.shard)):
            if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
                raise UsageError(f"The number of {what} is a whole one, at least 1, not {count!r}.")
        if self.workers is None and (self.kind == "ray" or self.timeout is not None or self.threads is not None):
            raise UsageError(
                "A time limit, threads and Ray are for workers: say how many, as in --workers 4 (count in a job)."
            )
        if self.address is not None and self.kind != "ray":
            raise UsageError("An address is a Ray cluster's: give --engine ray with it (kind: ray in a job).")

    @property
    def asked(self) -> bool:
        """Whether any worker beside this process was asked for."""
        return self.workers is not None

    @property
    def remarks(self) -> tuple[str, ...]:
        """What to say of these numbers before work begins."""
        cores = os.cpu_count() or 1
        if self.workers is None or self.address is not None or self.workers <= _MANY * cores:
            return ()
        said = (
            f"{self.workers:,} workers for {cores} cores wait for each other, and each takes a second of a core to start and memory "
            f"for an engine of its own; {cores} would do. No more are started than there are shards ({SHARD} samples or more)."
        )
        return (said,)

    def spread(self, parts: Path | None, *, skip_bad: bool = False, **told: Any) -> Spread:
        """Return what shares the work out; finished parts are kept in a folder."""
        alone = self.workers is None
        survival = Survival(self.timeout, skip_bad=skip_bad and not alone, allow_mixed=self.allow_mixed)
        return Spread(self._hiring(), survival, parts, self.shard, **told)

    def _hiring(self) -> Hiring | None:
        if self.workers is None:
            return None
        if self.kind == "ray":
            return RayHiring(self.workers, self.address, self.threads)
        return ProcessHiring(self.workers, self.threads)


def processes(
    workers: int,
    *,
    threads: int | None = None,
    timeout: float | None = None,
    skip_bad: bool = False,
    allow_mixed: bool = False,
    parts: str | PathLike[str] | None = None,
) -> Spread:
    """Return workers that are processes of this machine, for `ql.collect(…, on=…)` and `ql.CompareOptions(on=…)`.

    A script that uses them needs «if __name__ == '__main__':», as each process imports it.

    Parameters
    ----------
    workers
        How many; each holds an engine of its own.
    threads
        Of each; None shares the cores out. They change no bit.
    timeout
        Seconds for one piece of work; a worker that takes longer is ended, and its piece done once more.
    skip_bad
        Leave out samples that no worker can do, instead of naming the first.
    allow_mixed
        Let workers count together whose processors or versions differ.
    parts
        A folder that keeps what is finished, so that a killed run goes on; None keeps it for the time of the call.

    Raises
    ------
    UsageError
        For numbers that cannot be.
    """
    asked = Workers(workers=workers, threads=threads, timeout=timeout, allow_mixed=allow_mixed)
    return asked.spread(None if parts is None else Path(parts), skip_bad=skip_bad)


def ray(
    workers: int,
    *,
    address: str | None = None,
    threads: int | None = None,
    timeout: float | None = None,
    skip_bad: bool = False,
    allow_mixed: bool = False,
    parts: str | PathLike[str] | None = None,
) -> Spread:
    """Return workers that are Ray actors; the other parameters are those of `processes`.

    Parameters
    ----------
    workers
        Actors at a time; each holds an engine, on a GPU of its own where the engine runs on one.
    address
        Of a cluster; None starts Ray on this machine.
    threads
        Cores of an actor; None shares this machine's out, and takes one on a cluster.

    Raises
    ------
    UsageError
        For numbers that cannot be. A missing Ray is a MachineError when work begins.
    """
    asked = Workers(
        workers=workers, kind="ray", address=address, threads=threads, timeout=timeout, allow_mixed=allow_mixed
    )
    return asked.spread(None if parts is None else Path(parts), skip_bad=skip_bad)
