"""`quantlab cache rename`, `merge` and `retarget`: caches in, a cache out."""

from pathlib import Path
from typing import Annotated, Any

import typer

from quantlab.cli import options
from quantlab.cli.console import Output
from quantlab.cli.help_text import described

RENAME = described(
    "Take a cache along to a re-export of its network: tensors are found by the graphs' structure, never guessed.",
    examples=(
        "quantlab cache rename old.cache --from old.onnx --to new.onnx -o new.cache",
        "quantlab cache rename old.cache --from old.onnx --to new.onnx --map names.csv --partial -o new.cache",
    ),
)
MERGE = described(
    "Make one cache of several of one network; conflicts are listed, and refused unless --policy says which scale holds. Caches "
    "that share less than half of the smaller one's tensors are refused, unless --model shows that they are parts of one network.",
    examples=(
        "quantlab cache merge day.cache night.cache --policy max -o all.cache",
        "quantlab cache merge backbone.cache head.cache --model model.onnx -o all.cache",
    ),
)
RETARGET = described(
    "Give a cache the header of another TensorRT or calibrator; no scale changes. TensorRT 11 reads none: use convert.",
    examples=(
        "quantlab cache retarget int8.cache --tensorrt 10.3.0 -o int8.trt10.cache",
        "quantlab cache retarget minmax.cache --algorithm EntropyCalibration2 -o int8.cache",
    ),
)

CacheFile = Annotated[Path, typer.Argument(metavar="CACHE", help="A TensorRT calibration cache.")]


def rename(
    cache: CacheFile,
    output: options.Output,
    *,
    old: Annotated[Path, typer.Option("--from", metavar="OLD.onnx", help="The float model that the cache is for.")],
    new: Annotated[Path, typer.Option("--to", metavar="NEW.onnx", help="The same network, exported again.")],
    names: Annotated[
        Path | None, typer.Option("--map", metavar="FILE.csv", help="Also write old and new names as a table.")
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Write the cache although tensors are ambiguous or missing.")
    ] = False,
    force: options.Force = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Run `quantlab cache rename`."""
    from quantlab.caches.words import counted
    from quantlab.cli.cache_lint import lint_fields, show_findings
    from quantlab.jobs.cache_rewriting import RenamingCache, rename_cache

    what = RenamingCache(cache, old, new, output, names, partial)
    made, renamed = rename_cache(what, remake="always" if force else "never")
    out = Output(as_json, quiet)
    show_findings(out, renamed.linted)
    told = "the weights" if renamed.told_by_weights else "weights and shapes"
    out.made(made, f"{counted(len(renamed.rows), 'tensor')}, told by {told}")
    out.result(
        {
            "output": made.path,
            "fresh": made.fresh,
            "map": {row.old: row.new for row in renamed.rows},
            "told_by": {row.old: row.told_by for row in renamed.rows},
            "ambiguous": {old_name: list(many) for old_name, many in renamed.ambiguous.items()},
            "lost": list(renamed.lost),
            "carried": list(renamed.carried),
            "lint": lint_fields(renamed.linted),
            "notes": made.notes,
        }
    )


def merge(
    caches: Annotated[list[Path], typer.Argument(metavar="CACHE…", help="Caches of one network.")],
    output: options.Output,
    *,
    policy: Annotated[
        str, typer.Option(metavar="refuse|max|first", help="Which scale holds where they differ.")
    ] = "refuse",
    model: Annotated[
        Path | None, typer.Option("--model", metavar="MODEL.onnx", help="The float model that all must be for.")
    ] = None,
    parts: Annotated[
        bool, typer.Option("--parts", help="They are parts of one network, however few tensors they share.")
    ] = False,
    force: options.Force = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Run `quantlab cache merge`."""
    from quantlab.caches.merge import POLICIES
    from quantlab.caches.words import counted
    from quantlab.errors import UsageError
    from quantlab.jobs.cache_rewriting import merge_caches

    chosen: Any = policy
    if chosen not in POLICIES:
        raise UsageError(f"--policy is one of {', '.join(POLICIES)}, not «{policy}».")
    remake: Any = "always" if force else "never"
    made, merged = merge_caches(caches, output, policy=chosen, model=model, parts=parts, remake=remake)
    out = Output(as_json, quiet)
    if merged.conflicts:
        out.say("Tensors with several scales")
        rows = [(c.tensor, ", ".join(f"{s:.6g}" for s in c.scales), f"{c.kept:.6g}") for c in merged.conflicts]
        out.table(("tensor", "scales", "kept"), rows)
    out.made(made, f"{counted(len(merged.cache.scales), 'tensor')}, {counted(len(merged.conflicts), 'conflict')}")
    out.result(
        {
            "output": made.path,
            "fresh": made.fresh,
            "tensors": len(merged.cache.scales),
            "conflicts": {c.tensor: {"scales": list(c.scales), "kept": c.kept} for c in merged.conflicts},
            "notes": made.notes,
        }
    )


def retarget(
    cache: CacheFile,
    output: options.Output,
    *,
    tensorrt: Annotated[
        str | None,
        typer.Option(metavar="VERSION", help="TensorRT that will read it, as 10.3.0.", show_default=False),
    ] = None,
    algorithm: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Calibrator that will read it, as EntropyCalibration2.", show_default=False),
    ] = None,
    force: options.Force = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Run `quantlab cache retarget`."""
    from quantlab.errors import UsageError
    from quantlab.jobs.cache_rewriting import retarget_cache

    if tensorrt is None and algorithm is None:
        raise UsageError("Say what is to change: --tensorrt VERSION, --algorithm NAME, or both.")
    made = retarget_cache(cache, output, version=tensorrt, algorithm=algorithm, remake="always" if force else "never")
    out = Output(as_json, quiet)
    out.made(made)
    out.result({"output": made.path, "fresh": made.fresh, "notes": made.notes})
