"""`quantlab run`: everything, from one YAML job."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typing_extensions import Self

from quantlab.cli import options
from quantlab.cli.console import Output, stderr
from quantlab.cli.help_text import described, exit_code
from quantlab.cli.qat import fields, show, train

if TYPE_CHECKING:
    from quantlab.jobs.run_result import RunResult
    from quantlab.jobs.step import Progress
    from quantlab.jobs.training_result import TrainingResult

_HELP = described(
    "Carry out a job: collect, calibrate with every method, choose, quantize, write the cache, compare, report. Steps whose "
    "inputs did not change are skipped. Where the job has a section `qat` and too much is lost, it goes on as `quantlab qat` does.",
    examples=(
        "quantlab run calib_data/fashion.yaml",
        "quantlab run job.yaml --set choose=entropy --set output=run-entropy",
        "quantlab run job.yaml --set data.tuning=null --json > result.json",
    ),
    exits=(0, 1, 2, 3, 4, 5, 6, 130),
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
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    from quantlab.jobs.job_file import read_job
    from quantlab.jobs.run import run_job

    with _Steps(quiet=quiet) as steps:
        result = run_job(read_job(job, changes or []), listener=steps, force=force)
    out = Output(as_json, quiet)
    _show(out, result)
    trained = _trained(out, result, force=force)
    out.result(_fields(result) | ({"qat": fields(trained)} if trained else {}))
    code = int(result.too_much is not None) if trained is None else exit_code(trained.best.standing)
    if code:
        raise typer.Exit(code)


def _trained(out: Output, result: RunResult, *, force: bool) -> TrainingResult | None:
    """Go on with training where the job allows it and asks for it."""
    if result.job.qat is None or (result.too_much is None and result.job.qat.when == "needed"):
        return None
    out.say("The job names a PyTorch module, so better PTQ and training are tried.")
    trained = train(out, result.job, force=force)
    show(out, trained)
    return trained


class _Steps:
    """Prints a line a step on stderr, with a progress bar while it runs."""

    def __init__(self, *, quiet: bool) -> None:
        from contextlib import ExitStack

        self._quiet, self._open = quiet, ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._open.close()

    def begins(self, number: int, total: int, title: str) -> Progress:
        """Show that a step runs."""
        from quantlab.cli.progress import progress

        return self._open.enter_context(progress(f"[{number}/{total}] {title}", quiet=self._quiet))

    def ended(self, number: int, total: int, text: str, seconds: float) -> None:
        """Print what became of it."""
        self._open.close()
        if not self._quiet:
            stderr().print(f"[{number}/{total}] {text}, {seconds:.1f} s", markup=False, highlight=False, soft_wrap=True)


def _show(out: Output, result: RunResult) -> None:
    from quantlab.cli.scores import show_finals, show_methods

    for note in result.notes:
        out.note(f"Note: {note}")
    show_methods(out, result.tuning, result.chosen)
    named = {f"{result.chosen}, {result.job.target}": result.final, f"{result.chosen}, ort": result.ort}
    show_finals(out, {name: found for name, found in named.items() if found is not None})
    if result.too_much is not None:
        out.note(f"The drop of {result.too_much:.2f} points is more than the {result.job.max_drop:g} allowed.")
    if not any(made.fresh for made in result.artefacts):
        out.say("Nothing changed, nothing done.")
    out.say(f"Report: {shown_path(result.report)}")


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
