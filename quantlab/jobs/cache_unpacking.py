"""Step: a Q/DQ model in, a calibration cache and the plain float model out: the way to DLA and to TensorRT ≤ 10."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from quantlab.caches.filling import filled, restored
from quantlab.caches.network import CacheNetwork
from quantlab.caches.plain import Plain, plain_of
from quantlab.caches.retarget import retargeted
from quantlab.caches.tensors import with_aliases
from quantlab.caches.words import listed
from quantlab.calibration.scale_table import ScaleTable
from quantlab.calibration.trt_cache import CalibrationCache, header
from quantlab.errors import UsageError
from quantlab.graph.metadata import provenance_of
from quantlab.graph.model import Model, load_model, write_model
from quantlab.graph.view import Graph
from quantlab.jobs.caching import DEFAULT_ALGORITHM, DEFAULT_VERSION, check_cache_output
from quantlab.jobs.manifest import Recipe, record
from quantlab.jobs.step import Made, Remake, carry_out, check_output
from quantlab.storage.cache_sidecar import sidecar_path
from quantlab.storage.calibration_cache import rewrite_cache
from quantlab.storage.scale_table_json import write_scale_table
from quantlab.versions import versions


@dataclass(frozen=True, slots=True)
class Unpacking:
    """What becomes of which Q/DQ model.

    Attributes
    ----------
    quantized, output
        The Q/DQ model, and the cache (or scale table, .json) to write.
    plain
        The float model to write beside it; required for a cache, whose names are this model's.
    original
        The float model whose weights the plain one gets; None: what the integers stand for.
    version, algorithm
        As in `Caching`; None: those of the cache that the model was made of, if it holds it.
    widen
        Affine activations get the symmetric scale around their range, instead of being refused.
    """

    quantized: Path
    output: Path
    plain: Path | None = None
    original: Path | None = None
    version: str | None = None
    algorithm: str | None = None
    widen: bool = False


@dataclass(frozen=True, slots=True)
class Unpacked:
    """The parts, the table as it was written, and tensors of the plain model that have no scale."""

    parts: Plain
    table: ScaleTable
    missing: tuple[str, ...]


def unpack(what: Unpacking, *, remake: Remake = "never") -> tuple[Made, Unpacked]:
    """Write cache and plain model; the cache's sidecar names the plain model.

    Raises
    ------
    QuantlabError
        InputError for a model that cannot be taken apart, UsageError for a version that reads no caches.
    """
    tabular = what.output.suffix.lower() == ".json"
    _check(what, tabular=tabular)
    unpacked, recipe, notes = _taken_apart(what, tabular=tabular)
    parts, table = unpacked.parts, unpacked.table

    def make() -> Mapping[str, str]:
        if what.plain is not None:
            write_model(parts.model, what.plain)
        if tabular:
            write_scale_table(what.output, table)
        else:
            rewrite_cache(what.output, table)
        return versions()

    beside = () if what.plain is None else (what.plain,)
    fresh = carry_out(what.output, lambda: recipe, make, remake=remake, beside=beside)
    if fresh and not tabular and sidecar_path(what.output).exists():
        record(sidecar_path(what.output), recipe, versions=versions())
    return Made(what.output, fresh, notes), unpacked


def _taken_apart(what: Unpacking, *, tabular: bool) -> tuple[Unpacked, Recipe, tuple[str, ...]]:
    """Return the parts, how they were made, and notes; the models read go out of memory, as large ones have to."""
    quantized = load_model(what.quantized)
    original = None if what.original is None else load_model(what.original)
    parts = plain_of(quantized, original=original, widen=what.widen)
    written = replace(parts.model, path=what.plain)
    network = CacheNetwork.of(written)
    table = with_aliases(_table(what, parts, quantized, tabular=tabular), network.tensors.aliases)
    provenance = provenance_of(quantized)
    if provenance is not None:
        table = replace(table, provenance=replace(provenance, model=written.digest, model_name=written.name))
    wanted = (*network.tensors.tensors, *network.tensors.aliases)
    known = set(table)
    missing = tuple(name for name in wanted if name not in known and network.root(name) not in known)
    inputs = {"model": quantized.digest} | ({} if original is None else {"original": original.digest})
    options = {"version": what.version, "algorithm": what.algorithm, "widen": what.widen}
    unpacked = Unpacked(replace(parts, model=written), table, missing)
    return unpacked, Recipe("unpack", inputs, options), (*parts.notes, *_about(missing, network, written))


def _check(what: Unpacking, *, tabular: bool) -> None:
    inputs = what.quantized, what.original, what.plain
    if tabular:
        check_output(what.output, (), *inputs)
    else:
        check_cache_output(what.output, *inputs)
    if what.plain is not None:
        check_output(what.plain, (".onnx",), what.quantized, what.original)
    elif not tabular:
        raise UsageError(
            "A cache made from a Q/DQ model is for the plain model: say where to write it, --plain MODEL.onnx."
        )
    if not tabular:
        _header(what)


def _header(what: Unpacking) -> str:
    return header(what.version or DEFAULT_VERSION, what.algorithm or DEFAULT_ALGORITHM)


def _table(what: Unpacking, parts: Plain, quantized: Model, *, tabular: bool) -> ScaleTable:
    """Return the cache that the model was made of, if it holds it, else its own scales; with the header wanted."""
    table = restored(parts.table, quantized) or filled(parts.table, Graph(parts.model.proto))
    if tabular:
        return table
    first_line = table.cache_header or _header(what)
    found = retargeted(CalibrationCache(first_line, {}), version=what.version, algorithm=what.algorithm)
    return replace(table, cache_header=found.header)


def _about(missing: tuple[str, ...], network: CacheNetwork, model: Model) -> tuple[str, ...]:
    inside = sum(name in network.inner for name in missing)
    others = [name for name in missing if name not in network.inner]
    notes = []
    if inside:
        notes.append(f"Inside kernels {inside} of its tensors had no Q/DQ, and have no scale: nobody reads one there.")
    if others:
        notes.append(
            f"Without Q/DQ, so that what reads or writes them stays float: {len(others)} of {model.name}: {listed(others, 6)}."
        )
    return tuple(notes)
