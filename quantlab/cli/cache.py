"""`quantlab cache`: show, compare and convert TensorRT calibration caches."""

from pathlib import Path
from typing import Annotated, Any

import typer

from quantlab.cli import options
from quantlab.cli.console import Output
from quantlab.cli.help_text import described

_SHOW = described(
    "List a cache's tensors, scales and the magnitudes they reach; with --model, which of them the model has.",
    examples=("quantlab cache show int8.cache", "quantlab cache show int8.cache --model model.onnx --json"),
)
_DIFF = described(
    "Compare the scales of two caches or scale tables; any difference makes the exit code 1.",
    examples=(
        "quantlab cache diff old.cache new.cache",
        "quantlab cache diff trt.cache run/scales.json --tolerance 1e-5",
    ),
    exits=(0, 1, 2, 4),
)
_CONVERT = described(
    "Turn a cache into a Q/DQ model (.onnx) or a scale table (.json), or scales into a cache.",
    examples=(
        "quantlab cache convert int8.cache --model model.onnx -o model.int8.onnx",
        "quantlab cache convert run/scales.json --model model.onnx --tensorrt 8.6.1 -o int8.cache",
        "quantlab cache convert int8.cache -o scales.json",
    ),
)

CacheFile = Annotated[Path, typer.Argument(metavar="CACHE", help="A TensorRT calibration cache.")]
Scales = Annotated[Path, typer.Argument(metavar="SCALES", help="A calibration cache, or a scale table (.json, .csv).")]
OfModel = Annotated[Path | None, typer.Option("--model", metavar="MODEL.onnx", help="The float model that it is for.")]


def add_to(app: typer.Typer) -> None:
    """Register the group."""
    group = typer.Typer(no_args_is_help=True, help="Show, compare and convert TensorRT calibration caches.")
    group.command("show", help=_SHOW)(_show)
    group.command("diff", help=_DIFF)(_diff)
    group.command("convert", help=_CONVERT)(_convert)
    app.add_typer(group, name="cache")


def _show(cache: CacheFile, model: OfModel = None, as_json: options.Json = False, quiet: options.Quiet = False) -> None:
    from quantlab.calibration.trt_cache import CalibrationCache
    from quantlab.graph.model import load_model
    from quantlab.jobs import remarks
    from quantlab.jobs.cache_tensors import cache_tensors
    from quantlab.jobs.quantizing import read_scales

    loaded = None if model is None else load_model(model)
    table = read_scales(_as_cache(cache), loaded)
    head = CalibrationCache(table.cache_header or "", {})
    wanted = None if loaded is None else cache_tensors(loaded)
    missing = [] if wanted is None else [t for t in (*wanted.tensors, *wanted.aliases) if t not in table]
    unknown = [row.tensor for row in table.rows if row.role == "unknown"]
    out = Output(as_json, quiet)
    columns = ("tensor", "scale", "amax", *(() if model is None else ("in the model",)))
    rows = [
        (r.tensor, f"{r.scale[0]:.6g}", f"{r.amax:.6g}", *(() if model is None else (_yes(r.role != "unknown"),)))
        for r in table.rows
    ]
    out.say(f"{cache}: {head.algorithm}, TensorRT {head.version or 'of unknown version'}")
    out.table(columns, rows)
    out.say(
        f"{len(table)} tensors"
        + (f"; {len(unknown)} are not in the model, {len(missing)} of the model have no scale." if wanted else ".")
    )
    if missing:
        out.say("Without a scale: " + ", ".join(missing))
    notes = remarks.on_table(table)
    out.remarks(notes)
    out.result(
        {
            "cache": cache,
            "header": table.cache_header,
            "algorithm": head.algorithm,
            "version": head.version,
            "scales": {row.tensor: row.scale[0] for row in table.rows},
            "unknown": unknown if wanted else None,
            "missing": missing if wanted else None,
            "provenance": table.provenance.to_json() if table.provenance else None,
            "notes": notes,
        }
    )


def _diff(
    first: Scales,
    second: Scales,
    tolerance: Annotated[float, typer.Option(min=0.0, help="Relative difference that counts as none.")] = 0.0,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    from quantlab.jobs import remarks
    from quantlab.jobs.cache_difference import difference, relative
    from quantlab.jobs.quantizing import read_scales

    one, two = read_scales(first), read_scales(second)
    found = difference(one, two, tolerance=tolerance)
    out = Output(as_json, quiet)
    if found.headers[0] != found.headers[1]:
        out.say(f"Headers: {found.headers[0] or 'none'} and {found.headers[1] or 'none'}.")
    for path, only in ((first, found.only_first), (second, found.only_second)):
        if only:
            out.say(f"Only in {path}: {', '.join(only)}")
    if found.changed:
        rows = [(t, f"{a:.6g}", f"{b:.6g}", f"{100 * relative(a, b):.4g}") for t, (a, b) in found.changed.items()]
        out.say("Scales that differ")
        out.table(("tensor", "first", "second", "difference %"), rows)
    out.say(f"{found.common} tensors in both, {len(found.changed)} with another scale.")
    notes = tuple(f"{path}: {note}" for path, t in ((first, one), (second, two)) for note in remarks.on_table(t))
    out.remarks(notes)
    out.result(
        {
            "same": found.same,
            "headers": list(found.headers),
            "only_first": list(found.only_first),
            "only_second": list(found.only_second),
            "changed": {tensor: list(pair) for tensor, pair in found.changed.items()},
            "common": found.common,
            "notes": notes,
        }
    )
    if not found.same:
        raise typer.Exit(1)


def _convert(
    source: Scales,
    output: options.Output,
    *,
    model: OfModel = None,
    tensorrt: Annotated[str, typer.Option(metavar="VERSION", help="TensorRT that will read the cache.")] = "8.6.1",
    algorithm: Annotated[
        str, typer.Option(metavar="NAME", help="Calibrator that the header names.")
    ] = "EntropyCalibration2",
    partial: Annotated[
        bool, typer.Option("--partial", help="Write the cache although tensors of the model have no scale.")
    ] = False,
    target: options.Target = "tensorrt",
    weights: options.Weights = "int8",
    head: options.Head = "float",
    allow_missing: options.AllowMissing = False,
    force: options.Force = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    from quantlab.errors import UsageError
    from quantlab.jobs.caching import Caching, convert_to_table, make_cache
    from quantlab.jobs.quantizing import Quantizing, quantize_model

    remake: Any = "always" if force else "never"
    suffix = output.suffix.lower()
    if suffix == ".json":
        made = convert_to_table(source, output, model, remake=remake)
    elif model is None:
        raise UsageError("This conversion is for a named model: give --model MODEL.onnx.")
    elif suffix == ".onnx":
        choice = options.quantize_options(target, weights, head, allow_missing=allow_missing)
        made, _ = quantize_model(Quantizing(model, source, output, choice), remake=remake)
    else:
        made = make_cache(Caching(source, model, output, tensorrt, algorithm, partial), remake=remake)
    out = Output(as_json, quiet)
    out.made(made)
    out.result({"output": made.path, "fresh": made.fresh, "notes": made.notes})


def _as_cache(path: Path) -> Path:
    from quantlab.errors import UsageError

    if path.suffix.lower() in (".json", ".csv"):
        raise UsageError(f"'{path}' is a scale table, no calibration cache; `quantlab cache diff` takes both.")
    return path


def _yes(known: bool) -> str:
    return "yes" if known else "no"
