"""`quantlab qat`: from a PyTorch module to INT8, trained where PTQ falls short."""

from __future__ import annotations

import sys
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quantlab.cli import options
from quantlab.cli.console import Output, stderr
from quantlab.cli.help_text import described, exit_code
from quantlab.cli.logging import LogJson, open_log

if TYPE_CHECKING:
    from quantlab.cli.searching import Lines
    from quantlab.jobs.job import Job
    from quantlab.jobs.logs import JsonLog
    from quantlab.jobs.step import Progress
    from quantlab.jobs.training_result import TrainingResult
    from quantlab.qat.callbacks import Progress as Learnt

_HELP = described(
    "Take a PyTorch module to INT8: export it, calibrate, and as long as more is lost than the job's `max_drop` allows, search "
    "for better PTQ and train with fake quantization. Each rung's gain and cost is measured on the evaluation set. What is done "
    "is not done again; a search or a training that was stopped goes on. Exit code 1: the target was missed; 3: so few "
    "evaluation samples cannot tell.",
    examples=(
        "quantlab qat job.yaml",
        "quantlab qat job.yaml --set qat.steps=2000 --set qat.when=always",
        "quantlab qat job.yaml --log-json qat.jsonl --json > result.json",
    ),
    exits=(0, 1, 2, 3, 4, 5, 6, 75, 130),
)


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("qat", help=_HELP)(_qat)


def _qat(
    job: Annotated[
        Path, typer.Argument(metavar="JOB.yaml", help="A job with a section `qat`; paths in it are relative to it.")
    ],
    *,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a field of the job; repeatable.")
    ] = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force", "-f", help="Make stale and edited files anew instead of refusing them; current ones stay."
        ),
    ] = False,
    log_json: LogJson = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    from quantlab.jobs.job_fields import this_environment
    from quantlab.jobs.job_file import read_job
    from quantlab.jobs.logs import logging_run

    out = Output(as_json, quiet)
    with open_log(out, log_json, job) as log:
        read = read_job(job, changes or [], this_environment())
        with logging_run(log, job=read.name):
            result = train(out, read, force=force, log=log)
            show(out, result)
    out.result(fields(result))
    if code := exit_code(result.best.standing):
        raise typer.Exit(code)


def train(out: Output, job: Job, *, force: bool, log: JsonLog | None = None) -> TrainingResult:
    """Carry out a training job, and show and log what goes on."""
    from quantlab.cli.searching import Lines
    from quantlab.jobs.logs import Logged, logging_hooks
    from quantlab.jobs.training import train_job
    from quantlab.jobs.training_result import Hooks

    lines = Lines(out)
    steps = _Steps(lines, quiet=out.quiet)
    hooks = Hooks(lines.trial, lines.watch, steps.learnt)
    with lines, redirect_stdout(sys.stderr) if out.as_json else nullcontext():  # for what the user's module prints
        if log is None:
            return train_job(job, listener=steps, hooks=hooks, force=force)
        told: dict[str, Any] = {"job": job.name, "section": "qat"}
        result = train_job(
            job, listener=Logged(steps, log, **told), hooks=logging_hooks(hooks, log, **told), force=force
        )
        log.write("result", **told, **fields(result))
        return result


def show(out: Output, result: TrainingResult) -> None:
    """Print a line a rung, and the verdict."""
    out.remarks(result.notes)
    columns = ("rung", "points lost", "±", "gain", "agreement", "SQNR, dB", "s", "target", "model")
    out.table(columns, [_row(row) for row in result.to_json()["rungs"]])
    out.say(result.verdict)
    if not any(made.fresh for made in result.artefacts):
        out.say("Nothing changed, nothing done.")
    out.say(f"{result.report} has the figures.")


def fields(result: TrainingResult) -> dict[str, Any]:
    """Return what `--json` prints."""
    return {
        **result.to_json(),
        "folder": result.folder,
        "artefacts": {str(made.path): made.fresh for made in result.artefacts},
        "notes": result.notes,
    }


def _row(row: dict[str, Any]) -> tuple[object, ...]:
    interval = row["interval"]
    reach = None if interval is None else f"{(interval['high'] - interval['low']) / 2:.2f}"
    return (
        row["rung"],
        _rounded(row["points_lost"], 2),
        reach,
        _rounded(row["gain"], 2),
        _rounded(row["agreement"], 4),
        _rounded(row["sqnr_db"], 1),
        _rounded(row["seconds"], 1),
        row["standing"],
        row["model"],
    )


def _rounded(value: float | None, digits: int) -> str | None:
    return None if value is None else f"{value:.{digits}f}"


class _Steps:
    """Prints a line a step on stderr, and shows below it how far a step is."""

    def __init__(self, lines: Lines, *, quiet: bool) -> None:
        self._lines, self._quiet = lines, quiet

    def begins(self, number: int, total: int, title: str) -> Progress:
        """Show that a step runs."""
        what = f"[{number}/{total}] {title}: samples"
        self._lines.show(f"[{number}/{total}] {title}")
        return lambda done, of: self._lines.watch(what, done, of)

    def ended(self, number: int, total: int, text: str, seconds: float) -> None:
        """Print what became of it."""
        if not self._quiet:
            stderr().print(f"[{number}/{total}] {text}, {seconds:.1f} s", markup=False, highlight=False, soft_wrap=True)

    def learnt(self, at: Learnt) -> None:
        """Show how far a training is."""
        metric = "" if at.metric is None else f", accuracy {at.metric:.4f}"
        left = "" if at.seconds_left is None else f", {at.seconds_left:.0f} s left"
        self._lines.show(
            f"training step {at.step:,} of {at.steps:,}, epoch {at.epoch + 1}, loss {at.loss:.4g}{metric}{left}"
        )
