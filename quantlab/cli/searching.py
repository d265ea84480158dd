"""The lines that a search prints while it runs: one a trial, and below it what is going on."""

from __future__ import annotations

import time
from types import TracebackType

from typing_extensions import Self

from quantlab.cli.console import Output, stderr
from quantlab.tuning.trial import Trial

_LOG_SECONDS = 10.0
_LABEL = 43  # as long as the longest of the thresholds: «…, ranked» at its end is what tells two trials apart


class Lines:
    """Prints trials on stdout as they come, and progress on stderr; a context manager."""

    def __init__(self, out: Output) -> None:
        self._out, self._started, self._said = out, time.monotonic(), 0.0
        self._status = None if out.quiet or not stderr().is_terminal else stderr().status("")
        self._seconds: dict[str, float] = {}

    def __enter__(self) -> Self:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def trial(self, trial: Trial) -> None:
        """Print a trial."""
        rung, label, found = _line(trial)
        if trial.score is None:
            self._out.say(f"{rung:<17}  {label:<{_LABEL}}  not run: {found}")
            return
        mark = "kept" if trial.kept else "for ranking" if trial.note == "ranking only" else trial.note or "not kept"
        best = f"best {trial.best_db:.2f} dB" if trial.best_db == trial.best_db and not trial.kept else trial.standing
        self._out.say(f"{rung:<17}  {label:<{_LABEL}}  {found}  {mark}, {best}  {trial.seconds:.0f} s")
        self._said = time.monotonic()

    def watch(self, what: str, done: int, total: int | None) -> None:
        """Show what is going on, with the time left where the amount is known."""
        now = time.monotonic()
        if done == 0:
            self._seconds[what] = now
        spent = now - self._seconds.setdefault(what, now)
        left = f", {spent / done * (total - done):.0f} s left" if total and done else ""
        self.show(f"{what}{f' {done:,} of {total:,}' if total else ''}{left}")

    def show(self, state: str) -> None:
        """Show a state; where there is no terminal, every ten seconds."""
        now = time.monotonic()
        text = f"{state} ({now - self._started:.0f} s in all)"
        if self._status is not None:
            self._status.update(text)
        elif not self._out.quiet and now - self._said > _LOG_SECONDS:
            self._said = now
            stderr().print(text, markup=False, highlight=False, soft_wrap=True)


def _line(trial: Trial) -> tuple[str, ...]:
    """Return a trial's cells: rung, trial, what it scored, whether it was kept."""
    score = trial.score
    if score is None:
        return trial.rung, trial.label, trial.note
    drop = ""
    if score.drop is not None and score.drop_interval is not None:
        reach = (score.drop_interval.high - score.drop_interval.low) / 2
        drop = f"{score.drop:+.2f} ± {reach:.2f} points"
    parts = [
        f"{score.mean_sqnr_db:.2f} dB",
        drop,
        "" if score.agreement is None else f"agreement {score.agreement:.4f}",
        "" if score.fidelity is None else f"fidelity {score.fidelity:.4f}",
    ]
    return trial.rung, trial.label, ", ".join(part for part in parts if part)
