"""`quantlab lint`: what a runtime would refuse or run slowly in anyone's Q/DQ model."""

from pathlib import Path
from typing import Annotated

import typer

from quantlab.cli import options
from quantlab.cli.console import Output
from quantlab.cli.help_text import described

_HELP = described(
    "Check the Q/DQ of a model against a runtime's rules, without that runtime; errors make the exit code 1.",
    examples=(
        "quantlab lint model.int8.onnx",
        "quantlab lint model.int8.onnx --target tensorrt@8.6 --json",
    ),
    exits=(0, 1, 2, 4),
)


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("lint", help=_HELP)(_lint)


def _lint(
    model: Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="The model with Q/DQ.")],
    target: options.Target = "tensorrt",
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    from quantlab.caches.words import counted
    from quantlab.graph.lint import lint_qdq
    from quantlab.graph.model import load_model
    from quantlab.graph.target import Target
    from quantlab.jobs.checks import check_target

    check_target(target)
    wanted = Target.parse(target)
    found = lint_qdq(load_model(model), wanted)
    counts = {severity: sum(f.severity == severity for f in found) for severity in ("error", "warning", "note")}
    out = Output(as_json, quiet)
    if found:
        out.table(
            ("severity", "rule", "place", "what is wrong", "what to do"),
            [(f.severity, f.rule, f.node or f.tensor, f.message, f.fix) for f in found],
        )
    out.say(f"{model}: {', '.join(counted(count, severity) for severity, count in counts.items())} for {wanted}.")
    names = ("rule", "severity", "node", "tensor", "message", "fix")
    findings = [{name: getattr(f, name) for name in names} for f in found]
    out.result({"model": model, "target": str(wanted), "counts": counts, "findings": findings})
    if counts["error"]:
        raise typer.Exit(1)
