"""`quantlab collect`: a float model and data in, histograms out."""

from typing import TYPE_CHECKING, Annotated

import typer

from quantlab.cli import options
from quantlab.cli.console import Output
from quantlab.cli.help_text import described

if TYPE_CHECKING:
    from quantlab.jobs.collecting import Expose

_HELP = described(
    "Run the float model over calibration data and count a histogram of every wanted tensor.",
    examples=(
        "quantlab collect model.onnx --data calib/ --preprocess imagenet.yaml -o run/histograms.h5",
        "quantlab collect model.onnx -d calib.npz --scale 1/255 --mean 0.286 --std 0.353 --color GRAY -o run/histograms.h5",
        "quantlab collect model.onnx -d loader.py --expose all -o run/histograms.h5",
        "quantlab collect model.onnx -d calib/ --preprocess imagenet.yaml --tensorrt-grid 32 -o run/trt.h5",
        "quantlab collect model.onnx -d calib/ --preprocess imagenet.yaml --workers 4 --timeout 300 -o run/histograms.h5",
        "quantlab collect model.onnx -d calib/ --preprocess imagenet.yaml --engine ray --address auto --workers 16 -o run/histograms.h5",
    ),
)


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("collect", help=_HELP)(_collect)


def _collect(
    model: options.Model,
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
    expose: Annotated[
        list[str] | None,
        typer.Option(metavar="WHAT", help="quantizable (default), all, or a tensor name or pattern; repeatable."),
    ] = None,
    target: options.Target = "tensorrt",
    budget: Annotated[str, typer.Option(metavar="SIZE", help="Memory for exposed activations.")] = "512MiB",
    tensorrt_grid: Annotated[
        int | None,
        typer.Option(min=1, metavar="BATCH", help="Count TensorRT's own histograms, for the tensorrt-… methods."),
    ] = None,
    allow_nonfinite: Annotated[
        bool, typer.Option("--allow-nonfinite", help="Count NaN and infinities instead of refusing them.")
    ] = False,
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
    from quantlab.cli.progress import progress
    from quantlab.jobs.checks import check_target
    from quantlab.jobs.collecting import Collecting, collect_histograms
    from quantlab.jobs.sizes import parse_bytes
    from quantlab.storage.histograms_h5 import read_histograms

    check_target(target)
    fields = options.preprocess_fields(
        preprocess, resize=resize, crop=crop, layout=layout, color=color, scale=scale, mean=mean, std=std
    )
    source = options.data_source(
        data, fields, batch=batch, input=input, label_pattern=label_pattern, skip_bad=skip_bad, random=random
    )
    asked = options.workers(workers, engine, address=address, threads=threads, timeout=timeout, allow_mixed=allow_mixed)
    what = Collecting(
        model=model,
        data=source,
        output=output,
        expose=_exposed(expose or ["quantizable"]),
        targets=(target,),
        tensorrt_grid=tensorrt_grid,
        budget=parse_bytes(budget),
        nonfinite="count" if allow_nonfinite else "refuse",
        custom_ops=tuple(custom_ops or ()),
        workers=asked,
    )
    out = Output(as_json, quiet)
    out.remarks(asked.remarks)
    with progress("collecting", quiet=quiet) as advance:
        made = collect_histograms(what, remake="always" if force else "never", progress=advance)
    found = read_histograms(made.path)
    sets = found.provenance.chosen_on
    out.made(made, f"{len(found)} tensors on {sets[0].count:,} samples ({found.provenance.grid})")
    out.result(
        {
            "output": made.path,
            "fresh": made.fresh,
            "notes": made.notes,
            "tensors": list(found),
            "derived": dict(found.derived),
            "provenance": found.provenance.to_json(),
        }
    )


def _exposed(names: list[str]) -> "Expose":
    if names == ["quantizable"]:
        return "quantizable"
    return "all" if names == ["all"] else tuple(names)
