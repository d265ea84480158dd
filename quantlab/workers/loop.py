"""The one loop that shares out shards, whoever works: hires, hands out, stores what comes back, and survives what fails."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from quantlab.data.batch import Divisible
from quantlab.errors import InputError, MachineError, QuantlabError, StaleError, UsageError
from quantlab.workers.ledger import Gaps, Span, Stacks, pace_of
from quantlab.workers.part_form import LeftOut
from quantlab.workers.pool import (
    Count,
    Done,
    Facts,
    Failed,
    Job,
    Lost,
    Merge,
    Opened,
    Outcome,
    OutOfMemory,
    Pool,
    Worker,
)
from quantlab.workers.shelf import Part, Shelf

Progress: TypeAlias = Callable[[int, int | None], None]

OPENING = 300.0
"""Seconds that a worker has for starting and opening its engines, where a time limit was given."""

_OPENINGS = 3
"""Workers in a row that may be lost while they open."""


@dataclass(frozen=True, slots=True)
class Survival:
    """What is done about faults.

    Attributes
    ----------
    timeout
        Seconds that a worker has for one piece of work; None waits for ever.
    skip_bad
        Leave out samples that no worker can do, instead of ending.
    allow_mixed
        Let workers of several processor types or versions of a runtime count together.
    """

    timeout: float | None = None
    skip_bad: bool = False
    allow_mixed: bool = False

    def __post_init__(self) -> None:
        if self.timeout is not None and not self.timeout > 0:
            raise UsageError(f"A time limit is a positive number of seconds, not {self.timeout}.")


@dataclass(frozen=True, slots=True)
class Samples:
    """The data, and how they are cut.

    Attributes
    ----------
    data, hashes
        The samples, and what each of them is.
    shard
        Samples that are never spread over two workers, but for finding a bad one among them.
    grain
        Where a shard may be cut without changing any batch.
    empty
        Makes the part of a span whose samples are all left out.
    """

    data: Divisible
    hashes: tuple[bytes, ...]
    shard: int
    grain: int
    empty: Callable[[Sequence[LeftOut]], bytes]

    def counting(self, span: Span) -> Count:
        """Return the job of counting a span."""
        start, stop = span.start, span.stop
        return Count(start, stop, self.data.part(start, stop), self.hashes[start:stop])


@dataclass(frozen=True, slots=True)
class _Piece:
    """A job with its history: `tries` is how often a worker was lost over it."""

    job: Job
    tries: int = 0
    merges: tuple[Part, ...] = ()

    @property
    def span(self) -> Span:
        return Span(self.job.start, self.job.stop)


@dataclass(slots=True)
class _Busy:
    piece: _Piece | None
    since: float = field(default_factory=time.monotonic)


class ShardLoop:
    """Counts a data set with a pool of workers.

    Parameters
    ----------
    pool
        The workers.
    shelf
        Where parts are kept; what is there already is not counted again.
    samples, survival, progress
        See there.
    """

    def __init__(
        self, pool: Pool, shelf: Shelf, samples: Samples, *, survival: Survival, progress: Progress | None
    ) -> None:
        self._pool, self._shelf, self._samples = pool, shelf, samples
        self._survival, self._progress = survival, progress
        self._total = len(samples.data)
        known = shelf.parts(self._total)
        self._gaps, self._stacks = Gaps(self._total, known, samples.shard), Stacks(known)
        self._again: deque[_Piece] = deque()
        self._busy: dict[Worker, _Busy] = {}
        self._idle: list[Worker] = []
        self._facts: Facts | None = None
        self._lost_openings = 0
        self._pace: float | None = None
        self.left_out: list[LeftOut] = []

    def run(self) -> list[Part]:
        """Return the parts that cover the data, in order, all stored.

        Raises
        ------
        InputError
            For a sample that no worker can do, by name.
        StaleError
            For workers that differ.
        MachineError
            When the machine falls short: memory, disk, workers that do not start.
        """
        self._tell()
        while self._again or len(self._gaps) or any(one.piece is not None for one in self._busy.values()):
            self._hand_out()
            for worker, outcome in self._pool.wait(list(self._busy), self._patience()):
                self._take(worker, outcome)
            self._end_overdue()
        return self._stacks.parts

    def _hand_out(self) -> None:
        """Give every worker a piece, hiring up to the pool's size; one piece a worker bounds what is on its way."""
        opening = sum(one.piece is None for one in self._busy.values())
        while self._again or len(self._gaps):
            if self._idle:
                self._give(self._next())
            elif len(self._busy) < self._pool.size and opening < self._waiting():
                self._busy[self._pool.hire()] = _Busy(None)
                opening += 1
            else:
                return
        while self._idle and (group := self._stacks.group()):
            self._give(self._merging(group))

    def _waiting(self) -> int:
        return len(self._again) + -(-len(self._gaps) // self._samples.shard)

    def _give(self, piece: _Piece) -> None:
        worker = self._idle.pop()
        self._busy[worker] = _Busy(piece)
        worker.send(piece.job)

    def _next(self) -> _Piece:
        if self._again:
            return self._again.popleft()
        group = self._stacks.group()
        if group:
            return self._merging(group)
        span = self._gaps.take(self._pool.size, self._pace, pace_of(self._pool.size, self._survival.timeout))
        return _Piece(self._samples.counting(span))

    def _merging(self, group: tuple[Part, ...]) -> _Piece:
        return _Piece(Merge(group[0].start, group[-1].stop, tuple(map(self._shelf.read, group))), merges=group)

    def _take(self, worker: Worker, outcome: Outcome) -> None:
        busy = self._busy.pop(worker)
        if isinstance(outcome, Opened):
            self._check(outcome.facts)
            self._lost_openings = 0
            self._idle.append(worker)
        elif isinstance(outcome, Done) and busy.piece is not None:
            self._keep(busy.piece, outcome.part, time.monotonic() - busy.since)
            self._idle.append(worker)
        elif isinstance(outcome, Failed):
            self._idle.append(worker)
            self._failed(busy.piece, outcome.error)
        else:
            worker.kill()
            self._lost(busy.piece, outcome)

    def _keep(self, piece: _Piece, data: bytes, seconds: float) -> None:
        part = self._shelf.put(piece.span.start, piece.span.stop, data)
        if piece.merges:
            self._stacks.replace(piece.merges, part)
            self._shelf.drop(piece.merges)
            return
        self._pace = seconds / len(piece.span)
        self._stacks.add(part)
        self._tell()

    def _check(self, facts: Facts) -> None:
        """Hold a worker against the first."""
        if self._facts is None:
            self._facts = facts
        if facts != self._facts and not self._survival.allow_mixed:
            raise StaleError(
                f"The workers differ, so their bits may: {self._facts} and {facts}; use machines that are alike, or "
                "give --allow-mixed (allow_mixed in a job), which the result then says."
            )

    def _failed(self, piece: _Piece | None, error: Exception) -> None:
        """What one worker refuses, all would: an error as in one process, unless it is to be a sample's that is left out."""
        if piece is None or piece.merges or not self._survival.skip_bad or not isinstance(error, InputError):
            raise error
        self._isolate(piece, str(error), error)

    def _lost(self, piece: _Piece | None, outcome: Outcome) -> None:
        """Do a lost worker's piece once more, then look for the sample."""
        reason = outcome.reason if isinstance(outcome, Lost) else "ran out of memory"
        if piece is None:
            self._lost_openings += 1
            if self._lost_openings >= _OPENINGS:
                raise MachineError(
                    f"{_OPENINGS} workers in a row ended before their engine was open; the last one {reason}. Give fewer workers, or "
                    "leave them out; a script that asks for workers needs «if __name__ == '__main__':»."
                )
        elif piece.merges or piece.tries == 0:
            if piece.tries >= _OPENINGS:
                raise MachineError(f"Workers that merge parts end again and again; the last one {reason}.")
            self._again.appendleft(replace(piece, tries=piece.tries + 1))
        elif isinstance(outcome, OutOfMemory):
            raise MachineError(
                f"A worker ran out of memory twice on the samples {piece.span.start} … {piece.span.stop - 1}: give fewer workers, a "
                "smaller budget, or a machine with more."
            )
        else:
            self._isolate(piece, f"The worker that had it {reason}.", None)

    def _isolate(self, piece: _Piece, reason: str, error: QuantlabError | None) -> None:
        """Halve a bad span; a single sample is named, and left out where that is allowed."""
        span = piece.span
        if len(span) > 1:
            tries = 0 if len(span) == 2 else 1  # who is to be convicted is tried twice
            halves = [_Piece(self._samples.counting(half), tries) for half in span.halves(self._samples.grain)]
            self._again.extendleft(reversed(halves))
            return
        found = LeftOut(span.start, self._samples.data.sample_name(span.start), reason)
        if not self._survival.skip_bad:
            images = hasattr(self._samples.data, "recall")  # what can be left out on the command line
            way = "leave it out with --skip-bad (skip_bad in a job)" if images else "take it out of the data"
            raise InputError(f"Sample {found} Mend it, or {way}.") from error
        self.left_out.append(found)
        if len(self.left_out) > max(16, self._total // 100):
            raise InputError(
                f"{len(self.left_out)} samples were left out, which is not the samples' fault any more; the first is {self.left_out[0]}"
            )
        self._stacks.add(self._shelf.put(span.start, span.stop, self._samples.empty([found])))
        self._tell()

    def _patience(self) -> float | None:
        """Return the seconds until the first worker is overdue."""
        if self._survival.timeout is None:
            return None
        now = time.monotonic()
        return max(0.0, min((one.since + self._limit(one) - now for one in self._busy.values()), default=0.0))

    def _limit(self, busy: _Busy) -> float:
        limit = self._survival.timeout or float("inf")
        return max(limit, OPENING) if busy.piece is None else limit

    def _end_overdue(self) -> None:
        if self._survival.timeout is None:
            return
        now = time.monotonic()
        for worker, busy in list(self._busy.items()):
            if now - busy.since > self._limit(busy):
                del self._busy[worker]
                worker.kill()
                self._lost(busy.piece, Lost(f"was not done after {self._limit(busy):g} s, and was ended"))

    def _tell(self) -> None:
        if self._progress is not None:
            self._progress(sum(part.stop - part.start for part in self._stacks.parts), self._total)
