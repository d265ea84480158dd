"""What a build is doing, on stderr: TensorRT's phases where it tells them, the elapsed time in any case."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from quantlab.cli.console import printable, stderr

_LOG_SECONDS = 10.0


@contextmanager
def phases(
    title: str, *, quiet: bool, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[str, int, int], None]]:
    """Give a function that is told a phase, its step and its steps; the elapsed time runs even if it is never called.

    Where stderr is a file, a line every ten seconds takes the place of the moving one.
    """
    if quiet:
        yield lambda _phase, _step, _steps: None
    elif stderr().is_interactive:
        with _line(title) as tell:
            yield tell
    else:
        yield _Log(title, clock)


@contextmanager
def _line(title: str) -> Iterator[Callable[[str, int, int], None]]:
    from rich.progress import Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}", markup=False), TimeElapsedColumn(), TextColumn("{task.fields[state]}"))
    with Progress(*columns, console=stderr(), transient=True) as bar:
        task = bar.add_task(title, total=None, state="")
        yield lambda phase, step, steps: bar.update(task, state=_state(phase, step, steps))


class _Log:
    """Prints a line now and then."""

    def __init__(self, title: str, clock: Callable[[], float]) -> None:
        self._title, self._clock, self._started = title, clock, clock()
        self._next = self._started + _LOG_SECONDS

    def __call__(self, phase: str, step: int, steps: int) -> None:
        now = self._clock()
        if now >= self._next:
            self._next = now + _LOG_SECONDS
            text = f"{self._title}, {now - self._started:.0f} s: {_state(phase, step, steps)}"
            stderr().print(text, markup=False, highlight=False, soft_wrap=True)


def _state(phase: str, step: int, steps: int) -> str:
    """Return «Tactic Autotuning, 12 of 40»."""
    return printable(f"{phase}, {step} of {steps}" if steps > 1 else phase)
