"""Step: scales in, a TensorRT calibration cache out."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from quantlab.builder import check_model
from quantlab.caches.tensors import cache_tensors, with_aliases
from quantlab.caches.words import counted, listed
from quantlab.calibration.methods.tensorrt import TensorRTLegacy
from quantlab.calibration.scale_table import ScaleTable
from quantlab.calibration.trt_cache import header
from quantlab.errors import UsageError
from quantlab.graph.model import load_model
from quantlab.jobs import manifest, remarks
from quantlab.jobs.manifest import Recipe, file_digest, record
from quantlab.jobs.quantizing import read_scales, read_scales_for
from quantlab.jobs.step import Made, Remake, carry_out, check_output
from quantlab.storage.cache_sidecar import read_sidecar, sidecar_path
from quantlab.storage.calibration_cache import write_cache
from quantlab.storage.scale_table_json import write_scale_table
from quantlab.versions import versions

DEFAULT_VERSION, DEFAULT_ALGORITHM = "8.6.1", "EntropyCalibration2"
_OTHERS = (".onnx", ".json", ".csv", ".h5", ".hdf5", ".npz", ".npy", ".yaml", ".yml", ".plan", ".engine")
_ALGORITHMS = {"tensorrt-minmax": "MinMaxCalibration", "tensorrt-legacy": "LegacyCalibration"}


@dataclass(frozen=True, slots=True)
class Caching:
    """Which scales make which cache.

    Attributes
    ----------
    scales, model, output
        The scale table, the ONNX file that TensorRT will read, and the cache.
    version, algorithm
        The TensorRT that will read it, and the calibrator that its header names.
    partial
        Write it although tensors lack a scale.
    """

    scales: Path
    model: Path
    output: Path
    version: str = DEFAULT_VERSION
    algorithm: str = DEFAULT_ALGORITHM
    partial: bool = False


def make_cache(what: Caching, *, remake: Remake = "never") -> Made:
    """Write the cache and its sidecar, unless it is current; missing tensors of a partial one are named in the notes.

    Raises
    ------
    QuantlabError
        InputError for tensors without a scale, StaleError for the scales of another model, UsageError for a version
        that reads no caches.
    """
    check_cache_output(what.output, what.model, what.scales)
    model = load_model(what.model)
    notes: list[str] = []

    def recipe() -> Recipe:
        inputs = {"model": model.digest, "scales": file_digest(what.scales)}
        options = {"version": what.version, "algorithm": what.algorithm, "partial": what.partial}
        return Recipe("cache", inputs, options)

    def make() -> Mapping[str, str]:
        table = read_scales_for(what.scales, model)
        check_model(table.provenance, model)
        wanted = cache_tensors(model)
        missing = write_cache(
            what.output,
            with_aliases(table, wanted.aliases),
            model_tensors=(*wanted.tensors, *wanted.aliases),
            version=what.version,
            algorithm=what.algorithm,
            quantile=_quantile(table),
            partial=what.partial,
        )
        if missing:
            notes.append(
                f"The cache is partial: {counted(len(missing), 'tensor')} without a scale ({listed(missing, 6)})."
            )
        if sidecar_path(what.output).exists():  # before the cache, which is not finished without it
            record(sidecar_path(what.output), recipe(), versions=versions())
        return versions()

    fresh = carry_out(what.output, recipe, make, remake=remake)
    return Made(what.output, fresh, (*remarks.on_table(read_scales(what.scales, model)), *notes))


def _quantile(table: ScaleTable) -> float:
    """Return the quantile that Legacy's own first line holds: that of the method which made the table, where it did."""
    found = re.match(r"TensorRTLegacy\(quantile=([0-9.e-]+)", table.rows[0].method) if table.rows else None
    return float(found[1]) if found else TensorRTLegacy().quantile


def check_caching(what: Caching) -> None:
    """Refuse what `make_cache` would, as far as that can be told before there are scales.

    Raises
    ------
    QuantlabError
        As `make_cache`.
    """
    header(what.version, what.algorithm)
    check_cache_output(what.output, what.model, what.scales)
    load_model(what.model)


def check_cache_output(output: Path, *inputs: Path | None) -> None:
    """Refuse a cache that, or whose sidecar, would replace an input or a file that is not quantlab's.

    Raises
    ------
    UsageError
        When one of them is also an input, or the cache has the name of another kind of file.
    InputError
        When a stranger's file stands in the sidecar's place.
    """
    sidecar = sidecar_path(output)
    if output.suffix.lower() in _OTHERS:
        raise UsageError(f"'{output}' is to be a calibration cache: call it so, as in {output.stem}.cache.")
    check_output(output, (), *inputs)
    check_output(sidecar, (), *inputs)
    if sidecar.name not in manifest.listed(sidecar.absolute().parent):
        read_sidecar(output)


def algorithm_of(method: str) -> str:
    """Return the calibrator that a cache's header names for a method: TensorRT's own, or its default."""
    return _ALGORITHMS.get(method.strip().partition(":")[0], DEFAULT_ALGORITHM)


def convert_to_table(source: Path, output: Path, model: Path | None, *, remake: Remake = "never") -> Made:
    """Write the scales of a cache as a scale table; with a model, keys that it does not have are marked.

    Raises
    ------
    QuantlabError
        As `make_cache`.
    """
    check_output(output, (".json",), source, model)
    if output.absolute() == sidecar_path(source).absolute():
        raise UsageError(f"'{output}' is the place of the cache's sidecar: give the table another name.")
    loaded = None if model is None else load_model(model)

    def recipe() -> Recipe:
        inputs = {"scales": file_digest(source)} | ({} if loaded is None else {"model": loaded.digest})
        return Recipe("convert", inputs)

    def make() -> Mapping[str, str]:
        write_scale_table(output, read_scales(source) if loaded is None else read_scales_for(source, loaded))
        return versions()

    fresh = carry_out(output, recipe, make, remake=remake)
    return Made(output, fresh, remarks.on_table(read_scales(source, loaded)))
