"""What is done of a data set, and what is to do next: gaps between parts, runs of shards, groups of parts to merge."""

from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from quantlab.workers.shelf import Part

GROUP = 8
"""Parts that are merged at a time."""

SHARD = 64
"""Samples of a shard at least."""

PACE = 10.0
"""Seconds of work that a worker is given at a time, once it is known how long a shard takes."""

DRIVER = 0.06
"""Seconds of work a worker for each of the others: the driver, which spends some 15 ms on a part, is busy a quarter of its time."""

_TAIL = 4
"""Towards the end workers get less, so that all end together; but not less than this part of their pace: it keeps the driver busy."""


def pace_of(workers: int, limit: float | None) -> float:
    """Return the seconds of work to give at a time; `limit` is what a piece may take at most."""
    pace = max(PACE, DRIVER * workers)
    return pace if limit is None else min(pace, limit / 4)


@dataclass(frozen=True, slots=True)
class Span:
    """The samples from `start` to before `stop`."""

    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def halves(self, grain: int) -> tuple["Span", "Span"]:
        """Return both halves, cut at a multiple of `grain` samples where there is one within."""
        middle = (self.start + self.stop) // 2
        aligned = middle - middle % grain
        cut = aligned if aligned > self.start else aligned + grain
        return self._cut(cut if self.start < cut < self.stop else middle)

    def _cut(self, place: int) -> tuple["Span", "Span"]:
        return Span(self.start, place), Span(place, self.stop)


class Gaps:
    """What nobody counts yet; handed out from the front, in whole shards."""

    def __init__(self, total: int, done: Iterable[Part], shard: int) -> None:
        self._spans: deque[Span] = deque()
        self._shard = shard
        at = 0
        for part in done:
            self._add(at, part.start)
            at = part.stop
        self._add(at, total)

    def __len__(self) -> int:
        return sum(map(len, self._spans))

    def take(self, workers: int, seconds_a_sample: float | None, pace: float) -> Span:
        """Return the next run of shards: one at first, then as many as take `pace` seconds, but never so many that others idle."""
        span = self._spans.popleft()
        shards = 1
        if seconds_a_sample is not None:
            left = len(span) + len(self)
            fair = -(-left // (2 * workers)) if workers > 1 else left
            paced = int(pace / max(seconds_a_sample, 1e-9))
            shards = max(1, min(max(fair, paced // _TAIL), paced) // self._shard)
        # Ends lie on the grid of shards wherever the span begins.
        stop = min(span.stop, (span.start // self._shard + shards) * self._shard)
        if stop < span.stop:
            self._spans.appendleft(Span(stop, span.stop))
        return Span(span.start, stop)

    def _add(self, start: int, stop: int) -> None:
        if start < stop:
            self._spans.append(Span(start, stop))


class Stacks:
    """Finished parts, in order, and which of them are being merged."""

    def __init__(self, parts: Iterable[Part]) -> None:
        self._parts = {part.start: part for part in parts}
        self._level = dict.fromkeys(self._parts, 0)
        self._busy: set[int] = set()

    @property
    def parts(self) -> list[Part]:
        """All parts, in order."""
        return [self._parts[start] for start in sorted(self._parts)]

    def add(self, part: Part) -> None:
        """Take a counted part."""
        self._parts[part.start], self._level[part.start] = part, 0

    def replace(self, old: Collection[Part], new: Part) -> None:
        """Put what was merged in the place of its parts."""
        level = 1 + max(self._level[part.start] for part in old)
        for part in old:
            del self._parts[part.start], self._level[part.start]
            self._busy.discard(part.start)
        self._parts[new.start], self._level[new.start] = new, level

    def group(self) -> tuple[Part, ...]:
        """Return eight parts of one level that follow one another, now busy; none if there are not so many."""
        run: list[Part] = []
        for part in self.parts:
            follows = run and run[-1].stop == part.start and self._level[run[-1].start] == self._level[part.start]
            run = [*run, part] if follows else [part]
            if part.start in self._busy:
                run = []
            if len(run) == GROUP:
                self._busy.update(one.start for one in run)
                return tuple(run)
        return ()
