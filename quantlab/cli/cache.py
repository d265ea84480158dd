"""`quantlab cache`: the group of commands on TensorRT calibration caches, and `show`."""

from pathlib import Path
from typing import Annotated

import typer

from quantlab.cli import cache_convert, cache_lint, cache_rewrite, options
from quantlab.cli.console import Output
from quantlab.cli.help_text import described

_SHOW = described(
    "List a cache's tensors, scales and the magnitudes they reach; with --model, which of them the model has.",
    examples=("quantlab cache show int8.cache", "quantlab cache show int8.cache --model model.onnx --json"),
)
CacheFile = Annotated[Path, typer.Argument(metavar="CACHE", help="A TensorRT calibration cache.")]
OfModel = Annotated[Path | None, typer.Option("--model", metavar="MODEL.onnx", help="The float model that it is for.")]


def add_to(app: typer.Typer) -> None:
    """Register the group."""
    group = typer.Typer(
        no_args_is_help=True, help="Check, compare, rename, merge and convert TensorRT calibration caches."
    )
    group.command("show", help=_SHOW)(_show)
    group.command("lint", help=cache_lint.LINT)(cache_lint.lint)
    group.command("diff", help=cache_lint.DIFF)(cache_lint.diff)
    group.command("rename", help=cache_rewrite.RENAME)(cache_rewrite.rename)
    group.command("merge", help=cache_rewrite.MERGE)(cache_rewrite.merge)
    group.command("retarget", help=cache_rewrite.RETARGET)(cache_rewrite.retarget)
    group.command("convert", help=cache_convert.CONVERT)(cache_convert.convert)
    app.add_typer(group, name="cache")


def _show(cache: CacheFile, model: OfModel = None, as_json: options.Json = False, quiet: options.Quiet = False) -> None:
    from quantlab.caches.tensors import cache_tensors
    from quantlab.caches.words import counted
    from quantlab.calibration.trt_cache import CalibrationCache
    from quantlab.graph.model import load_model
    from quantlab.jobs import remarks
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
        counted(len(table), "tensor")
        + (f"; not in the model: {len(unknown):,}; of the model without a scale: {len(missing):,}." if wanted else ".")
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


def _as_cache(path: Path) -> Path:
    from quantlab.errors import UsageError

    if path.suffix.lower() in (".json", ".csv"):
        raise UsageError(f"'{path}' is a scale table, no calibration cache; `quantlab cache diff` takes both.")
    return path


def _yes(known: bool) -> str:
    return "yes" if known else "no"
