"""Steps: caches in, a cache out: renamed for a re-export, merged, or with another header; sidecars kept true."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from quantlab.caches.merge import Merged, Policy, check_one_network, merge, merged_provenance
from quantlab.caches.rename import Renamed, moved_provenance, rename, render_map
from quantlab.caches.retarget import retargeted
from quantlab.caches.tensors import check_names
from quantlab.caches.words import counted, listed
from quantlab.calibration.provenance import Provenance
from quantlab.calibration.trt_cache import CalibrationCache, cache_of, table_of
from quantlab.graph.model import Model, load_model
from quantlab.jobs.caching import check_cache_output
from quantlab.jobs.manifest import Recipe, file_digest, record
from quantlab.jobs.step import Made, Remake, carry_out, check_output
from quantlab.storage.cache_sidecar import sidecar_path
from quantlab.storage.calibration_cache import check_cache, check_sidecar, read_cache, rewrite_cache
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
    check_cache_output(what.output, what.cache, what.old, what.new, what.map)
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
    caches: Sequence[Path],
    output: Path,
    *,
    policy: Policy = "refuse",
    model: Path | None = None,
    parts: bool = False,
    remake: Remake = "never",
) -> tuple[Made, Merged]:
    """Write one cache of several of one network: as `model`, their sidecars or their names tell, or the caller by `parts`.

    Raises
    ------
    QuantlabError
        InputError for conflicts under «refuse», several algorithms, or caches of other networks; StaleError where
        sidecars name several models, or another one.
    """
    check_cache_output(output, *caches, model)
    for path in caches:
        check_sidecar(path)
    tables = [read_cache(path) for path in caches]
    provenance = merged_provenance([table.provenance for table in tables])
    named = {f"'{path}'": cache_of(table) for path, table in zip(caches, tables, strict=True)}
    if model is not None:
        _check_model(caches, load_model(model))
    elif provenance is None and not parts:
        check_one_network(named)
    merged = merge(list(named.values()), policy=policy)
    inputs = {f"cache {i}": file_digest(path) for i, path in enumerate(caches)}
    fresh = _written(output, merged.cache, provenance, Recipe("merge", inputs, {"policy": policy}), remake)
    told = any(table.provenance is not None for table in tables) and provenance is None
    notes = ["Not every cache tells what it was made from, so the merged one does not either."] if told else []
    headers = dict.fromkeys(table.cache_header or "" for table in tables)
    if len(headers) > 1:
        notes.append(f"The headers differ ({', '.join(headers)}); the merged cache has the first.")
    return Made(output, fresh, tuple(notes)), merged


def retarget_cache(
    cache: Path, output: Path, *, version: str | None = None, algorithm: str | None = None, remake: Remake = "never"
) -> Made:
    """Write the cache with another header.

    Raises
    ------
    QuantlabError
        UsageError for TensorRT 11, which reads none, and for an unknown version or algorithm.
    """
    check_cache_output(output, cache)
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


def _check_model(caches: Sequence[Path], model: Model) -> None:
    for path in caches:
        check_cache(path, model.digest)
        check_names(set(read_cache(path)), model, what=f"'{path}'")


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
            f"{by_shapes:,} of {counted(len(renamed.rows), 'tensor')} told by shapes alone, as weights changed: the scales are those of "
            "the old weights."
        )
    if renamed.lost:
        notes.append(f"Without a counterpart in the new model: {listed(renamed.lost, 6)}.")
    if renamed.ambiguous:
        notes.append(
            f"Left out, as the structure does not tell where they went: {listed(tuple(renamed.ambiguous), 6)}."
        )
    if renamed.carried:
        notes.append(f"Kept as they are, TensorRT's own names: {listed(renamed.carried, 6)}.")
    return tuple(notes)
