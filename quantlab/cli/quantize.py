"""`quantlab quantize`: a float model in, one with integers out; static quantization takes scales too."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quantlab.cli import options
from quantlab.cli.console import Output
from quantlab.cli.floats import by_reason
from quantlab.cli.help_text import described

if TYPE_CHECKING:
    from quantlab.builder import QuantizeOptions
    from quantlab.jobs.quantizing_weights import Mode, QuantizingWeights
    from quantlab.jobs.step import Remake

_HELP = described(
    "Build an INT8 model with explicit Q/DQ, and list what stays float and why. The other modes need no scales: weight-only "
    "stores weights as INT8, weight-only-int4 as INT4 in blocks where a matrix product allows it, and both keep activations "
    "float; dynamic lets ONNX Runtime take the ranges of activations from each batch.",
    examples=(
        "quantlab quantize model.onnx run/scales.json -o run/model.int8.onnx",
        "quantlab quantize model.onnx run/scales.json --target tensorrt@8.6 --weights qdq -o run/model.int8.onnx",
        "quantlab quantize model.onnx run/scales.json --target ort -o run/model.ort.onnx",
        "quantlab quantize model.onnx trt.cache --allow-missing -o run/model.int8.onnx",
        "quantlab quantize model.onnx --mode weight-only -o run/model.w8.onnx",
        "quantlab quantize model.onnx --mode weight-only-int4 --target tensorrt@10.3 --block 128 -o run/model.w4.onnx",
        "quantlab quantize model.onnx --mode dynamic -o run/model.dynamic.onnx",
    ),
)


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("quantize", help=_HELP)(_quantize)


def _quantize(
    model: options.Model,
    scales: Annotated[
        Path | None,
        typer.Argument(
            metavar="SCALES",
            help="A scale table (.json, .csv), or a TensorRT calibration cache; for the mode static alone.",
            show_default=False,
        ),
    ] = None,
    *,
    output: options.Output,
    mode: Annotated[
        str, typer.Option(metavar="MODE", help="static, weight-only, weight-only-int4 or dynamic.")
    ] = "static",
    target: Annotated[
        str | None,
        typer.Option(
            metavar="RUNTIME",
            help="tensorrt (static's default), tensorrt@8.6 … tensorrt@11.0, or ort (the other modes').",
            show_default=False,
        ),
    ] = None,
    weights: options.Weights = "int8",
    head: options.Head = "float",
    block: Annotated[
        int | None,
        typer.Option(
            metavar="32|64|128",
            help="INT4 values that share a scale: 32 by default, 64 for TensorRT, which takes no 32.",
            show_default=False,
        ),
    ] = None,
    allow_missing: options.AllowMissing = False,
    keep_float: Annotated[
        list[str] | None,
        typer.Option(metavar="NODE", help="An operator that stays float, as tune.json lists them; repeatable."),
    ] = None,
    force: options.Force = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    from quantlab.errors import UsageError
    from quantlab.jobs.quantizing_weights import MODES, QuantizingWeights

    remake: Remake = "always" if force else "never"
    out = Output(as_json, quiet)
    kept = tuple(keep_float or ())
    choice = options.quantize_options(target or "tensorrt", weights, head, allow_missing=allow_missing, keep_float=kept)
    if mode == "static":
        if scales is None:
            raise UsageError(f"Give SCALES after the model, or --mode {', '.join(MODES[:-1])} or {MODES[-1]} without.")
        if block is not None:
            raise UsageError("--block is for --mode weight-only-int4.")
        _static(model, scales, output, choice, remake, out)
        return
    known = next((one for one in MODES if one == mode), None)
    if known is None:
        raise UsageError(f"--mode is static, {', '.join(MODES[:-1])} or {MODES[-1]}, not «{mode}».")
    _refuse_static(known, scales, choice)
    _without_scales(QuantizingWeights(model, output, known, target or "ort", block), remake, out)


def _static(model: Path, scales: Path, output: Path, choice: "QuantizeOptions", remake: "Remake", out: Output) -> None:
    from quantlab.cli.phases import phases
    from quantlab.jobs.quantizing import Quantizing, quantize_model, rebuilt

    what = Quantizing(model, scales, output, choice)
    with phases("quantizing", quiet=out.quiet):
        made, built = quantize_model(what, remake=remake)
    if built is not None:
        out.say("What stays float")
        out.table(("reason", "number", "names"), by_reason(built.floats))
        summary = f"{len(built.quantized)} activations and {len(built.weights)} weights in INT8 for {built.target}, {len(built.floats)} float"
        out.made(made, summary)
    else:
        out.made(made)
        built = rebuilt(what) if out.as_json else None
    out.result(
        {
            "output": made.path,
            "fresh": made.fresh,
            "notes": made.notes,
            "target": choice.target,
            "quantized": list(built.quantized) if built else None,
            "weights": [row.tensor for row in built.weights] if built else None,
            "floats": dict(built.floats) if built else None,
        }
    )


def _without_scales(what: "QuantizingWeights", remake: "Remake", out: Output) -> None:
    from quantlab.cli.phases import phases
    from quantlab.jobs.quantizing_weights import quantize_weights, rebuilt_weights
    from quantlab.jobs.sizes import shown_bytes

    with phases("quantizing", quiet=out.quiet):
        made, built = quantize_weights(what, remake=remake)
    shown = rebuilt_weights(what) if built is None and out.as_json else built
    found = _described(shown) if shown is not None else {}
    if built is not None and found["floats"]:
        out.say("What stays float")
        out.table(("reason", "number", "names"), by_reason(found["floats"]))
    if built is not None and found["not_int4"]:
        out.say("What is INT8 and not INT4")
        out.table(("reason", "number", "names"), by_reason(found["not_int4"]))
    size = made.path.stat().st_size
    out.made(made, f"{found['summary']}, {shown_bytes(size)}" if built is not None else "")
    out.result(
        {
            "output": made.path,
            "fresh": made.fresh,
            "notes": made.notes,
            "mode": what.mode,
            "target": what.target,
            "bytes": size,
            **{key: found.get(key) for key in ("quantized", "weights", "int4", "floats")},
        }
    )


def _described(built: Any) -> dict[str, Any]:
    from quantlab.graph.weight_only import WeightOnly

    if not isinstance(built, WeightOnly):
        summary = f"{len(built.quantized)} nodes on integers, with activation ranges of each batch"
        return {"summary": summary, "quantized": built.quantized, "floats": dict(built.floats), "not_int4": {}}
    int4 = [weight.tensor for weight in built.weights if weight.dtype == "int4"]
    summary = f"{len(built.weights) - len(int4)} weights in INT8, {len(int4)} in INT4, activations float"
    return {
        "summary": summary,
        "weights": [weight.tensor for weight in built.weights],
        "int4": int4,
        "floats": dict(built.floats),
        "not_int4": {weight.tensor: weight.why_int8 for weight in built.weights if weight.why_int8},
    }


def _refuse_static(mode: "Mode", scales: Path | None, choice: "QuantizeOptions") -> None:
    """Refuse what only the mode static takes.

    Raises
    ------
    UsageError
        As described.
    """
    from quantlab.errors import UsageError

    if scales is not None:
        raise UsageError(f"--mode {mode} takes no scales: leave '{scales}' out, or --mode.")
    given = {
        "--weights qdq": choice.weights != "int8",
        "--head int8": choice.head != "float",
        "--keep-float": bool(choice.keep_float),
        "--allow-missing": choice.allow_missing,
    }
    for option, there in given.items():
        if there:
            raise UsageError(f"{option} is for static quantization: leave it out for --mode {mode}.")
