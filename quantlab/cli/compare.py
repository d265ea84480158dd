"""`quantlab compare`: what INT8 costs, on labelled data."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quantlab.cli import options
from quantlab.cli.console import Output
from quantlab.cli.help_text import described

if TYPE_CHECKING:
    from quantlab.comparison.comparison import Comparison

_HELP = described(
    "Run the float and the INT8 model over the same samples: scores with paired intervals, agreement, errors of outputs and "
    "tensors. A model for TensorRT is simulated (ONNX Runtime's graph optimization off), one for ort runs optimized.",
    examples=(
        "quantlab compare model.onnx run/model.int8.onnx -d eval/ --preprocess imagenet.yaml -o run/compare.json",
        "quantlab compare model.onnx run/model.int8.onnx -d eval.npz --scales run/scales.json --max-drop 0.5 -o run/compare.json",
        "quantlab compare model.onnx run/model.ort.onnx -d eval.npz --latency -o run/compare-ort.json",
        "quantlab compare model.onnx run/model.int8.onnx -d tuning.npz --not-final -o run/tuning.json",
    ),
    exits=(0, 1, 2, 4, 5, 6),
)


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("compare", help=_HELP)(_compare)


def _compare(
    fp32: Annotated[Path, typer.Argument(metavar="FP32.onnx", help="The float model.")],
    int8: Annotated[Path, typer.Argument(metavar="INT8.onnx", help="The model with Q/DQ.")],
    output: options.Output,
    *,
    data: options.Data = None,
    preprocess: options.Preprocess = None,
    resize: options.Resize = None,
    crop: options.Crop = None,
    layout: options.Layout = None,
    color: options.Color = None,
    scale: options.ScaleBy = None,
    mean: options.Mean = None,
    std: options.Std = None,
    batch: options.Batch = 32,
    input: options.Input = None,  # noqa: A002 - the option's name
    label_pattern: options.LabelPattern = None,
    skip_bad: options.SkipBad = False,
    random: options.Random = None,
    scales: Annotated[
        Path | None,
        typer.Option(
            metavar="SCALES", help="Also measure every tensor: its own error, and what has come together by it."
        ),
    ] = None,
    optimize: Annotated[
        bool | None,
        typer.Option(
            "--optimize/--simulate", help="How the INT8 model runs; by default as it was made for.", show_default=False
        ),
    ] = None,
    not_final: Annotated[
        bool, typer.Option("--not-final", help="The score is for choosing, so data that had a say are allowed.")
    ] = False,
    latency: Annotated[
        bool, typer.Option("--latency", help="Also time both, in turn; needs an optimized INT8 model.")
    ] = False,
    no_labels: Annotated[
        bool, typer.Option("--no-labels", help="Leave labels out: agreement and errors only.")
    ] = False,
    max_drop: Annotated[
        float | None, typer.Option(min=0.0, metavar="POINTS", help="Exit code 1 if top-1 falls by more.")
    ] = None,
    force: options.Force = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    from quantlab.cli.progress import progress
    from quantlab.cli.scores import show_comparison
    from quantlab.errors import InputError
    from quantlab.jobs.comparing import Comparing, compare_models, read_comparison

    fields = options.preprocess_fields(
        preprocess, resize=resize, crop=crop, layout=layout, color=color, scale=scale, mean=mean, std=std
    )
    source = options.data_source(
        data, fields, batch=batch, input=input, label_pattern=label_pattern, skip_bad=skip_bad, random=random
    )
    what = Comparing(
        fp32,
        int8,
        source,
        output,
        scales=scales,
        mode=None if optimize is None else "optimize" if optimize else "simulate",
        final=not not_final,
        latency=latency,
        labels=not no_labels,
    )
    with progress("comparing", quiet=quiet) as advance:
        made = compare_models(what, remake="always" if force else "never", progress=advance)
    found = read_comparison(made.path)
    if max_drop is not None and not found.metrics:
        raise InputError("The data have no labels, so there is no drop to hold against --max-drop.")
    out = Output(as_json, quiet)
    show_comparison(out, found)
    out.made(made)
    lost = _too_much(found, max_drop)
    out.result({"output": made.path, "fresh": made.fresh, "notes": made.notes, "passed": not lost, **found.to_json()})
    if lost:
        out.note(f"The drop of {found.metrics[0].drop:.2f} points is more than the {max_drop:g} allowed.")
        raise typer.Exit(1)


def _too_much(found: "Comparison", max_drop: float | None) -> bool:
    return max_drop is not None and found.metrics[0].drop > max_drop
