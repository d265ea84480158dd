"""`quantlab build`: a model in, a TensorRT plan out, or the trtexec command that builds it elsewhere."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from quantlab.cli import build_flags, options
from quantlab.cli.console import Output
from quantlab.cli.help_text import described

if TYPE_CHECKING:
    from quantlab.engines.tensorrt.plan import Plan
    from quantlab.engines.tensorrt.runtime import LibraryName
    from quantlab.jobs.building import Building
    from quantlab.jobs.data_source import DataSource
    from quantlab.jobs.plan_scales import Calibration, StoredScales
    from quantlab.jobs.step import Made

_HELP = described(
    "Build a TensorRT plan for this machine's GPU, with its provenance beside it; or print the trtexec command that builds "
    "it on another machine. What the installed TensorRT lacks is refused with what to do instead.",
    examples=(
        "quantlab build model.onnx -o fp16.plan --precision fp16 --shapes input:1x3x224x224,8x3x224x224,32x3x224x224",
        "quantlab build model.int8.onnx -o int8.plan --precision int8+fp16",
        "quantlab build model.onnx -o int8.plan --cache int8.cache --precision int8+fp16",
        "quantlab build model.onnx -o int8.plan --ranges run/scales.json --layer 'head/*=fp32'",
        "quantlab build model.onnx -o int8.plan --calibrate entropy2 -d calib.npz --write-cache trt.cache",
        "quantlab build model.int8.onnx -o rtx.plan --library tensorrt_rtx",
        "quantlab build model.onnx --cache int8.cache --emit trtexec --tensorrt 8.6.1",
        "quantlab build --capabilities --tensorrt 10.3",
    ),
)
_VERSIONS = {"tensorrt": "8.6.1", "tensorrt_rtx": "1.7"}
"""The target of --emit where none is named."""


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("build", help=_HELP)(_build)


def _build(
    model: build_flags.Model = None,
    output: build_flags.Plan = None,
    *,
    precision: build_flags.Precision = None,
    cache: build_flags.Cache = None,
    scales: build_flags.Table = None,
    ranges: build_flags.Ranges = None,
    calibrate: build_flags.Calibrate = None,
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
    calibration_batch: build_flags.CalibrationBatch = None,
    write_cache: build_flags.WriteCache = None,
    any_model: build_flags.AnyModel = False,
    shapes: build_flags.Shapes = None,
    calibration_shapes: build_flags.CalibrationShapes = None,
    layer: build_flags.Layer = None,
    strongly_typed: build_flags.StronglyTyped = False,
    plugin: build_flags.Plugin = None,
    timing_cache: build_flags.TimingCache = None,
    workspace: build_flags.Workspace = None,
    level: build_flags.Level = None,
    version_compatible: build_flags.VersionCompatible = False,
    hardware_compatible: build_flags.HardwareCompatible = False,
    refit: build_flags.Refit = False,
    strip: build_flags.Strip = False,
    dla: build_flags.Dla = None,
    gpu_fallback: build_flags.Fallback = False,
    device: build_flags.Device = 0,
    library: build_flags.Library = None,
    emit: build_flags.Emit = None,
    tensorrt: build_flags.Version = None,
    capabilities: build_flags.Capabilities = False,
    profile_layers: build_flags.ProfileLayers = False,
    force: options.Force = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    from quantlab.cli.phases import phases
    from quantlab.cli.plan_options import build_options
    from quantlab.errors import UsageError
    from quantlab.jobs.building import Building, build_plan
    from quantlab.jobs.layer_times import check_gpu

    out, lib = Output(as_json, quiet), _library(library)
    if capabilities:
        _show_capabilities(out, tensorrt, lib)
        return
    if model is None:
        raise UsageError("Name the model to build a plan of: quantlab build MODEL.onnx -o model.plan.")
    source = None
    if data is not None or random is not None:
        fields = options.preprocess_fields(
            preprocess, resize=resize, crop=crop, layout=layout, color=color, scale=scale, mean=mean, std=std
        )
        source = options.data_source(
            data, fields, batch=batch, input=input, label_pattern=label_pattern, skip_bad=skip_bad, random=random
        )
    stored = _stored({"cache": cache, "scales": scales, "ranges": ranges}, any_model=any_model)
    calibration = _calibration(calibrate, source, calibration_batch, write_cache)
    if stored is not None and calibration is not None:
        raise UsageError("INT8 scales come from a file or from --calibrate: give one of the two.")
    settings = build_options(
        precision,
        shapes or (),
        calibration_shapes or (),
        layer or (),
        workspace,
        int8=stored is not None or calibration is not None,
        strongly_typed=strongly_typed,
        level=level,
        timing_cache=None if timing_cache is None else str(timing_cache),
        version_compatible=version_compatible,
        hardware_compatible=hardware_compatible,
        refit=refit,
        strip=strip,
        plugins=tuple(str(path) for path in plugin or ()),
        dla=dla,
        gpu_fallback=gpu_fallback,
        device=device,
    )
    what = Building(model, output or model.with_suffix(".plan"), settings, stored or calibration, lib)
    if emit is not None:
        _emit(out, what, emit, tensorrt)
        return
    if output is None or tensorrt is not None:
        raise UsageError(
            "Give -o PATH, the plan to write."
            if output is None
            else "--tensorrt is for --emit trtexec and --capabilities: a plan is built by the TensorRT that is installed."
        )
    if profile_layers:
        check_gpu(device)
    with phases("building", quiet=quiet) as tell:
        made, plan = build_plan(what, remake="always" if force else "never", progress=tell)
    _show(out, made, plan, _timed(what, plan) if profile_layers else None)


def _library(name: str | None) -> "LibraryName | None":
    from quantlab.engines.tensorrt.runtime import LIBRARIES
    from quantlab.errors import UsageError

    known = next((library for library in LIBRARIES if library == name), None)
    if name is not None and known is None:
        raise UsageError(f"--library is {' or '.join(LIBRARIES)}, not «{name}».")
    return known


def _stored(files: dict[str, Path | None], *, any_model: bool) -> "StoredScales | None":
    from quantlab.errors import UsageError
    from quantlab.jobs.plan_scales import StoredScales

    given = {option: path for option, path in files.items() if path is not None}
    if len(given) > 1:
        raise UsageError(f"INT8 scales come from one file: give {' or '.join(f'--{option}' for option in given)}.")
    for option, path in given.items():
        if option == "cache" and path.suffix.lower() in (".json", ".csv"):
            raise UsageError(f"'{path}' is a scale table, no calibration cache: give it with --scales or --ranges.")
        return StoredScales(path, "ranges" if option == "ranges" else "cache", any_model)
    if any_model:
        raise UsageError("--any-model goes with --cache, --scales or --ranges.")
    return None


def _calibration(
    algorithm: str | None, data: "DataSource | None", batch: int | None, cache: Path | None
) -> "Calibration | None":
    from typing import get_args

    from quantlab.engines.tensorrt.build_options import Algorithm
    from quantlab.errors import UsageError
    from quantlab.jobs.plan_scales import Calibration

    known: tuple[Algorithm, ...] = get_args(Algorithm)
    chosen = next((name for name in known if name == algorithm), None)
    if algorithm is None:
        if data is not None or batch is not None or cache is not None:
            raise UsageError("--data, --calib-batch and --write-cache go with --calibrate NAME.")
        return None
    if chosen is None:
        raise UsageError(f"TensorRT's calibrators are {', '.join(known)}; «{algorithm}» is none of them.")
    if data is None:
        raise UsageError(f"--calibrate {algorithm} needs calibration data: give --data PATH.")
    return Calibration(chosen, data, batch, cache)


def _emit(out: Output, what: "Building", tool: str, version: str | None) -> None:
    from quantlab.errors import UsageError
    from quantlab.jobs.building import emit_trtexec

    if tool != "trtexec":
        raise UsageError(f"--emit is trtexec, not «{tool}».")
    library = what.library or "tensorrt"
    target = version or _VERSIONS[library]
    found = emit_trtexec(what, target, library)
    out.remarks(found.notes)
    out.say(found.text)
    out.result({"command": found.text, "library": library, "version": target, "notes": found.notes})


def _timed(what: "Building", plan: "Plan") -> dict[str, float]:
    from quantlab.jobs.layer_times import write_layer_times

    return dict(write_layer_times(what.output, plan, what.options))


def _show(out: Output, made: "Made", plan: "Plan", times: dict[str, float] | None) -> None:
    from quantlab.audit.inspector import without_profile
    from quantlab.jobs.layer_times import times_path
    from quantlab.jobs.sizes import shown_bytes

    card, counts = plan.card, _counts(plan)
    out.made(made)
    memory = None if card.device_memory is None else shown_bytes(card.device_memory)
    layers = ", ".join(f"{count} {kind}" for kind, count in counts.items()) or None
    out.table(
        ("library", "size", "build s", "GPU memory", "precision", "INT8 scales", "layers"),
        [
            (
                f"{card.library} {card.version}",
                shown_bytes(card.size),
                f"{card.build_seconds:.2f}",
                memory,
                "+".join(card.precision),
                card.scales or None,
                layers,
            )
        ],
    )
    if times is not None:
        first = [time for layer, time in times.items() if not without_profile(layer)[1]]
        of = "" if len(first) == len(times) else " of the first profile"
        out.say(f"{times_path(made.path)} written: {sum(first):.4g} ms in {len(first)} layers{of}.")
    out.result(
        {
            "output": made.path,
            "fresh": made.fresh,
            "notes": made.notes,
            "card": card.to_json(),
            "layers": counts or None,
            "milliseconds": times,
        }
    )


def _counts(plan: "Plan") -> dict[str, int]:
    """Return the layers by precision; empty where no GPU could tell of them."""
    from quantlab.audit.audit import audit_engine

    return dict(audit_engine(plan.layers).counts) if plan.layers else {}


def _show_capabilities(out: Output, version: str | None, library: "LibraryName | None") -> None:
    from quantlab.engines.tensorrt.capabilities import TITLES, columns, table

    heads = columns(version, library or "tensorrt")
    rows = table(version, library or "tensorrt")
    titles = [
        number if name == "tensorrt" and version is None else f"{TITLES[name]} {number}" for name, number in heads
    ]
    out.table(("feature", *titles), rows)
    named = [f"{name} {number}" for name, number in heads]
    out.result({"features": {row[0]: dict(zip(named, row[1:], strict=True)) for row in rows}})
