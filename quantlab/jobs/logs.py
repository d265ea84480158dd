"""What a run tells, as JSON: one object a line, for machines, beside what people see."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from itertools import pairwise
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal

from quantlab.errors import InputError, MachineError
from quantlab.jobs.peak_memory import peak_bytes
from quantlab.jobs.run_result import Listener, RunResult, exit_code_of
from quantlab.jobs.step import Progress
from quantlab.jobs.training_result import Hooks
from quantlab.tuning.trial import Trial

if TYPE_CHECKING:
    from quantlab.qat.callbacks import Progress as Learnt

LARGEST = 10 * 2**20
"""Bytes after which a log begins anew; the old one is kept as `.1`, the one before as `.2`."""

KEPT = 3
_SECONDS = 5.0

Level = Literal["info", "warning", "error"]


class JsonLog:
    """Appends lines to a file; each is written at once and whole, so several processes may share it.

    Once it is open, a disk that is full does not end the job: the lines that could not be written are counted in `lost`.
    `closed` tells that the error which ended the run was logged.
    """

    def __init__(self, path: Path, *, about: Mapping[str, Any] | None = None, largest: int = LARGEST) -> None:
        if path.is_dir():
            raise InputError(f"The log '{path}' is a folder: give the name of a file.")
        self.path, self.lost, self.closed = path, 0, False
        self._about, self._largest = dict(about or {}), largest
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(self._opened())
        except OSError as error:
            raise MachineError(f"The log '{path}' cannot be written: {error.strerror or error}.") from error

    def write(self, event: str, level: Level = "info", **fields: Any) -> None:
        """Append a line: the time (UTC), the level, the event, and what goes with it."""
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        record = {"time": now, "level": level, "event": event, **self._about, **fields}
        line = json.dumps(_plain(record), ensure_ascii=False, allow_nan=False) + "\n"
        try:
            self._make_room()
            handle = self._opened()
            try:
                os.write(handle, line.encode("utf-8", "backslashreplace"))
            finally:
                os.close(handle)
        except OSError:
            self.lost += 1

    def _opened(self) -> int:
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def _make_room(self) -> None:
        if self.path.stat().st_size < self._largest:
            return
        older = [self.path, *(self.path.with_name(f"{self.path.name}.{number}") for number in range(1, KEPT + 1))]
        for newer, place in reversed(list(pairwise(older))):
            with suppress(FileNotFoundError):
                newer.replace(place)


class Logged:
    """Passes on to another listener what a run tells, and writes it into a log."""

    def __init__(self, inner: Listener, log: JsonLog, *, clock: Callable[[], float] = monotonic, **about: Any) -> None:
        self._inner, self._log, self._clock, self._about = inner, log, clock, about
        self._title = ""

    def begins(self, number: int, total: int, title: str) -> Progress:
        """Log that a step begins; its progress is logged every five seconds, and at its end."""
        self._title = title
        step = {"step": title, "number": number, "of": total, **self._about}
        self._log.write("step begins", **step)
        tell, started = self._inner.begins(number, total, title), self._clock()
        last = [started]

        def progress(done: int, samples: int | None) -> None:
            now = self._clock()
            if now - last[0] >= _SECONDS or (done == samples and done):
                last[0] = now
                self._log.write("progress", **step, done=done, samples=samples, seconds=round(now - started, 3))
            tell(done, samples)

        return progress

    def ended(self, number: int, total: int, text: str, seconds: float) -> None:
        """Log what became of a step, its seconds and the process's peak of memory."""
        step = {"step": self._title, "number": number, "of": total, **self._about}
        current = text.endswith("(current)")
        peak = peak_bytes()
        self._log.write(
            "step ended", **step, text=text, current=current, seconds=round(seconds, 3), peak_memory_bytes=peak
        )
        self._inner.ended(number, total, text, seconds)


def logging_hooks(inner: Hooks, log: JsonLog, *, clock: Callable[[], float] = monotonic, **about: Any) -> Hooks:
    """Return hooks that pass on what a training tells, and log it: every trial, and how far it is every five seconds."""
    last = [clock()]

    def trial(found: Trial) -> None:
        what: dict[str, Any] = {"rung": found.rung, "trial": found.label, "kept": found.kept, "note": found.note}
        if found.score is not None:
            what |= {"drop": found.score.drop, "sqnr_db": found.score.mean_sqnr_db}
        log.write("trial", **about, **what, seconds=round(found.seconds, 3))
        inner.trial(found)

    def progress(**fields: Any) -> None:
        now = clock()
        if now - last[0] >= _SECONDS:
            last[0] = now
            log.write("progress", **about, **fields)

    def watch(what: str, done: int, total: int | None) -> None:
        progress(what=what, done=done, of=total)
        inner.watch(what, done, total)

    def learnt(at: Learnt) -> None:
        progress(what="training", done=at.step, of=at.steps, loss=at.loss, metric=at.metric)
        inner.learnt(at)

    return Hooks(trial, watch, learnt)


@contextmanager
def logging_refusal(log: JsonLog) -> Iterator[None]:
    """Log what ends the block, unless a run within it has logged that: a job may be refused before it begins."""
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        if not log.closed:
            log.write("run ended", "error", **_told(error))
        raise


@contextmanager
def logging_run(log: JsonLog | None, **about: Any) -> Iterator[Callable[[RunResult], None]]:
    """Log that a run begins and how it ended, and give a function that notes its result; without a log, do nothing."""
    if log is None:
        yield lambda _result: None
        return
    log.write("run begins", **about)
    started = monotonic()
    try:
        yield lambda result: log.write("result", **about, **figures_of(result))
    except (Exception, KeyboardInterrupt) as error:
        log.write("run ended", "error", **about, seconds=round(monotonic() - started, 3), **_told(error))
        log.closed = True
        raise
    log.write("run ended", **about, seconds=round(monotonic() - started, 3))


def _told(error: BaseException) -> dict[str, Any]:
    kind = type(error).__name__
    return {"error": str(error) or kind, "kind": kind, "exit_code": exit_code_of(error)}


def figures_of(result: RunResult) -> dict[str, Any]:
    """Return what a run came to, as JSON values."""
    final = result.final
    main = final.metrics[0] if final is not None and final.metrics else None
    return {
        "output": str(result.job.output),
        "chosen": result.chosen,
        "passed": result.too_much is None,
        "metric": main.name if main else None,
        "fp32": main.fp32 if main else None,
        "int8": main.int8 if main else None,
        "drop": main.drop if main else None,
        "made": [_within(made.path, result.job.output) for made in result.artefacts if made.fresh],
        "notes": list(result.notes),
    }


def _within(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)


def _plain(value: Any) -> Any:
    """Return a value that JSON can hold; infinities and NaN become text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    return value if isinstance(value, str | int | float | bool | None) else str(value)
