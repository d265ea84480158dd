"""`quantlab tune`: PTQ as good as it gets, against a stated target."""

import math
import sys
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from quantlab.cli import options
from quantlab.cli.console import Output
from quantlab.cli.help_text import described, exit_code

_HELP = described(
    "Search for an INT8 form of a network that loses no more than a target allows: thresholds, weights, equalization, bias "
    "correction, smoothing, adaptive rounding, learned scales, and the fewest operators left in float. Each trial is measured in a simulation "
    "of TensorRT's arithmetic and printed; the search ends when the target holds, and goes on where it was stopped. Exit "
    "code 1: the target was missed; 3: it held on the samples that chose, and the evaluation has too few to tell.",
    examples=(
        "quantlab tune model.onnx --data calib/ --preprocess imagenet.yaml --label-pattern '^(\\d+)_' --max-drop 0.5 -o run",
        "quantlab tune model.onnx -d calib.npz --tuning tuning.npz --evaluation eval.npz --max-drop 0.3 -o run",
        "quantlab tune encoder.onnx -d texts.npz --min-sqnr 25 --max-drop none -o run",
        "quantlab tune detector.onnx -d photos/ --fidelity boxes.py:average_precision --min-fidelity 0.95 --max-drop none -o run",
    ),
    exits=(0, 1, 2, 3, 4, 5, 6, 75, 130),
)


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("tune", help=_HELP)(_tune)


def _tune(
    model: options.Model,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="The folder to write.")],
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
    tuning: Annotated[
        str | None, typer.Option(metavar="PATH", help="What trials are measured on; by default the data.")
    ] = None,
    evaluation: Annotated[
        str | None, typer.Option(metavar="PATH", help="Data that choose nothing, for the last word.")
    ] = None,
    max_drop: Annotated[
        str, typer.Option(metavar="POINTS|none", help="Percentage points of top-1 that may be lost.")
    ] = "0.5",
    min_agreement: Annotated[
        float | None, typer.Option(metavar="SHARE", help="Samples that must stay in FP32's class.")
    ] = None,
    min_sqnr: Annotated[
        float | None, typer.Option(metavar="DB", help="Signal-to-noise ratio of the worst output.")
    ] = None,
    min_fidelity: Annotated[float | None, typer.Option(metavar="X", help="Mean that --fidelity must reach.")] = None,
    fidelity: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.py:FUNCTION", help="(FP32's outputs, INT8's outputs) → a value a sample, larger is better."
        ),
    ] = None,
    confidence: Annotated[float, typer.Option(metavar="SHARE", help="Of the interval that must keep the drop.")] = 0.95,
    rung: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Climb these alone; «thresholds» always; repeatable.")
    ] = None,
    samples: Annotated[int | None, typer.Option(min=1, metavar="N", help="Tuning samples at most.")] = None,
    no_labels: Annotated[bool, typer.Option("--no-labels", help="Leave labels out.")] = False,
    modes: Annotated[
        bool, typer.Option("--modes", help="Also measure weight-only and dynamic quantization, for comparison.")
    ] = False,
    target: options.Target = "tensorrt",
    weights: options.Weights = "int8",
    head: options.Head = "float",
    force: options.Force = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    from quantlab.cli.searching import Lines
    from quantlab.jobs.tuning import Searching, beside, search
    from quantlab.tuning.target import Target
    from quantlab.tuning.tune import RUNGS

    fields = options.preprocess_fields(
        preprocess, resize=resize, crop=crop, layout=layout, color=color, scale=scale, mean=mean, std=std
    )
    source = options.data_source(
        data, fields, batch=batch, input=input, label_pattern=label_pattern, skip_bad=skip_bad, random=random
    )
    what = Searching(
        model,
        source,
        output,
        tuning=beside(source, tuning),
        evaluation=beside(source, evaluation),
        target=Target(_points(max_drop), min_agreement, min_sqnr, min_fidelity, confidence),
        options=options.quantize_options(target, weights, head, allow_missing=False),
        fidelity=fidelity,
        rungs=("thresholds", *(r for r in rung if r != "thresholds")) if rung else tuple(RUNGS),
        samples=samples,
        labels=not no_labels,
        modes=modes,
    )
    out = Output(as_json, quiet)
    lines = Lines(out)
    with lines, redirect_stdout(sys.stderr) if as_json else nullcontext():  # for what a fidelity function prints
        found = search(what, fresh=force, on_trial=lines.trial, watch=lines.watch)
    out.say(found.tuned.verdict)
    out.remarks(found.notes)
    for path in found.paths:
        out.say(f"{path} written.")
    out.result({"files": {path.name: path for path in found.paths}, "notes": found.notes, **found.tuned.to_json()})
    if code := exit_code(found.tuned.standing):
        raise typer.Exit(code)


def _points(text: str) -> float | None:
    from quantlab.errors import UsageError

    if text.strip().lower() == "none":
        return None
    try:
        points = float(text)
    except ValueError:
        points = math.nan
    if not math.isfinite(points):
        raise UsageError(f"--max-drop is a number of percentage points, or none, not «{text}».")
    return points
