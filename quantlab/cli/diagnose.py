"""`quantlab diagnose`: what is wrong with a calibration."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quantlab.cli import options
from quantlab.cli.console import Output
from quantlab.cli.help_text import described

if TYPE_CHECKING:
    from quantlab.diagnosis.diagnosis import Diagnosis
    from quantlab.jobs.collecting import Expose

_HELP = described(
    "Tell what is wrong with a calibration: inputs prepared in another way than the network expects, single samples that set "
    "ranges, too few samples, evaluation data that differ from calibration data, and where samples that INT8 puts into "
    "another class go astray.",
    examples=(
        "quantlab diagnose model.onnx --data calib/ --preprocess imagenet.yaml",
        "quantlab diagnose model.onnx -d calib/ --evaluation eval/ --preprocess imagenet.yaml --scales run/scales.json",
        "quantlab diagnose model.onnx -d calib.npz --evaluation eval.npz --int8 run/model.int8.onnx -o run/diagnosis.json",
        "quantlab diagnose model.onnx -d calib.npz -m entropy -m percentile:99.99 --tolerance 0.05 --json",
    ),
)
_ROWS = 12


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("diagnose", help=_HELP)(_diagnose)


def _diagnose(
    model: options.Model,
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
    evaluation: Annotated[
        str | None,
        typer.Option(
            metavar="PATH", help="Data that should look like these, prepared in the same way: drift, and flips."
        ),
    ] = None,
    int8: Annotated[
        Path | None, typer.Option(metavar="INT8.onnx", help="The model with Q/DQ: which samples flip, and where.")
    ] = None,
    scales: Annotated[
        Path | None, typer.Option(metavar="SCALES", help="The scales in use, to tell what drift costs them.")
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            "-m",
            metavar="NAME",
            help="Whose thresholds to follow: minmax and squared-error by default; repeatable.",
        ),
    ] = None,
    tolerance: Annotated[
        float, typer.Option(metavar="SHARE", help="How closely a threshold has to be known: 0.02 is 2 %.")
    ] = 0.02,
    expose: Annotated[
        list[str] | None,
        typer.Option(metavar="WHAT", help="quantizable (default), all, or a tensor name or pattern; repeatable."),
    ] = None,
    target: options.Target = "tensorrt",
    budget: Annotated[str, typer.Option(metavar="SIZE", help="Memory for exposed activations.")] = "512MiB",
    allow_nonfinite: Annotated[
        bool, typer.Option("--allow-nonfinite", help="Leave NaN and infinities out instead of refusing them.")
    ] = False,
    custom_ops: options.CustomOps = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="PATH", help="Also write the diagnosis as .json.")
    ] = None,
    force: options.Force = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    from dataclasses import replace

    from quantlab.calibration.methods.names import parse_method
    from quantlab.cli.progress import progress
    from quantlab.jobs.checks import check_target
    from quantlab.jobs.diagnosing import Diagnosing, diagnose_model
    from quantlab.jobs.sizes import parse_bytes

    check_target(target)
    fields = options.preprocess_fields(
        preprocess, resize=resize, crop=crop, layout=layout, color=color, scale=scale, mean=mean, std=std
    )
    source = options.data_source(
        data, fields, batch=batch, input=input, label_pattern=label_pattern, skip_bad=skip_bad, random=random
    )
    what = Diagnosing(
        model,
        source,
        output,
        evaluation=None if evaluation is None else replace(source, place=evaluation, random=None),
        int8=int8,
        scales=scales,
        methods=tuple(parse_method(name) for name in method or ("minmax", "squared-error")),
        tolerance=tolerance,
        expose=_exposed(expose or ["quantizable"]),
        target=target,
        budget=parse_bytes(budget),
        nonfinite="count" if allow_nonfinite else "refuse",
        custom_ops=tuple(custom_ops or ()),
    )
    with progress("diagnosing", quiet=quiet) as advance:
        found, made = diagnose_model(what, remake="always" if force else "never", progress=advance)
    out = Output(as_json, quiet)
    _show(out, found)
    if made is not None:
        out.made(made)
    written = {} if made is None else {"output": made.path, "fresh": made.fresh, "notes": made.notes}
    out.result({**written, "findings": found.findings, **found.to_json()})


def _show(out: Output, found: "Diagnosis") -> None:
    for sentence in found.findings:
        out.say(sentence)
    if found.preprocessing.suspicious:
        out.table(
            ("inputs", "top probability", "nats", "right %", "BatchNorm nats"),
            [
                (t.name, _rounded(t.top), _rounded(t.information), _percent(t.accuracy), _rounded(t.mismatch))
                for t in found.preprocessing.tried
            ],
        )
    if found.setters:
        out.table(
            ("sample", "sets ranges of", "they fall by %"),
            [
                (
                    s.sample,
                    ", ".join(s.tensors[:3]) + (" …" if len(s.tensors) > 3 else ""),
                    _span(s.smallest, s.largest),
                )
                for s in found.setters[:_ROWS]
            ],
        )
    _show_convergence(out, found)
    if found.drift is not None and found.drift.drifted:
        out.table(
            ("tensor that differs", "times chance", "clipped %", "dB with these scales", "dB with its own"),
            [
                (d.tensor, _rounded(d.times_noise), _percent(d.clipped), _rounded(d.sqnr_db), _rounded(d.own_sqnr_db))
                for d in found.drift.drifted[:_ROWS]
            ],
        )
    if found.flips is not None and found.flips.flipped:
        out.table(
            ("flipped sample", "from", "to", "margin", "error jumps in", "dB", "usual dB"),
            [
                (f.flip.name or f"sample {f.flip.index}", f.flip.fp32, f.flip.int8, _rounded(f.margin), f.tensor or "–",
                 _rounded(f.sqnr_db), _rounded(f.usual_sqnr_db))
                for f in found.flips.flipped[:_ROWS]
            ],
        )  # fmt: skip


def _show_convergence(out: Output, found: "Diagnosis") -> None:
    for settling in found.convergence:
        if settling.sizes:
            half, most, every = settling.curve(0.5), settling.curve(), settling.curve(1.0)
            rows = zip(settling.sizes, half, most, every, strict=True)
            out.table(
                (f"{settling.method}: samples", "± %, half of the tensors", "± %, 95 % of them", "± %, all"),
                [(str(size), *(_percent(width) for width in widths)) for size, *widths in rows],
            )


def _exposed(names: list[str]) -> "Expose":
    if names == ["quantizable"]:
        return "quantizable"
    return "all" if names == ["all"] else tuple(names)


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.3g}")


def _percent(value: float | None) -> float | None:
    return None if value is None else float(f"{100 * value:.2g}")


def _span(low: float, high: float) -> str:
    one, two = f"{100 * low:.0f}", f"{100 * high:.0f}"
    return one if one == two else f"{one}–{two}"
