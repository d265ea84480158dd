"""`quantlab cache lint` and `quantlab cache diff`: checks of calibration caches, for people and for CI."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quantlab.cli import options
from quantlab.cli.console import Output
from quantlab.cli.help_text import described

if TYPE_CHECKING:
    from quantlab.caches.difference import CacheDifference, Change
    from quantlab.caches.lint import LintedCache

LINT = described(
    "Check a calibration cache: header, names, scales; with --model along the network's operators, with --histograms on counted "
    "values. Errors (TensorRT refuses or ignores it, or the cache contradicts itself) make the exit code 1, with --strict "
    "warnings (accuracy lost) too.",
    examples=(
        "quantlab cache lint int8.cache --model model.onnx --tensorrt 8.6.1",
        "quantlab cache lint int8.cache --model model.onnx --histograms run/histograms.h5 --strict --json",
        "quantlab cache lint int8.cache --model model.onnx --tensorrt 8.6.1 --dla",
    ),
    exits=(0, 1, 2, 4),
)
DIFF = described(
    "Compare the scales of two caches or scale tables, or of one with histograms; any difference makes the exit code 1.",
    examples=(
        "quantlab cache diff old.cache new.cache",
        "quantlab cache diff trt.cache run/scales.json --tolerance 1e-5",
        "quantlab cache diff old.cache new.cache --histograms run/histograms.h5 --loss 0.5",
        "quantlab cache diff trt.cache run/histograms.h5",
    ),
    exits=(0, 1, 2, 4),
)

_SHOWN = 100
_NAMED = 12

Cache = Annotated[Path, typer.Argument(metavar="CACHE", help="A TensorRT calibration cache.")]
Scales = Annotated[Path, typer.Argument(metavar="SCALES", help="A calibration cache, or a scale table (.json, .csv).")]
OrHistograms = Annotated[
    Path,
    typer.Argument(metavar="SCALES|HISTOGRAMS.h5", help="A second one, or histograms: then against their best scales."),
]
OfModel = Annotated[Path | None, typer.Option("--model", metavar="MODEL.onnx", help="The float model that it is for.")]
Counted = Annotated[
    Path | None, typer.Option("--histograms", metavar="HISTOGRAMS.h5", help="Counts of its tensors, from `collect`.")
]


def lint(
    cache: Cache,
    *,
    model: OfModel = None,
    tensorrt: Annotated[
        str | None, typer.Option(metavar="VERSION", help="TensorRT that will read it, as 8.6.1.", show_default=False)
    ] = None,
    algorithm: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Calibrator that will read it, as EntropyCalibration2.", show_default=False),
    ] = None,
    dla: Annotated[
        bool, typer.Option("--dla", help="A DLA is to run it, where all tensors of a Concat need one scale.")
    ] = False,
    histograms: Counted = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Tensors without a scale are to stay float: no error.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings make the exit code 1 too.")] = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Run `quantlab cache lint`."""
    from quantlab.caches.lint_lines import Reader
    from quantlab.caches.words import counted
    from quantlab.jobs.cache_linting import lint_file

    reader = Reader(tensorrt, algorithm, dla)
    found = lint_file(cache, reader=reader, model=model, histograms=histograms, allow_missing=allow_missing)
    out = Output(as_json, quiet)
    show_findings(out, found)
    counts = found.counts
    out.say(
        f"{cache}: {counted(found.tensors, 'tensor')}, {', '.join(counted(counts[kind], kind) for kind in counts)}."
    )
    out.say(
        f"Made by: {found.made_by.algorithm or 'not to be told'} ({found.made_by.certainty}). {found.made_by.evidence}"
    )
    failed = found.fails(strict=strict)
    out.result({"cache": cache, "passed": not failed, **lint_fields(found)})
    if failed:
        raise typer.Exit(1)


def diff(
    first: Scales,
    second: OrHistograms,
    tolerance: Annotated[float, typer.Option(min=0.0, help="Relative difference that counts as none.")] = 0.0,
    histograms: Counted = None,
    loss: Annotated[
        float | None,
        typer.Option(
            min=0.0, metavar="DB", help="With histograms: loss of expected SQNR that counts as none; 1 against them."
        ),
    ] = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Run `quantlab cache diff`."""
    from quantlab.caches.difference import Tolerance
    from quantlab.caches.words import counted, listed
    from quantlab.jobs import remarks
    from quantlab.jobs.cache_linting import HISTOGRAMS, difference_of_files

    found, tables = difference_of_files(first, second, tolerance=Tolerance(tolerance, loss), histograms=histograms)
    out = Output(as_json, quiet)
    best = second.suffix.lower() in HISTOGRAMS
    if found.headers[0] != found.headers[1] and not best:
        out.say(f"Headers: {found.headers[0] or 'none'} and {found.headers[1] or 'none'}.")
    sides = (
        ((second, found.only_first), (first, found.only_second))
        if best
        else ((first, found.only_first), (second, found.only_second))
    )
    for path, only in sides:
        if only:
            out.say(f"Only in '{path}': {listed(only, _NAMED)}")
    if not found.related:
        out.say("They are of different models, or of two exports: `quantlab cache rename` takes a cache along.")
    if found.changes:
        out.say("Scales that lose against the best ones for these histograms" if best else "Scales that differ")
        _show_changes(out, found, ("best", "has") if best else ("first", "second"))
    differ = "with another scale" if not tolerance and loss is None and not best else "beyond what is tolerated"
    out.say(f"{counted(found.common, 'tensor')} in both, {len(found.changes):,} {differ}.")
    notes = tuple(
        f"'{path}': {note}" for path, t in zip((first, second), tables, strict=False) for note in remarks.on_table(t)
    )
    out.remarks(notes)
    out.result(
        {
            "same": found.same,
            "related": found.related,
            "headers": list(found.headers),
            "only_first": list(found.only_first),
            "only_second": list(found.only_second),
            "changed": {tensor: list(pair) for tensor, pair in found.changed.items()},
            "harm": [_fields(change) for change in found.changes if change.lost_db is not None],
            "common": found.common,
            "notes": notes,
        }
    )
    if (not found.same) if not best else bool(found.changes):
        raise typer.Exit(1)


def show_findings(out: Output, found: "LintedCache") -> None:
    """Print the findings as a table, if there are any."""
    if found.findings:
        out.table(
            ("severity", "rule", "tensor", "what is wrong", "what to do"),
            [(f.severity, f.rule, f.tensor, f.message, f.fix) for f in found.findings[:_SHOWN]],
        )
        if len(found.findings) > _SHOWN:
            out.say(f"and {len(found.findings) - _SHOWN:,} more: --json lists them.")


def lint_fields(found: "LintedCache") -> dict[str, object]:
    """Return what the linter found as JSON fields."""
    names = ("rule", "severity", "tensor", "message", "fix")
    made_by = found.made_by
    return {
        "tensors": found.tensors,
        "counts": found.counts,
        "findings": [{name: getattr(f, name) for name in names} for f in found.findings],
        "made_by": {"algorithm": made_by.algorithm, "certainty": made_by.certainty, "evidence": made_by.evidence},
    }


def _show_changes(out: Output, found: "CacheDifference", titles: tuple[str, str]) -> None:
    counted = any(change.lost_db is not None for change in found.changes)
    more = ("clipped %", "then %", "SQNR dB", "then dB", "lost dB") if counted else ()
    rows = [
        (c.tensor, f"{c.first:.6g}", f"{c.second:.6g}", f"{100 * c.relative:.4g}", *(_cells(c) if counted else ()))
        for c in found.changes
    ]
    out.table(("tensor", *titles, "difference %", *more), rows)


def _cells(change: "Change") -> tuple[str, ...]:
    if change.before is None or change.after is None or change.lost_db is None:
        return ("–",) * 5
    before, after = change.before, change.after
    shares = f"{100 * before.clipped:.3g}", f"{100 * after.clipped:.3g}"
    return (*shares, f"{before.sqnr_db:.2f}", f"{after.sqnr_db:.2f}", f"{change.lost_db:.2f}")


def _fields(change: "Change") -> dict[str, object]:
    assert change.before is not None
    assert change.after is not None
    return {
        "tensor": change.tensor,
        "clipped": [change.before.clipped, change.after.clipped],
        "sqnr_db": [change.before.sqnr_db, change.after.sqnr_db],
        "lost_db": change.lost_db,
    }
