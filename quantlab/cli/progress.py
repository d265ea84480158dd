"""A progress line on stderr with rate and time left; a log where stderr is no terminal."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from quantlab.cli.console import stderr

_FIRST_LINE, _LOG_SECONDS = 2.0, 10.0


@contextmanager
def progress(
    title: str, *, quiet: bool, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[int, int | None], None]]:
    """Give a function that is told the samples done and how many there will be.

    Where stderr is a file, or a terminal in which nothing moves (TERM=dumb), a line after two seconds and then every ten takes
    the place of the moving one.
    """
    if quiet:
        yield lambda _done, _total: None
    elif stderr().is_interactive:
        with _bar(title, clock) as advance:
            yield advance
    else:
        yield _Log(title, clock)


@contextmanager
def _bar(title: str, clock: Callable[[], float]) -> Iterator[Callable[[int, int | None], None]]:
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.fields[state]}"))
    started = clock()
    with Progress(*columns, console=stderr(), transient=True) as bar:
        task = bar.add_task(title, total=None, state="")

        def advance(done: int, total: int | None) -> None:
            bar.update(task, completed=done, total=total, state=_state(done, total, clock() - started))

        yield advance


class _Log:
    """Prints a line now and then."""

    def __init__(self, title: str, clock: Callable[[], float]) -> None:
        self._title, self._clock, self._started = title, clock, clock()
        self._next = self._started + _FIRST_LINE

    def __call__(self, done: int, total: int | None) -> None:
        now = self._clock()
        if now >= self._next:
            self._next = now + _LOG_SECONDS
            text = f"{self._title}: {_state(done, total, now - self._started)}"
            stderr().print(text, markup=False, highlight=False, soft_wrap=True)


def _state(done: int, total: int | None, seconds: float) -> str:
    """Return «640 of 1,000 samples, 210/s, 2 s left»."""
    of = f" of {total:,}" if total else ""
    left = f", {seconds / done * (total - done):.0f} s left" if total and done else ""
    return f"{done:,}{of} samples, {done / max(seconds, 1e-9):,.0f}/s{left}"
