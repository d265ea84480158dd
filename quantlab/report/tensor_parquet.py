"""The report's tensors as a Parquet file: one line a tensor, for machines that read many runs; needs pyarrow."""

from __future__ import annotations

import os
from typing import Any

from quantlab.atomic import atomic_path
from quantlab.errors import MachineError
from quantlab.report.formats import visible
from quantlab.report.report_data import ReportData


def tensor_columns(data: ReportData) -> dict[str, list[Any]]:
    """Return the columns, one value a tensor.

    position (from 1), tensor, role, dtype, method, scale, channels, observed_low and observed_high, chosen_low and chosen_high
    (the tensor's own unit), clipped (share, 0 … 1), expected_db, own_db and accumulated_db (SQNR, dB); None: not known.
    """
    rows = data.tensors
    return {
        "position": [row.position for row in rows],
        "tensor": [visible(row.name) for row in rows],
        "role": [row.role for row in rows],
        "dtype": [row.dtype for row in rows],
        "method": [row.method for row in rows],
        "scale": [row.scale for row in rows],
        "channels": [row.channels for row in rows],
        "observed_low": [row.observed.low if row.observed else None for row in rows],
        "observed_high": [row.observed.high if row.observed else None for row in rows],
        "chosen_low": [row.chosen.low if row.chosen else None for row in rows],
        "chosen_high": [row.chosen.high if row.chosen else None for row in rows],
        "clipped": [row.clipped for row in rows],
        "expected_db": [row.expected_db for row in rows],
        "own_db": [row.own_db for row in rows],
        "accumulated_db": [row.accumulated_db for row in rows],
    }


_INTEGERS, _TEXTS = ("position", "channels"), ("tensor", "role", "dtype", "method")


def write_parquet(path: str | os.PathLike[str], data: ReportData) -> None:
    """Write the tensors, whole or not at all; the file's metadata name schema, version, title, verdict and model.

    Raises
    ------
    MachineError
        Without pyarrow; no space, no permission.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise MachineError(
            "A Parquet file needs pyarrow, which is not installed: pip install 'quantlab[parquet]'."
        ) from error
    columns = tensor_columns(data)
    types = {name: pa.int64() if name in _INTEGERS else pa.float64() for name in columns}
    types |= dict.fromkeys(_TEXTS, pa.string())
    about = {
        "schema": "quantlab-report-tensors",
        "version": "1",
        "title": data.title,
        "verdict": data.verdict.state,
        "model": data.model,
    }
    schema = pa.schema(
        [(name, types[name]) for name in columns],
        metadata={f"quantlab.{key}": visible(text) for key, text in about.items()},
    )
    with atomic_path(path) as temporary:
        parquet.write_table(pa.table(columns, schema=schema), temporary)
