"""`quantlab run`: everything, from one YAML job."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typing_extensions import Self

from quantlab.cli import options
from quantlab.cli.console import Output, stderr
from quantlab.cli.dry_run import show_dry_run
from quantlab.cli.help_text import described, exit_code
from quantlab.cli.logging import LogJson, open_log
from quantlab.cli.qat import fields, show, train
from quantlab.cli.run_cells import run_cells

if TYPE_CHECKING:
    from quantlab.jobs.job import Job
    from quantlab.jobs.logs import JsonLog
    from quantlab.jobs.run_result import RunResult
    from quantlab.jobs.step import Progress
    from quantlab.jobs.training_result import TrainingResult

_HELP = described(
    "Carry out a job: collect, calibrate with every method, choose, quantize, write the cache, compare, report. Steps whose "
    "inputs did not change are skipped, and a run that was stopped or killed goes on where it was. Where the job has a section "
    "`qat` and too much is lost, it goes on as `quantlab qat` does. With a `matrix` every combination is a run of its own. "
    "QUANTLAB_JOB_… variables change fields too (QUANTLAB_JOB_MAX_DROP=1, QUANTLAB_JOB_DATA__TUNING=b.npz); --set wins.",
    examples=(
        "quantlab run calib_data/fashion.yaml",
        "quantlab run job.yaml --set choose=entropy --set output=run-entropy",
        "quantlab run job.yaml --dry-run",
        "quantlab run job.yaml --quiet --log-json run.jsonl --json > result.json",
    ),
    exits=(0, 1, 2, 3, 4, 5, 6, 75, 130),
)


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("run", help=_HELP)(_run)


def _run(
    job: Annotated[Path, typer.Argument(metavar="JOB.yaml", help="The job; paths in it are relative to it.")],
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
    dry: Annotated[
        bool,
        typer.Option("--dry-run", help="Do nothing: estimate time, memory and disk of each step from a few samples."),
    ] = False,
    log_json: LogJson = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    from quantlab.jobs.job_fields import MATRIX, read_fields, this_environment
    from quantlab.jobs.job_file import job_of

    out = Output(as_json, quiet)
    if dry:
        show_dry_run(out, read_fields(job, changes or [], this_environment()))
        return
    with open_log(out, log_json, job) as log:
        found = read_fields(job, changes or [], this_environment())
        if found.values.get(MATRIX) is not None:
            code = run_cells(out, found, Steps, log, force=force)
        else:
            code = _carry_out(out, job_of(found), log, force=force)
    if code:
        raise typer.Exit(code)


def _carry_out(out: Output, job: Job, log: JsonLog | None, *, force: bool) -> int:
    """Carry out one job, and return the exit code."""
    from quantlab.jobs.logs import Logged, logging_run
    from quantlab.jobs.run import run_job

    with Steps(quiet=out.quiet) as steps, logging_run(log, job=job.name) as note:
        result = run_job(job, listener=steps if log is None else Logged(steps, log, job=job.name), force=force)
        note(result)
        _show(out, result)
        trained = _trained(out, result, log, force=force)
    out.result(_fields(result) | ({"qat": fields(trained)} if trained else {}))
    return int(result.too_much is not None) if trained is None else exit_code(trained.best.standing)


def _trained(out: Output, result: RunResult, log: JsonLog | None, *, force: bool) -> TrainingResult | None:
    """Go on with training where the job allows it and asks for it."""
    if result.job.qat is None or (result.too_much is None and result.job.qat.when == "needed"):
        return None
    out.say("The job names a PyTorch module, so better PTQ and training are tried.")
    trained = train(out, result.job, force=force, log=log)
    show(out, trained)
    return trained


class Steps:
    """Prints a line a step on stderr, with a progress bar while it runs."""

    def __init__(self, *, quiet: bool, before: str = "") -> None:
        from contextlib import ExitStack

        self._quiet, self._before, self._open = quiet, before, ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._open.close()

    def begins(self, number: int, total: int, title: str) -> Progress:
        """Show that a step runs."""
        from quantlab.cli.progress import progress

        return self._open.enter_context(progress(f"{self._before}[{number}/{total}] {title}", quiet=self._quiet))

    def ended(self, number: int, total: int, text: str, seconds: float) -> None:
        """Print what became of it."""
        self._open.close()
        if not self._quiet:
            line = f"{self._before}[{number}/{total}] {text}, {seconds:.1f} s"
            stderr().print(line, markup=False, highlight=False, soft_wrap=True)


def _show(out: Output, result: RunResult) -> None:
    from quantlab.cli.scores import show_finals, show_methods

    for note in result.notes:
        out.note(f"Note: {note}")
    show_methods(out, result.tuning, result.chosen)
    named = {f"{result.chosen}, {result.job.target}": result.final, f"{result.chosen}, ort": result.ort}
    show_finals(out, {name: found for name, found in named.items() if found is not None})
    if result.too_much is not None:
        out.note(
            f"The drop of {result.too_much:.2f} points is more than the {result.job.max_drop:g} allowed{_doubt(result)}."
        )
    if not any(made.fresh for made in result.artefacts):
        out.say("Nothing changed, nothing done.")
    out.say(f"Report: {shown_path(result.report)}")


def _doubt(result: RunResult) -> str:
    """Return that more samples might tell otherwise, where the interval of the drop holds what is allowed."""
    from quantlab.regression.words import spread

    if result.final is None or result.job.max_drop is None:
        return ""
    main = result.final.metrics[0]
    if main.interval.low > result.job.max_drop:
        return ""
    return f" ({spread(main.interval, main.unit)}: more samples might tell otherwise)"


def _fields(result: RunResult) -> dict[str, Any]:
    def scores(found: Any) -> Any:
        return None if found is None else found.to_json() | {"agreement": {"score": found.agreement.score}}

    return {
        "output": result.job.output,
        "report": result.report,
        "chosen": result.chosen,
        "passed": result.too_much is None,
        "tuning": {method: scores(found) for method, found in result.tuning.items()},
        "final": scores(result.final),
        "ort": scores(result.ort),
        "artefacts": {str(made.path): made.fresh for made in result.artefacts},
        "notes": result.notes,
    }


def shown_path(path: Path) -> str:
    """Return a path from where the user stands, if that is shorter."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path.resolve())
