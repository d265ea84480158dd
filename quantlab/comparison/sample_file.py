"""A comparison's table of samples as a file beside it: `<stem>.samples.h5`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from quantlab.comparison.comparison import Comparison
from quantlab.comparison.paired import PairedValues
from quantlab.comparison.sample_table import MetricKind, SamplesFile, SampleTable
from quantlab.data.pictures import check_thumbnail
from quantlab.errors import InputError
from quantlab.numerics.arrays import F64, AnyArray
from quantlab.storage.file_digest import file_digest
from quantlab.storage.sample_columns import (
    join_texts,
    read_sample_columns,
    split_bytes,
    write_sample_columns,
)
from quantlab.storage.text import StrPath, check_file, located, read_text

_CLASSES = ("labels", "fp32_class", "int8_class")


def samples_path(comparison: Path) -> Path:
    """Return the place of the table that goes with a comparison's JSON."""
    return comparison.with_name(f"{comparison.stem}.samples.h5")


def write_samples(comparison: Path, table: SampleTable) -> SamplesFile:
    """Write the table beside a comparison's JSON, read it back, and return what the JSON is to say of it.

    Raises
    ------
    InputError
        When the table is larger than is stored (512 MiB), or is not read back as it was.
    MachineError
        No space, no permission.
    """
    path = samples_path(comparison)
    about, columns = columns_of(table)
    write_sample_columns(path, about, columns)
    reference = SamplesFile(path.name, file_digest(path))
    again, read = columns_of(_read(path))
    if again != about or any(
        not np.array_equal(read[name], column, equal_nan=_is_float(column)) for name, column in columns.items()
    ):
        raise InputError(f"'{path}' is not read back as it was written: write elsewhere.")
    return reference


def read_samples(comparison: StrPath) -> SampleTable | None:
    """Return the table of samples that goes with a comparison's JSON; None if it names none.

    Raises
    ------
    InputError
        When the comparison or the table is missing, damaged, edited or foreign, or the table is of another comparison.
    """
    path = Path(comparison)
    text = read_text(path, "a comparison")
    with located(f"'{path}'"):
        found = Comparison.from_json(text)
    return None if found.samples_file is None else _checked(path, found, found.samples_file)


def columns_of(table: SampleTable) -> tuple[dict[str, Any], dict[str, AnyArray]]:
    """Return what the columns mean, and the columns, as `storage` writes them."""
    kinds = table.metrics.items()
    metrics = [[name, kind.name, kind.higher_is_better, kind.mean, kind.in_points] for name, kind in kinds]
    columns: dict[str, AnyArray] = {"signal": table.signal, "noise": table.noise}
    if table.keys:
        columns["keys"] = np.array([int(key, 16) for key in table.keys], "<u8")
    if table.names:
        columns["names"], columns["name_bytes"] = join_texts(table.names)
    columns |= {name: values for name in (*_CLASSES, "confidence") if (values := getattr(table, name)) is not None}
    for place, pair in enumerate(table.values.values()):
        columns |= {f"fp32 {place}": pair.fp32, f"int8 {place}": pair.int8}
    if table.pictures:
        rows = sorted(table.pictures)
        columns["picture_rows"] = np.array(rows, "<i8")
        columns["picture_bytes"] = np.array([len(table.pictures[row]) for row in rows], "<i8")
        columns["pictures"] = np.frombuffer(b"".join(table.pictures[row] for row in rows), np.uint8)
    return {"metrics": metrics}, columns


def table_of(about: Mapping[str, Any], columns: Mapping[str, AnyArray]) -> SampleTable:
    """Return the table that `columns_of` took apart.

    Raises
    ------
    InputError
        When a column is missing, unknown, of another type or shape, or has values that no table has.
    """
    left = dict(columns)
    signal, noise = (_taken(left, name, "f", 1) for name in ("signal", "noise"))
    metrics = _metrics(about)
    values = {
        name: PairedValues(_finite(_taken(left, f"fp32 {place}", "f")), _finite(_taken(left, f"int8 {place}", "f")))
        for place, name in enumerate(metrics)
    }
    classes = {name: _taken(left, name, "i", 1) for name in _CLASSES if name in left}
    table = SampleTable(
        signal,
        noise,
        keys=tuple(f"{key:016x}" for key in _taken(left, "keys", "u", 1, 8).tolist()) if "keys" in left else (),
        names=_texts(left),
        **classes,
        confidence=_taken(left, "confidence", "f", 1) if "confidence" in left else None,
        values=values,
        metrics=metrics,
        pictures=_pictures(left),
    )
    if left:
        raise InputError(f"The table has a column «{next(iter(left))}», which quantlab does not store.")
    return table


def _checked(path: Path, found: Comparison, reference: SamplesFile) -> SampleTable:
    place = samples_path(path)
    if reference.name != place.name:
        raise InputError(f"'{path}' names the samples «{reference.name}»; beside it they are called «{place.name}».")
    check_file(place, "a table of samples")
    if file_digest(place) != reference.sha256:
        raise InputError(f"'{place}' is not the file that was written with '{path}': it was edited or is another's.")
    table = _read(place)
    if len(table) != found.samples or [kind.name for kind in table.metrics.values()] != [m.name for m in found.metrics]:
        raise InputError(f"'{place}' has other samples or metrics than '{path}': compare again.")
    if table.fp32_class is not None and table.flipped != tuple(flip.index for flip in found.flips):
        raise InputError(f"'{place}' has other flipped samples than '{path}': compare again.")
    return table


def _read(path: Path) -> SampleTable:
    about, columns = read_sample_columns(path)
    with located(f"'{path}'"):
        return table_of(about, columns)


def _metrics(about: Mapping[str, Any]) -> dict[str, MetricKind]:
    listed = about.get("metrics")
    if set(about) != {"metrics"} or not isinstance(listed, list) or not all(map(_is_metric, listed)):
        raise InputError("The table does not say what its metrics are; quantlab never wrote such a one.")
    metrics = {name: MetricKind(*kind) for name, *kind in listed}
    if len(metrics) != len(listed):
        raise InputError("The table has two metrics of one name.")
    return metrics


def _is_metric(listed: object) -> bool:
    return isinstance(listed, list) and [type(value) for value in listed] == [str, str, bool, bool, bool]


def _taken(left: dict[str, AnyArray], name: str, kind: str, dims: int | None = None, size: int = 8) -> AnyArray:
    """Take a column out of those left, of this kind of type and so many dimensions."""
    column = left.pop(name, None)
    if (
        column is None
        or column.dtype.kind != kind
        or column.dtype.itemsize != size
        or (dims or column.ndim) != column.ndim
    ):
        raise InputError(f"The column «{name}» is missing, or of another type than quantlab's.")
    return column


def _finite(values: F64) -> F64:
    if not np.isfinite(values).all():
        raise InputError("The values of a metric are not finite.")
    return values


def _texts(left: dict[str, AnyArray]) -> tuple[str, ...]:
    if "names" not in left:
        return ()
    parts = split_bytes(_taken(left, "names", "u", 1, 1), _taken(left, "name_bytes", "i", 1))
    try:
        return tuple(part.decode("utf-8") for part in parts)
    except UnicodeDecodeError as error:
        raise InputError("The name of a sample is no UTF-8 text.") from error


def _pictures(left: dict[str, AnyArray]) -> dict[int, bytes]:
    if "pictures" not in left:
        return {}
    rows = _taken(left, "picture_rows", "i", 1).tolist()
    lengths = _taken(left, "picture_bytes", "i", 1)
    if len(lengths) != len(rows) or len(set(rows)) != len(rows):
        raise InputError("There are not as many pictures as rows with one.")
    found = dict(zip(rows, split_bytes(_taken(left, "pictures", "u", 1, 1), lengths), strict=True))
    for picture in found.values():
        check_thumbnail(picture)
    return found


def _is_float(column: AnyArray) -> bool:
    return column.dtype.kind == "f"
