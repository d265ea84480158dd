"""`quantlab report`: a run folder in, one HTML page out."""

from pathlib import Path
from typing import Annotated

import typer

from quantlab.cli import options
from quantlab.cli.console import Output
from quantlab.cli.help_text import described

_HELP = described(
    "Write one self-contained HTML page on a run folder.",
    examples=("quantlab report run/ -o run/report.html", "quantlab report reports/fashion -o fashion.html --force"),
)


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("report", help=_HELP)(_report)


def _report(
    folder: Annotated[Path, typer.Argument(metavar="RUN_FOLDER", help="What `quantlab run` wrote.")],
    output: options.Output,
    *,
    force: options.Force = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    from quantlab.jobs.reporting import report_run

    made = report_run(folder, output, remake="always" if force else "never")
    out = Output(as_json, quiet)
    out.made(made)
    out.result({"output": made.path, "fresh": made.fresh, "notes": made.notes, "bytes": made.path.stat().st_size})
