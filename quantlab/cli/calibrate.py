"""`quantlab calibrate`: histograms and a method in, scales out."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quantlab.cli import options
from quantlab.cli.console import Output
from quantlab.cli.help_text import described

if TYPE_CHECKING:
    from quantlab.calibration.schemes import Scheme

_HELP = described(
    "Choose the scale of every tensor from its histogram; no inference, so try as many methods as you like.",
    examples=(
        "quantlab calibrate run/histograms.h5 --method percentile:99.99 -o run/scales.json",
        "quantlab calibrate run/histograms.h5 --method entropy --rule '*attention*=minmax' --csv -o run/scales.json",
        "quantlab calibrate run/histograms.h5 --overrides overrides.yaml -o run/scales.json",
        "quantlab calibrate run/all.h5 -m squared-error -o run/scales.json --cache run/int8.cache --model model.onnx",
    ),
)


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("calibrate", help=_HELP)(_calibrate)


def _calibrate(
    histograms: Annotated[Path, typer.Argument(metavar="HISTOGRAMS.h5", help="What `quantlab collect` wrote.")],
    output: options.Output,
    *,
    method: Annotated[
        str,
        typer.Option(
            "--method",
            "-m",
            metavar="METHOD",
            help="minmax, percentile:99.99 (,of=nonzero), squared-error, entropy (:dialect), or on TensorRT's grid "
            "tensorrt-entropy2, tensorrt-minmax, tensorrt-legacy.",
        ),
    ] = "squared-error",
    scheme: Annotated[
        str,
        typer.Option(
            metavar="SCHEME", help="symmetric (TensorRT's only one), symmetric-uint8, affine-uint8, affine-int8."
        ),
    ] = "symmetric",
    rule: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN=METHOD", help="Another method for some tensors; the first that matches wins."),
    ] = None,
    overrides: Annotated[
        Path | None,
        typer.Option(metavar="FILE.yaml", help="Ranges set by hand, by tensor; they go before every rule and method."),
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Also write the table as .csv beside the output.")] = False,
    cache: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Also write a TensorRT calibration cache, for --model.")
    ] = None,
    model: Annotated[Path | None, typer.Option(metavar="MODEL.onnx", help="The model that the cache is for.")] = None,
    tensorrt: Annotated[
        str | None, typer.Option(metavar="VERSION", help="TensorRT that will read the cache; by default 8.6.1.")
    ] = None,
    algorithm: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Calibrator that the cache's header names; by default as the method's."),
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Write the cache although tensors of the model have no scale.")
    ] = False,
    force: options.Force = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    from quantlab.cli.phases import phases
    from quantlab.jobs.caching import DEFAULT_VERSION, Caching, algorithm_of, check_caching, make_cache
    from quantlab.jobs.calibrating import Calibrating, calibrate_scales, export_csv, parse_scheme
    from quantlab.storage.scale_table_json import read_scale_table

    _check_options(cache, model, {"--tensorrt": tensorrt, "--algorithm": algorithm, "--partial": partial or None})
    caching = None
    if cache is not None and model is not None:
        header = algorithm or algorithm_of(method)
        caching = Caching(output, model, cache, tensorrt or DEFAULT_VERSION, header, partial)
        check_caching(caching)
        _check_symmetric(parse_scheme(scheme), scheme)
    remake: Any = "always" if force else "never"
    what = Calibrating(histograms, output, method, scheme, _rules(rule or []), overrides)
    with phases("calibrating", quiet=quiet):
        made = [calibrate_scales(what, remake=remake)]
    if csv:
        made.append(export_csv(output, output.with_suffix(".csv"), remake=remake))
    if caching is not None:
        written = make_cache(caching, remake=remake)
        made.append(replace(written, notes=(*_other_calibrator(method, caching.algorithm), *written.notes)))
    table = read_scale_table(output)
    out = Output(as_json, quiet)
    worst = sorted((row for row in table.rows if row.sqnr_db is not None), key=lambda row: row.sqnr_db or 0.0)[:5]
    if worst:
        out.say(f"{len(table)} tensors; the {len(worst)} with the lowest expected SQNR:")
        out.table(
            ("tensor", "method", "scale", "clipped %", "expected SQNR dB"),
            [
                (row.tensor, row.method, row.scale[0], f"{100 * (row.clipped or 0.0):.4f}", f"{row.sqnr_db:.1f}")
                for row in worst
            ],
        )
    else:
        out.say(f"{len(table)} tensors.")
    notes = tuple(dict.fromkeys(note for one in made for note in one.notes))
    out.remarks(notes)
    for one in made:
        out.made(replace(one, notes=()))
    out.result(
        {
            "outputs": [{"output": one.path, "fresh": one.fresh, "notes": one.notes} for one in made],
            "notes": notes,
            "method": method,
            "scheme": scheme,
            "scales": {row.tensor: list(row.scale) for row in table.rows},
        }
    )


def _check_options(cache: Path | None, model: Path | None, others: Mapping[str, object]) -> None:
    from quantlab.errors import UsageError

    if (cache is None) != (model is None):
        raise UsageError("A calibration cache is for a named model: give --cache and --model together.")
    given = [name for name, value in others.items() if value is not None]
    if cache is None and given:
        raise UsageError(f"{given[0]} is about a calibration cache: give --cache and --model too, or leave it out.")


def _check_symmetric(scheme: "Scheme", name: str) -> None:
    from quantlab.calibration.schemes import Symmetric
    from quantlab.errors import UsageError

    if not isinstance(scheme, Symmetric):
        raise UsageError(f"A calibration cache holds symmetric scales only: leave --cache or --scheme {name} out.")


def _other_calibrator(method: str, algorithm: str) -> tuple[str, ...]:
    from quantlab.jobs.caching import algorithm_of

    own = algorithm_of(method)
    if not method.startswith("tensorrt-") or own == algorithm:
        return ()
    return (f"The cache's header names {algorithm}, but the scales are those of {own} ({method}).",)


def _rules(texts: list[str]) -> tuple[tuple[str, str], ...]:
    from quantlab.errors import UsageError

    found = []
    for text in texts:
        # A tensor's name may hold «=», a method may too (percentile:99.9,of=nonzero): the last one before a method's name.
        pattern, method = _split(text)
        if not pattern:
            raise UsageError(f"A rule looks like 'pattern=method', not «{text}».")
        found.append((pattern, method))
    return tuple(found)


def _split(text: str) -> tuple[str, str]:
    from quantlab.calibration.methods.names import METHODS

    for at in range(len(text)):
        name = text[at + 1 :].partition(":")[0]
        if text[at] == "=" and name in METHODS:
            return text[:at], text[at + 1 :]
    pattern, _, method = text.partition("=")
    return (pattern, method) if method else ("", "")
