"""`quantlab compare`: what INT8 costs, on labelled data."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quantlab.cli import options
from quantlab.cli.console import Output
from quantlab.cli.help_text import described

if TYPE_CHECKING:
    from quantlab.comparison.comparison import Comparison
    from quantlab.jobs.lining_up import LiningUp
    from quantlab.jobs.step import Remake

_HELP = described(
    "Run the float and the INT8 model over the same samples: scores with paired intervals, agreement, errors of outputs and "
    "tensors. A model for TensorRT is simulated (the arithmetic of its INT8 kernels, on the CPU), one for ort runs optimized. A .plan "
    "runs in TensorRT. Several candidates become one table.",
    examples=(
        "quantlab compare model.onnx run/model.int8.onnx -d eval/ --preprocess imagenet.yaml -o run/compare.json",
        "quantlab compare model.onnx run/model.int8.onnx -d eval.npz --scales run/scales.json --max-drop 0.5 -o run/compare.json",
        "quantlab compare model.onnx run/model.ort.onnx -d eval.npz --latency -o run/compare-ort.json",
        "quantlab compare model.onnx run/model.int8.onnx -d tuning.npz --not-final -o run/tuning.json",
        "quantlab compare yolo.onnx int8.onnx -d val/ --preprocess yolo.yaml --metric map:yolov8 --labels coco.json -o map.json",
        "quantlab compare model.onnx fp32.plan int8.plan -d eval.npz --batches 1,32,128 -o run/engines.json",
        "quantlab compare model.onnx fp32.plan int8.plan -d eval.npz --three-way run/model.int8.onnx -o run/guilty.json",
    ),
    exits=(0, 1, 2, 4, 5, 6, 75, 130),
)


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("compare", help=_HELP)(_compare)


def _compare(
    fp32: Annotated[Path, typer.Argument(metavar="FP32.onnx", help="The float model.")],
    int8: Annotated[
        list[Path],
        typer.Argument(metavar="INT8…", help="The model with Q/DQ; or several models and plans, for a table."),
    ],
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
    batches: Annotated[
        str | None,
        typer.Option(
            metavar="N,…", help="Time every engine at these batch sizes; a plan on the GPU, with CUDA graph too."
        ),
    ] = None,
    simulation: Annotated[
        Path | None,
        typer.Option(
            "--three-way",
            metavar="QDQ.onnx",
            help="Name who is to blame, of FP32.onnx, a float engine and an INT8 engine; QDQ.onnx simulates the last.",
        ),
    ] = None,
    no_labels: Annotated[
        bool, typer.Option("--no-labels", help="Leave labels out: agreement and errors only.")
    ] = False,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="What to score by: top:5, f1:macro, balanced-accuracy, miou, map:yolov8, word-accuracy, spearman, cosine …; "
            "repeatable. By default top-1 and top-5.",
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Labels that are not one integer a sample: COCO's .json, a .csv (name,text; name,value; first,second,value), or "
            "a .npz of masks.",
        ),
    ] = None,
    max_drop: Annotated[
        float | None, typer.Option(min=0.0, metavar="POINTS", help="Exit code 1 if the first metric falls by more.")
    ] = None,
    custom_ops: options.CustomOps = None,
    workers: options.Workers = None,
    engine: options.WorkersEngine = "processes",
    address: options.Address = None,
    threads: options.Threads = None,
    timeout: options.Timeout = None,
    allow_mixed: options.AllowMixed = False,
    force: options.Force = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    from dataclasses import replace

    from quantlab.cli.progress import progress
    from quantlab.cli.scores import show_comparison
    from quantlab.errors import InputError
    from quantlab.jobs.comparing import Comparing, Mode, compare_models, read_comparison
    from quantlab.jobs.lining_up import LiningUp, is_plan

    fields = options.preprocess_fields(
        preprocess, resize=resize, crop=crop, layout=layout, color=color, scale=scale, mean=mean, std=std
    )
    source = options.data_source(
        data, fields, batch=batch, input=input, label_pattern=label_pattern, skip_bad=skip_bad, random=random
    )
    source = replace(source, labels=labels)
    metrics = _checked(metric, max_drop)
    mode: Mode | None = None if optimize is None else "optimize" if optimize else "simulate"
    ops = tuple(custom_ops or ())
    remake: Remake = "always" if force else "never"
    out = Output(as_json, quiet)
    asked = options.workers(workers, engine, address=address, threads=threads, timeout=timeout, allow_mixed=allow_mixed)
    if len(int8) > 1 or batches is not None or simulation is not None or is_plan(fp32) or is_plan(int8[0]):
        _refuse_alone(scales=scales, latency=latency, max_drop=max_drop, workers=asked.asked)
        many = LiningUp(
            fp32=fp32,
            candidates=tuple(int8),
            data=source,
            output=output,
            simulation=simulation,
            mode=mode,
            final=not not_final,
            labels=not no_labels,
            custom_ops=ops,
            batches=_sizes(batches),
            metrics=metrics,
        )
        _show_many(out, many, remake)
        return
    what = Comparing(
        fp32,
        int8[0],
        source,
        output,
        scales=scales,
        mode=mode,
        final=not not_final,
        latency=latency,
        labels=not no_labels,
        custom_ops=ops,
        metrics=metrics,
        workers=asked,
    )
    out.remarks(asked.remarks)
    with progress("comparing", quiet=quiet) as advance:
        made = compare_models(what, remake=remake, progress=advance)
    found = read_comparison(made.path)
    if max_drop is not None and not found.metrics:
        raise InputError("The data have no labels, so there is no drop to hold against --max-drop.")
    show_comparison(out, found)
    out.made(made)
    lost = _too_much(found, max_drop)
    out.result({"output": made.path, "fresh": made.fresh, "notes": made.notes, "passed": not lost, **found.to_json()})
    if lost:
        out.note(f"The drop of {found.metrics[0].drop:.2f} points is more than the {max_drop:g} allowed.")
        raise typer.Exit(1)


def _checked(metric: list[str] | None, max_drop: float | None) -> tuple[str, ...]:
    """Return the metrics' names; unknown ones, and a limit in points on what is no share, are refused before anything runs."""
    from quantlab.errors import UsageError
    from quantlab.jobs.metric_choice import parsed

    names = tuple(metric or ())
    found = parsed(names)
    if max_drop is not None and found and not getattr(found[0], "in_points", False):
        raise UsageError(f"--max-drop is in points, and «{found[0].name}», the first metric, is no share.")
    return names


def _show_many(out: Output, what: "LiningUp", remake: "Remake") -> None:
    from quantlab.cli.progress import progress
    from quantlab.cli.scores import show_lineup, show_three_way
    from quantlab.comparison.three_way import ThreeWay
    from quantlab.jobs.lining_up import line_up, read_result

    with progress("comparing", quiet=out.quiet) as advance:
        made = line_up(what, remake=remake, progress=advance)
    found = read_result(made.path)
    if isinstance(found, ThreeWay):
        show_three_way(out, found)
    else:
        show_lineup(out, found)
    out.made(made)
    out.result({"output": made.path, "fresh": made.fresh, "notes": made.notes, **found.to_json()})


def _refuse_alone(*, scales: Path | None, latency: bool, max_drop: float | None, workers: bool) -> None:
    from quantlab.errors import UsageError

    given = {"--scales": scales is not None, "--latency": latency, "--max-drop": max_drop is not None}
    given |= {"--workers": workers}
    for name, is_given in given.items():
        if is_given:
            raise UsageError(
                f"{name} goes with one FP32 and one INT8 model, not with plans, several candidates, --batches or "
                "--three-way (times of many are --batches 1,32)."
            )


def _sizes(text: str | None) -> tuple[int, ...]:
    from quantlab.errors import UsageError

    parts = [] if text is None else text.split(",")
    if any(not part.strip().isdecimal() or int(part) < 1 for part in parts):
        raise UsageError(f"--batches takes positive whole numbers, as 1,32,128, not «{text}».")
    return tuple(dict.fromkeys(int(part) for part in parts))


def _too_much(found: "Comparison", max_drop: float | None) -> bool:
    return max_drop is not None and found.metrics[0].drop > max_drop
