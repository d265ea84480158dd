"""`quantlab cache convert`: between calibration cache, scale table and Q/DQ model, either way."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quantlab.cli import options
from quantlab.cli.console import Output
from quantlab.cli.help_text import described

if TYPE_CHECKING:
    from quantlab.caches.equality import Equality
    from quantlab.jobs.cache_checking import Conversion
    from quantlab.jobs.data_source import DataSource

CONVERT = described(
    "Turn a cache into a Q/DQ model (.onnx) or a scale table (.json), scales into a cache, or a Q/DQ model into a cache and a "
    "plain model. From cache to Q/DQ it reports what implicit quantization may run in INT8 and explicit does not; --check "
    "compares both roads on the CPU simulation.",
    examples=(
        "quantlab cache convert int8.cache --model model.onnx --target tensorrt@11.0 -o model.int8.onnx --check 8",
        "quantlab cache convert model.int8.onnx --plain model.plain.onnx --tensorrt 8.6.1 -o int8.cache",
        "quantlab cache convert run/scales.json --model model.onnx --tensorrt 8.6.1 -o int8.cache",
        "quantlab cache convert int8.cache -o scales.json",
    ),
)
_LISTED = 12
_CACHES = ("", ".cache", ".calib", ".bin", ".table", ".txt")  # what NVIDIA's tools and samples call theirs
_DEFAULT = "Default: that of the cache that a Q/DQ model was made of, else"

Source = Annotated[
    Path,
    typer.Argument(metavar="SCALES|MODEL.onnx", help="A cache, a scale table (.json, .csv), or a model with Q/DQ."),
]


def convert(
    source: Source,
    output: options.Output,
    *,
    model: Annotated[
        Path | None, typer.Option("--model", metavar="MODEL.onnx", help="The float model that it is for.")
    ] = None,
    plain: Annotated[
        Path | None, typer.Option(metavar="MODEL.onnx", help="From Q/DQ: where to write the model without it.")
    ] = None,
    widen: Annotated[
        bool, typer.Option("--widen", help="From Q/DQ: affine activations get the symmetric scale around their range.")
    ] = False,
    tensorrt: Annotated[
        str | None, typer.Option(metavar="VERSION", help=f"TensorRT that will read the cache. {_DEFAULT} 8.6.1.")
    ] = None,
    algorithm: Annotated[
        str | None,
        typer.Option(metavar="NAME", help=f"Calibrator that the header names. {_DEFAULT} EntropyCalibration2."),
    ] = None,
    target: options.Target = "tensorrt",
    weights: options.Weights = "int8",
    head: options.Head = "float",
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Tensors of the model without a scale are to stay float: no error.")
    ] = False,
    check: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Compare both roads on N random samples, simulated.")
    ] = None,
    data: options.Data = None,
    preprocess: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|JSON",
            rich_help_panel=options.DATA_PANEL,
            help="What happens to each image: a .yaml or .json file, or inline JSON.",
        ),
    ] = None,
    force: options.Force = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Run `quantlab cache convert`."""
    from quantlab.errors import UsageError
    from quantlab.jobs.caching import DEFAULT_ALGORITHM, DEFAULT_VERSION, Caching, convert_to_table, make_cache

    remake: Any = "always" if force else "never"
    suffix = output.suffix.lower()
    if suffix not in (".onnx", ".json", *_CACHES):
        raise UsageError(
            f"The output '{output}' ends in «{output.suffix}»: a Q/DQ model ends in .onnx, a scale table in .json, and a cache "
            f"in {', '.join(_CACHES[1:])} or nothing."
        )
    samples = _samples(check, data, preprocess)
    out = Output(as_json, quiet)
    if source.suffix.lower() == ".onnx":
        _unpack(
            out, _unpacking(source, output, plain, model, (tensorrt, algorithm), widen=widen), target, samples, remake
        )
        return
    if plain is not None or widen:
        raise UsageError("--plain and --widen are for a source with Q/DQ (.onnx).")
    if suffix in (".onnx", ".json") and (tensorrt or algorithm):
        raise UsageError("--tensorrt and --algorithm are for a calibration cache as the output.")
    if suffix == ".onnx":
        choice = options.quantize_options(target, weights, head, allow_missing=allow_missing)
        _to_qdq(out, (source, _named(model), output), choice, samples, remake)
        return
    if samples is not None:
        raise UsageError(
            "--check and --data compare networks: give them when the output or the source is a Q/DQ model."
        )
    if suffix == ".json":
        made = convert_to_table(source, output, model, remake=remake)
    else:
        header = tensorrt or DEFAULT_VERSION, algorithm or DEFAULT_ALGORITHM
        made = make_cache(Caching(source, _named(model), output, *header, allow_missing), remake=remake)
    out.made(made)
    out.result({"output": made.path, "fresh": made.fresh, "notes": made.notes})


def _named(model: Path | None) -> Path:
    from quantlab.errors import UsageError

    if model is None:
        raise UsageError("This conversion is for a named model: give --model MODEL.onnx.")
    return model


def _samples(check: int | None, data: str | None, preprocess: str | None) -> "DataSource | None":
    from quantlab.errors import UsageError

    if check is None and data is None:
        if preprocess is not None:
            raise UsageError("--preprocess goes with --data.")
        return None
    if check is not None and data is not None:
        raise UsageError("Compare on N random samples (--check N) or on data (--data PATH), not on both.")
    fields = options.preprocess_fields(preprocess)
    return options.data_source(
        data, fields, batch=check or 32, input=None, label_pattern=None, skip_bad=False, random=check
    )


def _to_qdq(
    out: Output, places: tuple[Path, Path, Path], choice: Any, samples: "DataSource | None", remake: Any
) -> None:
    from quantlab.jobs.cache_checking import check_conversion
    from quantlab.jobs.quantizing import Quantizing, quantize_model

    source, model, output = places
    what = Quantizing(model, source, output, choice)
    made, _ = quantize_model(what, remake=remake)
    found = None if choice.target == "ort" else check_conversion(what, samples=samples)
    if found is not None:
        _show(out, found)
    out.made(made)
    out.result({"output": made.path, "fresh": made.fresh, "notes": made.notes, **_fields(found)})


def _unpacking(
    source: Path,
    output: Path,
    plain: Path | None,
    original: Path | None,
    header: tuple[str | None, str | None],
    *,
    widen: bool,
) -> Any:
    from quantlab.jobs.cache_unpacking import Unpacking

    return Unpacking(source, output, plain, original, *header, widen=widen)


def _unpack(out: Output, what: Any, target: str, samples: "DataSource | None", remake: Any) -> None:
    from quantlab.caches.words import counted
    from quantlab.errors import UsageError
    from quantlab.jobs.cache_checking import check_unpacking
    from quantlab.jobs.cache_unpacking import unpack

    if samples is not None and what.plain is None:
        raise UsageError("--check and --data compare with the plain model: say where it goes, --plain MODEL.onnx.")
    made, unpacked = unpack(what, remake=remake)
    exact = unpacked.parts.exact
    words = f"{counted(len(exact), 'scale')} bit for bit from Q/DQ, {counted(len(unpacked.table), 'tensor')} in all"
    roads = None
    if samples is not None:
        roads = check_unpacking(what.quantized, what.plain, what.output, target=target, samples=samples)
        out.say(_sentence("The Q/DQ model and the plain model with the cache", roads))
    out.made(made, words)
    out.result(
        {
            "output": made.path,
            "plain": what.plain,
            "fresh": made.fresh,
            "notes": made.notes,
            "exact": list(exact),
            "missing": list(unpacked.missing),
            "roads": _numbers(roads),
        }
    )


def _show(out: Output, found: "Conversion") -> None:
    kept, counts = found.scales, found.coverage.counts
    out.say(f"Scales: {len(kept.same)} bit for bit those given, {len(kept.other)} of another value.")
    for tensor, (given, has) in list(kept.other.items())[:_LISTED]:
        out.say(f"  {tensor}: {given:.6g} given, {has:.6g} in the model, as tensors that are joined have one scale")
    out.say(
        f"Operators: of {counts['operators']}, implicit quantization may run {counts['implicit']} in INT8, explicit runs "
        f"{counts['explicit']}."
    )
    if found.coverage.lost:
        rows = [(row.node, row.operator, row.reason) for row in found.coverage.lost[:_LISTED]]
        out.table(("INT8 with the cache only", "operator", "why not with Q/DQ"), rows)
        if len(found.coverage.lost) > _LISTED:
            out.say(f"and {len(found.coverage.lost) - _LISTED} more.")
    if found.roads is not None and found.cost is not None:
        out.say(_sentence("Cache and Q/DQ model", found.roads))
        out.say(_sentence("Float and Q/DQ model", found.cost))


def _sentence(what: str, found: "Equality") -> str:
    from quantlab.caches.words import counted

    return (
        f"{what}, simulated on {counted(found.samples, 'sample')}: {100 * found.same_bits:.4g} % of the output values equal bit for bit, "
        f"agreement {100 * found.agreement:.4g} %, SQNR {found.sqnr_db:.2f} dB."
    )


def _fields(found: "Conversion | None") -> dict[str, Any]:
    if found is None:
        return {}
    return {
        "scales": {"same": len(found.scales.same), "other": dict(found.scales.other)},
        "coverage": {
            **found.coverage.counts,
            "only_implicit": [
                {"node": row.node, "operator": row.operator, "reason": row.reason} for row in found.coverage.lost
            ],
        },
        "roads": _numbers(found.roads),
        "cost": _numbers(found.cost),
    }


def _numbers(found: "Equality | None") -> dict[str, Any] | None:
    if found is None:
        return None
    names = ("samples", "same_bits", "agreement", "sqnr_db")
    return {name: getattr(found, name) for name in names}
