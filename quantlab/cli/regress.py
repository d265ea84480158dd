"""`quantlab regress`: may the candidate take the baseline's place."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quantlab.cli import options
from quantlab.cli.console import Output
from quantlab.cli.help_text import described

if TYPE_CHECKING:
    from quantlab.jobs.regressing import Sink
    from quantlab.regression.check import Check
    from quantlab.regression.regression import Regression

_HELP = described(
    "Compare two runs on the samples that both share: what the candidate's INT8 network loses against the baseline's, with paired "
    "statistics, by class and slice, how far scales moved, and latency and size. A run is the output folder of `quantlab run`, or "
    "the .json file of `quantlab compare`; they may differ in model, data, method, versions or GPU. Exit code 1: the candidate "
    "must not ship; 3: too few samples to tell, and how many would do.",
    examples=(
        "quantlab regress --baseline runs/main --candidate runs/branch",
        "quantlab regress --baseline runs/main --candidate runs/branch --policy policy.yaml --html regression.html",
        "quantlab regress --baseline a.json --candidate b.json -o regression.json --markdown summary.md --junit junit.xml",
        "quantlab regress --baseline runs/main --candidate runs/branch --history reports/history --label 1.4.0",
        "quantlab regress --policy-schema > policy.schema.json",
    ),
    exits=(0, 1, 2, 3, 4, 5, 6),
)
_WORST = 5


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("regress", help=_HELP)(_regress)


def _print_schema(asked: bool) -> None:
    if asked:
        import json

        from quantlab.jobs.policy_file import policy_schema

        print(json.dumps(policy_schema(), indent=1))
        raise typer.Exit


def _regress(
    baseline: Annotated[Path, typer.Option(metavar="RUN", help="What shipped: a run folder, or a comparison's .json.")],
    candidate: Annotated[Path, typer.Option(metavar="RUN", help="What is to take its place.")],
    *,
    policy: Annotated[
        Path | None, typer.Option(metavar="YAML", help="What may be lost; by default no significant loss.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="JSON", help="Write all that was found, for machines.")
    ] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page on it.")] = None,
    markdown: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a summary for a pull request.")] = None,
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="Write JUnit XML, a test case a check.")] = None,
    history: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Add the candidate and its verdict to this history.")
    ] = None,
    label: Annotated[str, typer.Option(metavar="TEXT", help="Its label there, for instance a commit.")] = "",
    _schema: Annotated[
        bool,
        typer.Option(
            "--policy-schema", is_eager=True, callback=_print_schema, help="Print the policy's JSON Schema and exit."
        ),
    ] = False,
    force: options.Force = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    from quantlab.errors import UsageError
    from quantlab.jobs.histories import remember
    from quantlab.jobs.regressing import Regressing, regress_runs

    if label and history is None:
        raise UsageError("--label is the candidate's in a history: give --history FOLDER too.")
    asked: dict[Sink, Path | None] = {"json": output, "html": html, "markdown": markdown, "junit": junit}
    outputs = {kind: path for kind, path in asked.items() if path is not None}
    what = Regressing(baseline, candidate, policy, outputs)
    done = regress_runs(what, remake="always" if force else "never")
    out = Output(as_json, quiet)
    _show(out, done.found)
    number = None
    if history is not None:
        verdict = done.found.verdict
        record, _ = remember(candidate, history, label=label, verdict=verdict, against=done.found.baseline.name)
        number = record.number
        out.say(f"Run {number} of the history in {history}.")
    for made in done.made:
        out.made(made)
    files = {str(made.path): made.fresh for made in done.made}
    exits = done.found.exit_code
    out.result({"exit_code": exits, "files": files, "history": number, **done.found.to_json()})
    if exits:
        raise typer.Exit(exits)


def _show(out: Output, found: Regression) -> None:
    """Print the verdict, the checks, what changed and what hurts most."""
    from quantlab.regression.words import rounded

    out.say(found.sentence)
    needed = found.needed_samples
    if needed is not None:
        out.say(f"About {rounded(needed)} samples would decide; these runs share {found.samples:,}.")
    out.table(("check", "state", "measured", "interval", "limit", "p"), [_row(check) for check in found.checks])
    changed = "; ".join(found.differences) or "nothing that is known of"
    out.say(f"Between the runs changed: {changed}.")
    for check in found.further:
        out.say(f"{check.state}: {check.sentence}")
    moved = [drift for drift in found.drifts if drift.state != "pass"]
    if moved:
        out.say(f"The {min(_WORST, len(moved))} of {len(moved)} tensors whose scale moved too far")
        rows = [(drift.tensor, drift.baseline, drift.candidate, drift.ratio) for drift in moved[:_WORST]]
        out.table(("tensor", "scale before", "now", "ratio"), rows)
    worse = [flip for flip in found.flips if flip.effect == "worse"]
    if worse:
        named = ", ".join(flip.name or f"sample {flip.index}" for flip in worse[:_WORST])
        out.say(f"{len(worse):,} samples got worse: {named}{' …' if len(worse) > _WORST else ''}")


def _row(check: Check) -> tuple[str, ...]:
    from quantlab.report.regression_data import chance, interval_of, value_of, with_unit

    limit = with_unit(check.limit, check.unit)
    return (check.name, check.state, value_of(check), interval_of(check), limit, chance(check.p_value))
