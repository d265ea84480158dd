"""`quantlab history`: runs one after the other, in a table, a drawing or MLflow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quantlab.cli import options
from quantlab.cli.console import Output
from quantlab.cli.help_text import described

if TYPE_CHECKING:
    from quantlab.storage.run_record import RunRecord

_ADD = described(
    "Append a run to a history: its score, drop, SQNR, sizes, latencies and versions. The same run under the same label is "
    "there once.",
    examples=("quantlab history add runs/main --label 1.4.0", "quantlab history add compare.json --history nightly"),
)
_LIST = described(
    "List a history's runs, the last added last.",
    examples=("quantlab history list", "quantlab history list --name fashion --last 20 --json"),
    exits=(0, 2, 4, 6),
)
_SHOW = described(
    "Print all that a history keeps of one run.",
    examples=("quantlab history show 7", "quantlab history show 7 --json"),
    exits=(0, 2, 4, 6),
)
_PLOT = described(
    "Draw score, drop, SQNR, size and latency from run to run, as a picture or as a page with a table.",
    examples=("quantlab history plot -o trend.png", "quantlab history plot --name fashion -o trend.html"),
)
_EXPORT = described(
    "Copy the runs that an MLflow experiment lacks there: figures as metrics, versions as parameters, and the report as an "
    "artifact. URI is a tracking URI, or a folder.",
    examples=(
        "quantlab history export --mlflow http://127.0.0.1:5000",
        "quantlab history export --mlflow mlruns --experiment int8",
    ),
    exits=(0, 2, 4, 6),
)

Folder = Annotated[Path, typer.Option("--history", metavar="FOLDER", help="Where the history is.")]
Name = Annotated[str | None, typer.Option(metavar="NAME", help="Only the runs of this name.")]
_DEFAULT = Path("reports/history")


def add_to(app: typer.Typer) -> None:
    """Register the group."""
    group = typer.Typer(no_args_is_help=True, help="Keep runs one after the other; list, draw and export them.")
    for name, command, text in (
        ("add", _add, _ADD),
        ("list", _list, _LIST),
        ("show", _show, _SHOW),
        ("plot", _plot, _PLOT),
        ("export", _export, _EXPORT),
    ):
        group.command(name, help=text)(command)
    app.add_typer(group, name="history")


def _add(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or a comparison's .json file.")],
    folder: Folder = _DEFAULT,
    label: Annotated[str, typer.Option(metavar="TEXT", help="What tells it apart, for instance a commit.")] = "",
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    from quantlab.jobs.histories import remember

    record, fresh = remember(run, folder, label=label)
    out = Output(as_json, quiet)
    state = "added" if fresh else "is there already: nothing done"
    out.say(f"Run {record.number} of the history in {folder}: «{record.name}» {state}.")
    out.result({"history": folder, "fresh": fresh, **_fields(record)})


def _list(
    folder: Folder = _DEFAULT,
    name: Name = None,
    last: Annotated[int | None, typer.Option(min=1, metavar="N", help="Only the last N of these.")] = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    runs = _runs(folder, name)[-(last or 0) :]
    out = Output(as_json, quiet)
    out.table(
        ("run", "added", "name", "label", "metric", "FP32", "INT8", "drop", "SQNR dB", "verdict"), map(_row, runs)
    )
    out.result({"history": folder, "runs": [_fields(run) for run in runs]})


def _show(
    number: Annotated[int, typer.Argument(min=1, metavar="NUMBER", help="The run's number in the list.")],
    folder: Folder = _DEFAULT,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    from quantlab.errors import InputError

    run = next((run for run in _runs(folder, None) if run.number == number), None)
    if run is None:
        raise InputError(f"The history in '{folder}' has no run {number}: `quantlab history list` shows their numbers.")
    out = Output(as_json, quiet)
    fields = _fields(run)
    versions = fields.pop("versions")
    told = fields | _scores(run)
    cells = [(name.replace("_", " "), _told(told[name])) for name, value in fields.items() if value not in (None, "")]
    out.table(("", f"run {number}"), [*cells, *versions.items()])
    out.result(fields | {"versions": versions})


def _plot(
    output: options.Output,
    folder: Folder = _DEFAULT,
    name: Name = None,
    force: options.Force = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    from quantlab.jobs.drawing_history import draw_history

    made = draw_history(folder, output, name=name, remake="always" if force else "never")
    out = Output(as_json, quiet)
    out.made(made)
    out.result({"output": made.path, "fresh": made.fresh})


def _export(
    mlflow: Annotated[str, typer.Option(metavar="URI", help="MLflow's tracking URI, or a folder.")],
    folder: Folder = _DEFAULT,
    name: Name = None,
    experiment: Annotated[str, typer.Option(metavar="NAME", help="Made if there is none.")] = "quantlab",
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    from quantlab.jobs.exporting_history import export_to_mlflow
    from quantlab.storage.run_record import History

    found = History(folder, tuple(_runs(folder, name)))
    written = export_to_mlflow(found, mlflow, experiment)
    out = Output(as_json, quiet)
    there = len(found.runs) - len(written)
    out.say(f"{len(written)} runs written to the experiment «{experiment}»; {there} were there.")
    out.result({"experiment": experiment, "written": [run.number for run in written], "there": there})


def _runs(folder: Path, name: str | None) -> tuple[RunRecord, ...]:
    from quantlab.errors import InputError
    from quantlab.storage.run_history import history

    found = history(folder)
    runs = found.runs if name is None else found.of(name).runs
    if not runs:
        named = ", ".join(dict.fromkeys(f"«{run.name}»" for run in found.runs)) or "none"
        raise InputError(f"The history in '{folder}' has no run of this name; it has {named}.")
    return runs


def _row(run: RunRecord) -> tuple[object, ...]:
    sqnr = None if run.sqnr_db is None else f"{run.sqnr_db:.2f}"
    added = run.added[:16].replace("T", " ")
    scores = (told for name, told in _scores(run).items() if name in ("fp32", "int8", "drop"))
    return (str(run.number), added, run.name, run.label, run.metric, *scores, sqnr, run.verdict or None)


def _scores(run: RunRecord) -> dict[str, str]:
    """Return scores and what is lost, as reports write them."""
    from quantlab.report import formats

    scores = {name: formats.score(getattr(run, name), run.unit) for name in ("fp32", "int8")}
    return scores | {name: formats.lost(getattr(run, name), run.unit) for name in ("drop", "low", "high")}


def _fields(run: RunRecord) -> dict[str, Any]:
    from dataclasses import asdict

    fields = asdict(run)
    return {"number": fields.pop("number"), **fields}


def _told(value: object) -> object:
    return f"{value:,}" if isinstance(value, int) else value
