"""Where a plan's INT8 scales come from, as declared, and what TensorRT is given of it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

import onnx

from quantlab.builder import check_model
from quantlab.caches.tensors import cache_tensors, with_aliases
from quantlab.calibration.provenance import DataIdentity
from quantlab.calibration.scale_table import ScaleTable
from quantlab.calibration.trt_cache import cache_of, header
from quantlab.data import Dataset
from quantlab.engines.tensorrt.build_options import Algorithm, FromCache, FromRanges, Int8Source, NativeCalibration
from quantlab.engines.tensorrt.capabilities import require
from quantlab.errors import InputError, UsageError
from quantlab.graph.model import Model
from quantlab.jobs.collecting import fitting
from quantlab.jobs.data_source import DataSource
from quantlab.jobs.quantizing import read_scales
from quantlab.numerics.arrays import AnyArray
from quantlab.storage.calibration_cache import read_cache

Way: TypeAlias = Literal["cache", "ranges"]

_ALGORITHM = "EntropyCalibration2"
_LISTED = 4


@dataclass(frozen=True, slots=True)
class StoredScales:
    """Scales in a file.

    Attributes
    ----------
    path
        A calibration cache, or a scale table (.json, .csv).
    way
        cache: a calibrator hands them out; ranges: each tensor gets its dynamic range.
    of_any_model
        Take them although they say that they are of another model.
    """

    path: Path
    way: Way = "cache"
    of_any_model: bool = False


@dataclass(frozen=True, slots=True)
class Calibration:
    """TensorRT's own calibration.

    Attributes
    ----------
    algorithm
        entropy2, minmax, legacy or entropy.
    data
        What it is fed with.
    batch
        Rows a batch; None is the model's own size, or 32.
    cache
        Where the cache goes that TensorRT writes; None keeps none.
    """

    algorithm: Algorithm
    data: DataSource
    batch: int | None = None
    cache: Path | None = None


def check_scales(scales: StoredScales | Calibration | None, library: str, version: str) -> None:
    """Refuse scales that a version has no use for, before any file is read.

    Raises
    ------
    UsageError
        With what to do instead.
    """
    match scales:
        case StoredScales(way="cache"):
            require("calibration cache", library, version)
        case StoredScales():
            require("dynamic ranges", library, version)
        case Calibration():
            require("calibrators", library, version)


def stored_source(stored: StoredScales, model: Model, version: str) -> tuple[Int8Source, tuple[str, ...]]:
    """Return what TensorRT of this version is given of stored scales, and what to say of them.

    Raises
    ------
    QuantlabError
        InputError for scales that cannot be read or are of none of the model's tensors, StaleError for those of another
        model.
    """
    table = _read(stored, model)
    sets = table.provenance.chosen_on if table.provenance else ()
    wanted = cache_tensors(model)
    full = with_aliases(table, wanted.aliases)
    missing = [name for name in wanted.tensors if name not in full]
    if len(missing) == len(wanted.tensors):
        raise InputError(f"'{stored.path}' has a scale for no tensor of «{model.name}»: it is of another model.")
    if stored.way == "ranges":
        return FromRanges(replace(full, provenance=None) if stored.of_any_model else full, sets), ()
    first = full.cache_header or header(version, _ALGORITHM)
    return FromCache(cache_of(full, first), sets), _about(missing)


def calibration_source(calibration: Calibration, model: Model, data: Dataset) -> NativeCalibration:
    """Return what TensorRT's calibrator is fed with: `data` is the declared set, opened."""
    batches = Bound(data, tuple(i.name for i in _inputs(model)))
    return NativeCalibration(
        algorithm=calibration.algorithm, batches=batches, batch=calibration_data(calibration, model).batch
    )


def calibration_data(calibration: Calibration, model: Model) -> DataSource:
    """Return the declared data in batches of the calibration's size.

    Raises
    ------
    UsageError
        When that is not the model's own, where it has one.
    """
    wanted = calibration.batch or calibration.data.batch
    source = fitting(replace(calibration.data, batch=wanted), model)
    if calibration.batch is not None and source.batch != calibration.batch:
        raise UsageError(
            f"«{model.name}» takes batches of {source.batch} and nothing else: calibrate in those, not in {calibration.batch}."
        )
    return source


@dataclass(frozen=True, slots=True)
class Bound:
    """A data set whose batches name the model's inputs."""

    data: Dataset
    inputs: tuple[str, ...]

    @property
    def identity(self) -> DataIdentity:
        """Of the data."""
        return self.data.identity

    def __iter__(self) -> Iterator[dict[str, AnyArray]]:
        for batch in self.data:
            yield batch.bind(self.inputs)


def _read(stored: StoredScales, model: Model) -> ScaleTable:
    tabular = stored.path.suffix.lower() in (".json", ".csv")
    if stored.of_any_model:
        known = cache_tensors(model)
        return read_scales(stored.path) if tabular else read_cache(stored.path, (*known.tensors, *known.aliases))
    table = read_scales(stored.path, model)
    check_model(table.provenance, model)
    return table


def _about(missing: list[str]) -> tuple[str, ...]:
    if not missing:
        return ()
    names = ", ".join(f"«{name}»" for name in missing[:_LISTED])
    more = " …" if len(missing) > _LISTED else ""
    return (f"{len(missing)} tensors of the model have no scale, and what needs one there stays float: {names}{more}.",)


def _inputs(model: Model) -> list[onnx.ValueInfoProto]:
    stored = {tensor.name for tensor in model.proto.graph.initializer}
    return [i for i in model.proto.graph.input if i.name not in stored]
