"""Steps: caches in, a cache out: renamed for a re-export, merged, or with another header; sidecars kept true."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from quantlab.caches.merge import Merged, Policy, merge, merged_provenance
from quantlab.caches.rename import Renamed, moved_provenance, rename, render_map
from quantlab.caches.retarget import retargeted
from quantlab.calibration.provenance import Provenance
from quantlab.calibration.trt_cache import CalibrationCache, cache_of, table_of
from quantlab.graph.model import load_model
from quantlab.jobs.manifest import Recipe, file_digest, record
from quantlab.jobs.step import Made, Remake, carry_out, check_output
from quantlab.storage.cache_sidecar import sidecar_path
from quantlab.storage.calibration_cache import check_sidecar, read_cache, rewrite_cache
from quantlab.storage.text import write_text
from quantlab.versions import versions


@dataclass(frozen=True, slots=True)
class RenamingCache:
    """A cache of the model `old`, to be written under the names of `new`; `map` is the CSV of names, if wanted."""

    cache: Path
    old: Path
    new: Path
    output: Path
    map: Path | None = None
    partial: bool = False


def rename_cache(what: RenamingCache, *, remake: Remake = "never") -> tuple[Made, Renamed]:
    """Write the renamed cache, its sidecar, and the map; the map is written even where the cache is refused.

    Raises
    ------
    QuantlabError
        InputError where the structure leaves tensors open or the result does not suit the new model, unless `partial`;
        StaleError for an edited cache, or the cache of another model than the old one.
    """
    check_output(what.output, (), what.cache, what.old, what.new, what.map)
    old, new = load_model(what.old), load_model(what.new)
    table = read_cache(what.cache)
    check_sidecar(what.cache)
    renamed = rename(cache_of(table), old, new)
    if what.map is not None:
        check_output(what.map, (".csv",), what.cache, what.old, what.new)
        write_text(what.map, render_map(renamed))
    if not what.partial:
        renamed.check()
    known = table.provenance
    provenance = None if known is None else moved_provenance(known, old, new, renamed)
    inputs = {"cache": file_digest(what.cache), "old model": old.digest, "new model": new.digest}
    recipe = Recipe("rename", inputs, {"partial": what.partial})
    fresh = _written(what.output, renamed.cache, provenance, recipe, remake)
    return Made(what.output, fresh, _about_names(renamed)), renamed


def merge_caches(
    caches: Sequence[Path], output: Path, *, policy: Policy = "refuse", remake: Remake = "never"
) -> tuple[Made, Merged]:
    """Write one cache of several.

    Raises
    ------
    QuantlabError
        InputError for conflicts under «refuse» or several algorithms, StaleError for several models.
    """
    check_output(output, (), *caches)
    tables = [read_cache(path) for path in caches]
    for path in caches:
        check_sidecar(path)
    merged = merge([cache_of(table) for table in tables], policy=policy)
    provenance = merged_provenance([table.provenance for table in tables])
    inputs = {f"cache {i}": file_digest(path) for i, path in enumerate(caches)}
    fresh = _written(output, merged.cache, provenance, Recipe("merge", inputs, {"policy": policy}), remake)
    told = any(table.provenance is not None for table in tables) and provenance is None
    notes = ("Not every cache tells what it was made from, so the merged one does not either.",) if told else ()
    return Made(output, fresh, notes), merged


def retarget_cache(
    cache: Path, output: Path, *, version: str | None = None, algorithm: str | None = None, remake: Remake = "never"
) -> Made:
    """Write the cache with another header.

    Raises
    ------
    QuantlabError
        UsageError for TensorRT 11, which reads none, and for an unknown version or algorithm.
    """
    check_output(output, (), cache)
    table = read_cache(cache)
    check_sidecar(cache)
    before = cache_of(table)
    after = retargeted(before, version=version, algorithm=algorithm)
    recipe = Recipe("retarget", {"cache": file_digest(cache)}, {"version": version, "algorithm": algorithm})
    fresh = _written(output, after, table.provenance, recipe, remake)
    notes = []
    if before.algorithm != after.algorithm:
        notes.append(f"The scales are still those of {before.algorithm}; only who reads them has changed.")
    if before.algorithm == "LegacyCalibration" != after.algorithm:
        notes.append("LegacyCalibration's keys are those after fusion: TensorRT will name the others as missing.")
    return Made(output, fresh, tuple(notes))


def _written(
    path: Path, cache: CalibrationCache, provenance: Provenance | None, recipe: Recipe, remake: Remake
) -> bool:
    def make() -> Mapping[str, str]:
        rewrite_cache(path, replace(table_of(cache), provenance=provenance))
        return versions()

    fresh = carry_out(path, lambda: recipe, make, remake=remake)
    if fresh and sidecar_path(path).exists():
        record(sidecar_path(path), recipe, versions=versions())
    return fresh


def _about_names(renamed: Renamed) -> tuple[str, ...]:
    notes = []
    by_shapes = sum(row.told_by == "shapes" for row in renamed.rows)
    if by_shapes:
        notes.append(
            f"{by_shapes} of {len(renamed.rows)} tensors were told by shapes alone, as weights changed: the scales are those of "
            "the old weights."
        )
    if renamed.lost:
        notes.append(f"Without a counterpart in the new model: {_listed(renamed.lost)}.")
    if renamed.ambiguous:
        notes.append(f"Left out, as the structure does not tell where they went: {_listed(tuple(renamed.ambiguous))}.")
    if renamed.carried:
        notes.append(f"Kept as they are, TensorRT's own names: {_listed(renamed.carried)}.")
    return tuple(notes)


def _listed(names: Sequence[str], most: int = 6) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(f"«{name}»" for name in names[:most]) + more
