"""Scale tables, histograms and measured errors become the report's tensors."""

from collections.abc import Mapping, Sequence

from quantlab.calibration.histogram_set import HistogramSet
from quantlab.calibration.scale_table import Scale, ScaleTable
from quantlab.comparison.tensors import TensorError
from quantlab.report.sketch import sketch
from quantlab.report.tensor_row import Activation, TensorRow, Threshold


def tensor_rows(
    table: ScaleTable,
    tables: Mapping[str, ScaleTable],
    errors: Sequence[TensorError],
    histograms: HistogramSet | None,
) -> tuple[TensorRow, ...]:
    """Return a row a tensor of the chosen table, with the thresholds of all tables by method."""
    measured = {error.tensor: error for error in errors}
    others = {name: {row.tensor: row for row in other.rows} for name, other in tables.items()}
    rows = []
    for i, row in enumerate(table.rows):
        found = {name: known[row.tensor] for name, known in others.items() if row.tensor in known}
        rows.append(_tensor(i + 1, row, measured.get(row.tensor), found, histograms))
    return tuple(rows)


def activations(errors: Sequence[TensorError], rows: Sequence[TensorRow]) -> tuple[Activation, ...]:
    """Return every activation measured, in graph order; empty where none but the quantized ones were.

    A comparison that does not tell an activation's place and whether it is quantized has but the table's, in order.
    """
    places = {row.name: row.position for row in rows}
    ordered = sorted(errors, key=lambda error: error.position or 0)
    found = tuple(_activation(i + 1, error, places.get(error.tensor)) for i, error in enumerate(ordered))
    return found if any(not one.quantized for one in found) else ()


def _activation(position: int, error: TensorError, row: int | None) -> Activation:
    """Return one activation: what INT8 does not store has no error of its own, though its scale would give it one."""
    quantized = row is not None if error.quantized is None else error.quantized
    own = error.own_sqnr_db if quantized else None
    return Activation(position, error.tensor, quantized, own, error.sqnr_db, row)


def _tensor(
    position: int,
    row: Scale,
    error: TensorError | None,
    methods: Mapping[str, Scale],
    histograms: HistogramSet | None,
) -> TensorRow:
    counted = histograms.histograms.get(row.tensor) if histograms else None
    return TensorRow(
        position=position,
        name=row.tensor,
        shape=row.shape,
        role=row.role,
        dtype=row.dtype,
        method=row.method,
        scale=max(row.scale),
        channels=len(row.scale),
        observed=row.observed,
        chosen=row.chosen,
        clipped=row.clipped,
        expected_db=row.sqnr_db,
        own_db=error.own_sqnr_db if error else None,
        accumulated_db=error.sqnr_db if error else None,
        thresholds=tuple(Threshold(name, _reach(one), one.clipped, one.sqnr_db) for name, one in methods.items()),
        sketch=sketch(counted) if counted is not None else None,
    )


def _reach(row: Scale) -> float:
    return row.chosen.amax if row.chosen else row.amax
