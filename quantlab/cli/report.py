"""`quantlab report`: a run folder in; a page, Markdown, JSON or Parquet out."""

from pathlib import Path
from typing import Annotated

import typer

from quantlab.cli import options
from quantlab.cli.console import Output
from quantlab.cli.help_text import described

_HELP = described(
    "Report on the folder of a run, a search (`quantlab tune`) or a training (`quantlab qat`). The output's suffix says what is "
    "written: .html, one self-contained page; .md, a short text for a pull request; .json, all values for machines; .parquet, a "
    "line a tensor (needs the extra `parquet`). In the folder, audit.json (`quantlab inspect plan … --json`), diagnosis.json "
    "(`quantlab diagnose`), lineup.json (`quantlab compare` of several engines) and classes.txt (a class name a line) are shown "
    "too.",
    examples=(
        "quantlab report run/ -o run/report.html",
        "quantlab report tuned/ -o tuned/report.html -o summary.md -o report.json",
        "quantlab report reports/fashion -o fashion.html --classes names.txt --force",
    ),
)


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("report", help=_HELP)(_report)


def _report(
    folder: Annotated[Path, typer.Argument(metavar="RUN_FOLDER", help="What `quantlab run`, `tune` or `qat` wrote.")],
    outputs: Annotated[
        list[Path],
        typer.Option(
            "--output", "-o", metavar="PATH", help="The file to write: .html, .md, .json or .parquet; repeatable."
        ),
    ],
    *,
    classes: Annotated[Path | None, typer.Option(metavar="FILE", help="Class names, one a line, from class 0.")] = None,
    force: options.Force = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    from quantlab.jobs.reporting import write_reports

    made = write_reports(folder, outputs, class_names=classes, remake="always" if force else "never")
    out = Output(as_json, quiet)
    for one in made:
        out.made(one)
    first = made[0]
    files = [{"output": one.path, "fresh": one.fresh, "bytes": one.path.stat().st_size} for one in made]
    out.result({**files[0], "notes": first.notes, "outputs": files})
