"""One pair for every artefact: what a value is says how it is saved, a file's suffix how it is loaded."""

from collections.abc import Callable
from pathlib import Path

from quantlab.calibration.histogram_set import HistogramSet
from quantlab.calibration.overrides import Overrides
from quantlab.calibration.scale_table import ScaleTable
from quantlab.errors import UsageError
from quantlab.graph.model import Model, load_model, write_model
from quantlab.storage.calibration_cache import read_cache, rewrite_cache
from quantlab.storage.histograms_h5 import read_histograms, write_histograms
from quantlab.storage.overrides_yaml import read_overrides, write_overrides
from quantlab.storage.scale_table_csv import read_scale_table_csv, write_scale_table_csv
from quantlab.storage.scale_table_json import read_scale_table, write_scale_table
from quantlab.storage.text import StrPath

_TABLE_WRITERS = {".json": write_scale_table, ".csv": write_scale_table_csv, ".cache": rewrite_cache}
_READERS: dict[str, Callable[[StrPath], HistogramSet | ScaleTable | Overrides | Model]] = {
    ".h5": read_histograms,
    ".hdf5": read_histograms,
    ".json": read_scale_table,
    ".csv": read_scale_table_csv,
    ".cache": read_cache,
    ".onnx": load_model,
    ".yaml": read_overrides,
    ".yml": read_overrides,
}


def save(value: object, path: StrPath) -> None:
    """Write histograms as .h5, a scale table as .json, .csv or .cache, overrides as .yaml, a model (also a quantized one) as .onnx.

    A .cache is written so only for a table that was read from one; `write_cache` makes one for a model.

    Raises
    ------
    UsageError
        When the value cannot be saved, or not under this suffix.
    InputError
        When the value does not fit into the format.
    MachineError
        No space, no permission.
    """
    suffix = Path(path).suffix.lower()
    model = getattr(value, "model", value)  # a QuantizedModel belongs to a layer above this one
    if isinstance(value, HistogramSet):
        _check_suffix(suffix, (".h5", ".hdf5"), "Histograms are")
        write_histograms(path, value)
    elif isinstance(value, ScaleTable):
        _check_suffix(suffix, tuple(_TABLE_WRITERS), "A scale table is")
        if suffix == ".cache" and value.cache_header is None:
            raise UsageError(
                "A calibration cache is for a model, a TensorRT version and an algorithm: write it with "
                "quantlab.storage.calibration_cache.write_cache, or `quantlab cache convert`."
            )
        _TABLE_WRITERS[suffix](path, value)
    elif isinstance(value, Overrides):
        _check_suffix(suffix, (".yaml", ".yml"), "Overrides are")
        write_overrides(path, value)
    elif isinstance(model, Model):
        _check_suffix(suffix, (".onnx",), "A model is")
        write_model(model, path)
    else:
        raise UsageError(
            f"A {type(value).__name__} cannot be saved; histograms of a collection, scale tables, overrides and models can."
        )


def load(path: StrPath) -> HistogramSet | ScaleTable | Overrides | Model:
    """Return what a .h5, .json, .csv, .cache, .onnx or (overrides) .yaml file holds.

    Raises
    ------
    UsageError
        For any other suffix.
    InputError
        When the file is missing, damaged, foreign or of a newer version.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in _READERS:
        raise UsageError(f"'{path}' cannot be loaded by its suffix «{suffix}»; {', '.join(_READERS)} are known.")
    return _READERS[suffix](path)


def _check_suffix(suffix: str, known: tuple[str, ...], what: str) -> None:
    if suffix not in known:
        raise UsageError(f"{what} saved as {' or '.join(known)}, not as «{suffix}».")
