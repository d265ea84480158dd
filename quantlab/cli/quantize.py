"""`quantlab quantize`: a float model and scales in, a Q/DQ model out."""

from pathlib import Path
from typing import Annotated

import typer

from quantlab.cli import options
from quantlab.cli.console import Output
from quantlab.cli.floats import by_reason
from quantlab.cli.help_text import described

_HELP = described(
    "Build an INT8 model with explicit Q/DQ, and list what stays float and why.",
    examples=(
        "quantlab quantize model.onnx run/scales.json -o run/model.int8.onnx",
        "quantlab quantize model.onnx run/scales.json --target tensorrt@8.6 --weights qdq -o run/model.int8.onnx",
        "quantlab quantize model.onnx run/scales.json --target ort -o run/model.ort.onnx",
        "quantlab quantize model.onnx trt.cache --allow-missing -o run/model.int8.onnx",
    ),
)


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("quantize", help=_HELP)(_quantize)


def _quantize(
    model: options.Model,
    scales: Annotated[
        Path, typer.Argument(metavar="SCALES", help="A scale table (.json, .csv), or a TensorRT calibration cache.")
    ],
    output: options.Output,
    *,
    target: options.Target = "tensorrt",
    weights: options.Weights = "int8",
    head: options.Head = "float",
    allow_missing: options.AllowMissing = False,
    force: options.Force = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    from quantlab.jobs.quantizing import Quantizing, quantize_model, rebuilt

    choice = options.quantize_options(target, weights, head, allow_missing=allow_missing)
    what = Quantizing(model, scales, output, choice)
    made, built = quantize_model(what, remake="always" if force else "never")
    out = Output(as_json, quiet)
    if built is not None:
        out.say("What stays float")
        out.table(("reason", "number", "names"), by_reason(built.floats))
        summary = f"{len(built.quantized)} activations and {len(built.weights)} weights in INT8 for {built.target}, {len(built.floats)} float"
        out.made(made, summary)
    else:
        out.made(made)
        built = rebuilt(what) if as_json else None
    out.result(
        {
            "output": made.path,
            "fresh": made.fresh,
            "notes": made.notes,
            "target": target,
            "quantized": list(built.quantized) if built else None,
            "weights": [row.tensor for row in built.weights] if built else None,
            "floats": dict(built.floats) if built else None,
        }
    )
