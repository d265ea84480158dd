"""TensorRT's calibration cache as a file: written for a named model, with a sidecar that says which."""

from collections.abc import Collection, Iterable
from dataclasses import replace

from quantlab.calibration.provenance import Provenance
from quantlab.calibration.scale_table import ScaleTable
from quantlab.calibration.trt_cache import cache_of, header, parse_cache, render_cache, table_of
from quantlab.errors import InputError, StaleError
from quantlab.storage.cache_sidecar import cache_digest, read_sidecar, sidecar_path, write_sidecar
from quantlab.storage.text import StrPath, located, read_text, write_text


def write_cache(
    path: StrPath,
    table: ScaleTable,
    *,
    model_tensors: tuple[str, ...],
    version: str,
    algorithm: str,
    quantile: float = 0.9999,
    partial: bool = False,
) -> tuple[str, ...]:
    """Write the cache of a model's activations for a TensorRT version; return the names that the table lacks.

    Parameters
    ----------
    model_tensors
        The tensors that are to have a scale, by the names of the ONNX file.
    version, algorithm
        For instance «8.6.1» and «EntropyCalibration2».
    quantile
        What a cache of LegacyCalibration says of itself in its first line.
    partial
        Write the cache though tensors lack a scale; TensorRT will run those in floating point.

    Raises
    ------
    InputError
        When tensors lack a scale, the table has rows that the model does not know (keys of a cache that the table was
        read from may stay), or a row does not fit into a cache.
    UsageError
        For a version that reads no caches, or an unknown algorithm.
    MachineError
        No space, no permission.
    """
    first_line = header(version, algorithm, quantile=quantile)
    rows = [row for row in table.rows if row.role != "weight"]
    known, have = set(model_tensors), {row.tensor for row in rows}
    foreign = [
        row.tensor
        for row in rows
        if row.tensor not in known and not (row.role == "unknown" and table.cache_header is not None)
    ]
    if foreign:
        raise InputError(
            f"The scale table has {_listed(foreign)}, which the model does not: it was made for another model, or "
            "tensors were renamed since. Take them out with `without`, or calibrate this model."
        )
    missing = tuple(name for name in model_tensors if name not in have)
    if missing and not partial:
        raise InputError(
            f"The scale table lacks {_listed(missing)} of the model: calibrate them, or write the cache without them "
            "(`calibrate --partial`, `cache convert --allow-missing`); TensorRT runs them in floating point."
        )
    if not rows:
        raise InputError("The scale table has no activation, so there is nothing to write into a cache.")
    _write(path, table, first_line)
    return missing


def rewrite_cache(path: StrPath, table: ScaleTable) -> None:
    """Write a table that was read from a cache with the header it had: the same bytes, unless rows were changed.

    Raises
    ------
    InputError
        When a row does not fit into a cache.
    UsageError
        When the table did not come from a cache, so that there is no header.
    MachineError
        No space, no permission.
    """
    _write(path, table, None)


def read_cache(path: StrPath, model_tensors: Collection[str] | None = None) -> ScaleTable:
    """Return a cache as a scale table that is written back byte for byte.

    Its provenance is that of the sidecar, if there is one and the cache is as quantlab wrote it.

    Parameters
    ----------
    model_tensors
        The tensors of the model; other keys get the role «unknown» and stay.

    Raises
    ------
    InputError
        When the file is missing or no cache, a tensor occurs twice, or a scale is zero, negative or not finite.
    """
    text = read_text(path, "a calibration cache")
    with located(f"'{path}'"):
        table = table_of(parse_cache(text), None if model_tensors is None else frozenset(model_tensors))
    sidecar = read_sidecar(path)
    if sidecar is None or sidecar.cache != cache_digest(text):
        return table
    return replace(table, provenance=sidecar.provenance)


def check_cache(path: StrPath, model_digest: str) -> Provenance | None:
    """Return where a cache comes from, having made sure that it is this model's; None if it has no sidecar.

    A cache that TensorRT wrote has none, and nothing in it says which model it belongs to.

    Raises
    ------
    StaleError
        When the cache was made for another model, or changed since it was written.
    InputError
        When the cache or its sidecar cannot be read.
    """
    provenance = check_sidecar(path)
    if provenance is not None and provenance.model != model_digest:
        raise StaleError(
            f"'{path}' was made for the model «{provenance.model_name}» ({provenance.model}), not for "
            f"this one ({model_digest}): calibrate this model."
        )
    return provenance


def check_sidecar(path: StrPath) -> Provenance | None:
    """Return where a cache comes from, having made sure that it is as it was written; None if it has no sidecar.

    Raises
    ------
    StaleError
        When the cache changed since it was written.
    InputError
        When the cache or its sidecar cannot be read.
    """
    text = read_text(path, "a calibration cache")
    sidecar = read_sidecar(path)
    if sidecar is None:
        return None
    if sidecar.cache != cache_digest(text):
        raise StaleError(
            f"'{path}' was changed after '{sidecar_path(path)}' was written, so nothing says which model it is for: write the "
            "cache again, or remove that file if the change was meant."
        )
    return sidecar.provenance


def _write(path: StrPath, table: ScaleTable, first_line: str | None) -> None:
    text = render_cache(cache_of(table, first_line))
    # The cache first: until the sidecar follows, the old one's digest says that it is not this cache's.
    write_text(path, text)
    if table.provenance is not None:
        write_sidecar(path, text, table.provenance)
    else:
        sidecar_path(path).unlink(missing_ok=True)


def _listed(names: Iterable[str]) -> str:
    """Return «2 tensors («a», «b»)»."""
    found = list(names)
    shown = ", ".join(f"«{name}»" for name in found[:6])
    more = f" and {len(found) - 6} more" if len(found) > 6 else ""
    return f"{len(found)} tensor{'s' if len(found) > 1 else ''} ({shown}{more})"
