"""Step: a float model and scales in, a Q/DQ model out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from quantlab.builder import QuantizedModel, QuantizeOptions, quantize
from quantlab.caches.tensors import cache_tensors, check_names
from quantlab.calibration.scale_table import ScaleTable
from quantlab.errors import InputError
from quantlab.graph.model import Model, load_model, write_model
from quantlab.jobs import remarks
from quantlab.jobs.checks import check_used
from quantlab.jobs.manifest import Recipe, file_digest
from quantlab.jobs.step import Made, Remake, carry_out, check_output
from quantlab.storage.calibration_cache import check_cache, read_cache
from quantlab.storage.scale_table_csv import read_scale_table_csv
from quantlab.storage.scale_table_json import read_scale_table
from quantlab.versions import versions


@dataclass(frozen=True, slots=True)
class Quantizing:
    """Which model and scales make which file.

    Attributes
    ----------
    model
        The float model.
    scales
        A scale table as .json or .csv, or a TensorRT calibration cache.
    output
        The .onnx file.
    options
        Target, weights, head, and whether tensors without a scale may stay float.
    """

    model: Path
    scales: Path
    output: Path
    options: QuantizeOptions = field(default_factory=QuantizeOptions)


def quantize_model(what: Quantizing, *, remake: Remake = "never") -> tuple[Made, QuantizedModel | None]:
    """Write the Q/DQ model, unless it is current; return it too if it was made.

    Raises
    ------
    QuantlabError
        InputError for a model or scales that cannot be used, StaleError for the scales of another model or as
        `carry_out` tells.
    """
    check_output(what.output, (".onnx",), what.model, what.scales)
    model = load_model(what.model)
    made: list[QuantizedModel] = []

    def recipe() -> Recipe:
        inputs = {"model": model.digest, "scales": file_digest(what.scales)}
        options = what.options
        return Recipe(
            "quantize",
            inputs,
            {
                "target": options.target,
                "weights": options.weights,
                "head": options.head,
                **({"keep_float": sorted(options.keep_float)} if options.keep_float else {}),
                "allow-missing": options.allow_missing,
            },
        )

    def make() -> Mapping[str, str]:
        made.append(_built(what, model))
        write_model(made[0].model, what.output)
        return versions()

    fresh = carry_out(what.output, recipe, make, remake=remake)
    notes = remarks.on_table(read_scales(what.scales, model))
    return Made(what.output, fresh, notes), (made[0] if made else None)


def rebuilt(what: Quantizing) -> QuantizedModel:
    """Return the Q/DQ model without writing it.

    Raises
    ------
    QuantlabError
        As `quantize_model`.
    """
    return _built(what, load_model(what.model))


def read_scales(path: Path, model: Model | None = None) -> ScaleTable:
    """Return the scales in a .json, .csv or cache file; a cache that says so must be the model's.

    Raises
    ------
    InputError
        When the file cannot be read as any of them.
    StaleError
        For the cache of another model.
    """
    suffix = path.suffix.lower()
    if suffix == ".json":
        return read_scale_table(path)
    if suffix == ".csv":
        return read_scale_table_csv(path)
    if suffix in (".h5", ".hdf5", ".onnx") and path.exists():
        raise InputError(f"'{path}' holds no scales: give a scale table (.json, .csv) or a calibration cache.")
    if model is None:
        return read_cache(path)
    check_cache(path, model.digest)
    known = cache_tensors(model)
    return read_cache(path, (*known.tensors, *known.aliases))


def read_scales_for(path: Path, model: Model) -> ScaleTable:
    """Return the same; the keys of a cache must be the model's, too.

    Raises
    ------
    QuantlabError
        As `read_scales`; InputError for a cache most of whose names are another model's.
    """
    table = read_scales(path, model)
    if 2 * sum(row.role == "unknown" for row in table.rows) > len(table.rows):
        check_names(set(table), model, what=f"'{path}'")
    return table


def _built(what: Quantizing, model: Model) -> QuantizedModel:
    built = quantize(model, read_scales_for(what.scales, model), options=what.options)
    check_used(built, str(what.scales))
    return built
