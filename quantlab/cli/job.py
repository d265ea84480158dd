"""`quantlab job`: write, check and explain the jobs that `quantlab run` carries out, and check what they left."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quantlab.cli import options
from quantlab.cli.console import Output
from quantlab.cli.help_text import described

if TYPE_CHECKING:
    from quantlab.jobs.explaining import Explanation
    from quantlab.jobs.matrix_section import Cell

_SHOWN = 100
"""Problems of a job that are printed; --json lists all."""

_INIT = described(
    "Write a first job for a model and its data, with a comment on every choice. What can be told from the model and the data "
    "is filled in; an existing file is never replaced.",
    examples=(
        "quantlab job init model.onnx --data calibration/",
        "quantlab job init model.onnx -d calib.npz --evaluation eval.npz --target ort -o jobs/model.yaml",
    ),
    exits=(0, 2, 4, 6),
)
_VALIDATE = described(
    "Say everything that is wrong with a job at once: fields, with their lines; what does not go together; files that are missing "
    "or cannot be used. Nothing runs.",
    examples=("quantlab job validate job.yaml", "quantlab job validate job.yaml --set target=ort --json"),
    exits=(0, 2, 4),
)
_EXPLAIN = described(
    "Say what a job would do: where each value comes from (--set, then QUANTLAB_JOB_… variables, then the file, then defaults), its "
    "inputs with their digests, and which steps are current, to do or stale, and why. Nothing is written.",
    examples=("quantlab job explain job.yaml", "quantlab job explain job.yaml --set choose=entropy --json"),
    exits=(0, 2, 4),
)
_SCHEMA = described(
    "Print the JSON Schema of job files, for an editor or another program.",
    examples=("quantlab job schema > job.schema.json",),
    exits=(0,),
)
_VERIFY = described(
    "Check that every file of a run folder is as its manifest says, and print what made them; a file that is missing, edited or "
    "unfinished makes the exit code 1.",
    examples=("quantlab job verify reports/fashion", "quantlab job verify run --json"),
    exits=(0, 1, 2, 4),
)

JobFile = Annotated[Path, typer.Argument(metavar="JOB.yaml", help="The job; paths in it are relative to it.")]
Changes = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a field of the job; repeatable.")
]


def add_to(app: typer.Typer) -> None:
    """Register the group."""
    group = typer.Typer(no_args_is_help=True, help="Write, check and explain jobs, and verify what they left.")
    for name, command, text in (
        ("init", _init, _INIT),
        ("validate", _validate, _VALIDATE),
        ("explain", _explain, _EXPLAIN),
        ("schema", _schema, _SCHEMA),
        ("verify", _verify, _VERIFY),
    ):
        group.command(name, help=text)(command)
    app.add_typer(group, name="job")


def _init(
    model: options.Model,
    *,
    data: Annotated[Path, typer.Option("--data", "-d", metavar="PATH", help="The calibration samples.")],
    tuning: Annotated[Path | None, typer.Option(metavar="PATH", help="Samples that compare the methods.")] = None,
    evaluation: Annotated[Path | None, typer.Option(metavar="PATH", help="Samples that score the result.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="PATH", help="The job to write.")] = Path(
        "job.yaml"
    ),
    run: Annotated[Path, typer.Option(metavar="FOLDER", help="The run folder.")] = Path("run"),
    target: options.Target = "tensorrt",
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    from quantlab.jobs.job_template import NewJob, init_job

    sets = {"calibration": data, "tuning": tuning, "evaluation": evaluation}
    given = {name: place for name, place in sets.items() if place is not None}
    notes = init_job(NewJob(model, given, output, run, target))
    out = Output(as_json, quiet)
    out.remarks(notes)
    out.say(f"{output} written; look at it, then: quantlab run {output}")
    out.result({"job": output, "notes": notes})


def _validate(
    job: JobFile, changes: Changes = None, as_json: options.Json = False, quiet: options.Quiet = False
) -> None:
    from quantlab.errors import InputError
    from quantlab.jobs.job_fields import read_fields, this_environment
    from quantlab.jobs.job_problems import problems_of
    from quantlab.jobs.job_template import GUESSED, still_guessed

    problems = problems_of(job, changes or [], this_environment())
    out = Output(as_json, quiet)
    for found in problems[:_SHOWN]:
        line = f", line {found.line}" if found.line else ""
        out.note(f"'{job}'{line}: {found}.")
    if len(problems) > _SHOWN:
        out.note(f"And {len(problems) - _SHOWN:,} more.")
    notes = [GUESSED] if still_guessed(read_fields(job, changes or [], this_environment())) else []
    out.remarks(notes)
    if not problems:
        out.say(f"{job} is a valid job.")
    listed = [{"field": found.field, "line": found.line, "text": found.text} for found in problems]
    out.result({"job": job, "valid": not problems, "problems": listed, "notes": notes})
    if problems:
        raise typer.Exit(InputError.exit_code)


def _explain(
    job: JobFile, changes: Changes = None, as_json: options.Json = False, quiet: options.Quiet = False
) -> None:
    from quantlab.jobs.explaining import explain
    from quantlab.jobs.job_fields import MATRIX, read_fields, this_environment
    from quantlab.jobs.job_file import job_of
    from quantlab.jobs.matrix_section import cells_of

    found = read_fields(job, changes or [], this_environment())
    out = Output(as_json, quiet)
    cells = cells_of(found) if found.values.get(MATRIX) is not None else ()
    told = {} if cells else {"": explain(found, job_of(found))}
    for cell in cells:
        explanation = _of_cell(out, cell)
        if explanation is not None:
            told[cell.name] = explanation
    for name, explanation in told.items():
        _tell(out, name, explanation)
    plain = {name: _plain(explanation) for name, explanation in told.items()}
    out.result({"cells": plain} if cells else plain[""])


def _of_cell(out: Output, cell: Cell) -> Explanation | None:
    """Return what a cell of a matrix would do; if it cannot, say so and go on, as the others can be explained."""
    from quantlab.errors import QuantlabError
    from quantlab.jobs.explaining import explain
    from quantlab.jobs.job_file import job_of

    try:
        return explain(cell.fields, job_of(cell.fields))
    except QuantlabError as error:
        out.note(f"{cell.name}: {error}")
        return None


def _tell(out: Output, name: str, found: Explanation) -> None:
    if name:
        out.say(f"\n{name}")
    shown = [(v.name, json.dumps(v.value, ensure_ascii=False), v.origin) for v in found.values]
    out.table(("field", "value", "from"), shown)
    out.say("")
    out.table(("input", "place", "samples", "digest"), [(i.role, i.place, i.samples, i.digest) for i in found.inputs])
    out.say("")
    steps = [(f"{step.number} {step.title}", step.state, step.why) for step in found.steps]
    out.table(("step", "state", "why"), steps)
    if found.leftovers:
        out.note(f"Note: another job left {', '.join(found.leftovers)} in the run folder; --force removes them.")


def _plain(found: Explanation) -> dict[str, object]:
    return {
        "values": {value.name: {"value": value.value, "from": value.origin} for value in found.values},
        "inputs": [{"role": i.role, "place": i.place, "digest": i.digest, "samples": i.samples} for i in found.inputs],
        "steps": [{"number": s.number, "title": s.title, "state": s.state, "why": s.why} for s in found.steps],
        "leftovers": list(found.leftovers),
    }


def _schema() -> None:
    from quantlab.jobs.job_schema import job_schema

    sys.stdout.write(json.dumps(job_schema(), ensure_ascii=False, indent=1) + "\n")


def _verify(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The output folder of a job.")],
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    from quantlab.jobs.manifest import listed, run_of
    from quantlab.jobs.run_facts import verified

    wrong = verified(folder)
    run, files = run_of(folder), listed(folder)
    out = Output(as_json, quiet)
    for text in wrong:
        out.note(text)
    out.table(("file", "made by"), [(name, entry.recipe.command) for name, entry in files.items()])
    if run:
        machine = run.get("machine", {})
        out.say(f"Made by: {' '.join(run.get('command', ()))}")
        ran = ", ".join(f"{name} {found}" for name, found in run.get("versions", {}).items())
        out.say(f"On: {machine.get('processor')} ({machine.get('instruction_set')}); {ran}")
    out.say(
        f"{len(files)} files, {len(wrong)} of them wrong."
        if wrong
        else f"All {len(files)} files are as they were made."
    )
    out.result({"folder": folder, "verified": not wrong, "wrong": wrong, "run": run, "files": list(files)})
    if wrong:
        raise typer.Exit(1)
