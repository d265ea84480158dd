"""The values of a run become what the page shows."""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from quantlab import __version__
from quantlab.calibration.histogram_set import HistogramSet
from quantlab.calibration.provenance import DataIdentity, Provenance
from quantlab.calibration.scale_table import Scale, ScaleTable
from quantlab.comparison.comparison import Comparison
from quantlab.comparison.tensors import TensorError
from quantlab.errors import InputError
from quantlab.report.choice import explain
from quantlab.report.report_data import DataRow, FloatGroup, MethodRow, ReportData, Score, TensorRow, Threshold
from quantlab.report.sketch import sketch
from quantlab.report.verdict import judge

MOST_FLIPS = 200
"""Samples listed; the page says how many there are."""


@dataclass(frozen=True, slots=True)
class RunParts:
    """What a run made; whatever is missing is left off the page.

    Attributes
    ----------
    title
        The page's heading; empty names the model.
    tables
        By method name, in the order of the page.
    chosen
        Name of the table that the INT8 model was built from; None if there is but one, or none.
    histograms
        What the methods saw.
    tuning
        By method name: the comparisons that chose.
    final, ort
        The score of the result, and of the model for ONNX Runtime's integer kernels.
    floats
        Tensor or operator → why it stays float.
    sizes
        Bytes by «fp32» and «int8»; the final comparison's own by default.
    max_drop
        Points that INT8 may lose.
    """

    title: str = ""
    tables: Mapping[str, ScaleTable] = field(default_factory=dict)
    chosen: str | None = None
    histograms: HistogramSet | None = None
    tuning: Mapping[str, Comparison] = field(default_factory=dict)
    final: Comparison | None = None
    ort: Comparison | None = None
    floats: Mapping[str, str] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    max_drop: float | None = None

    def __post_init__(self) -> None:
        if self.chosen is not None and self.tables and self.chosen not in self.tables:
            raise InputError(f"The chosen method «{self.chosen}» is none of the tables {', '.join(self.tables)}.")


def build(parts: RunParts) -> ReportData:
    """Return what the page shows of a run.

    Raises
    ------
    InputError
        When the parts are of several models.
    """
    chosen = parts.chosen or (next(iter(parts.tables)) if len(parts.tables) == 1 else None)
    main = parts.final or (parts.tuning.get(chosen) if chosen else None)
    whole = parts.tables.get(chosen) if chosen else None
    parts = replace(parts, tables={name: _used(table, parts, main) for name, table in parts.tables.items()})
    table = parts.tables.get(chosen) if chosen else None
    score = Score.of("Q/DQ model", main) if main else None
    data = _data(parts)
    methods = _methods(parts, chosen)
    provenance = _provenance(parts)
    return ReportData(
        title=parts.title or _title(provenance),
        verdict=judge(score, max_drop=parts.max_drop, random=any(row.identity.random for row in data)),
        quantlab=__version__,
        score=score,
        others=(Score.of("ONNX Runtime model", parts.ort),) if parts.ort else (),
        sizes=dict(parts.sizes) or _sizes(main),
        methods=methods,
        choice=explain(methods),
        tensors=_tensors(parts, table, main),
        unused=len(whole or ()) - len(table or ()),
        floats=_floats(parts.floats),
        flips=main.flips[:MOST_FLIPS] if main else (),
        flip_count=len(main.flips) if main else 0,
        model=provenance.model if provenance else "",
        model_name=provenance.model_name if provenance else "",
        grid=provenance.grid if provenance else "",
        data=data,
        versions=provenance.versions if provenance else {},
    )


def _used(table: ScaleTable, parts: RunParts, main: Comparison | None) -> ScaleTable:
    """Return the rows of tensors that the model quantizes: a table may also serve a second target.

    An operator may bear the name of a tensor, so one that was measured is kept whatever `floats` says of its name.
    """
    measured = {error.tensor for error in main.tensors} if main else set()
    return replace(
        table, rows=tuple(row for row in table.rows if row.tensor not in parts.floats or row.tensor in measured)
    )


def _title(provenance: Provenance | None) -> str:
    return f"{provenance.model_name} in INT8" if provenance else "INT8 report"


def _methods(parts: RunParts, chosen: str | None) -> tuple[MethodRow, ...]:
    rows = []
    for name in dict.fromkeys([*parts.tables, *parts.tuning]):
        table = parts.tables.get(name)
        tuned = parts.tuning.get(name)
        known = [row.sqnr_db for row in table.rows if row.sqnr_db is not None] if table else []
        rows.append(
            MethodRow(
                name,
                _parameters(table) if table else "",
                name == chosen,
                len(table) if table else 0,
                Score.of("Q/DQ model", tuned) if tuned else None,
                statistics.median(known) if known else None,
            )
        )
    return tuple(rows)


def _parameters(table: ScaleTable) -> str:
    """Return the method that most rows name."""
    named = [row.method for row in table.rows if row.method]
    return statistics.mode(named) if named else ""


def _tensors(parts: RunParts, table: ScaleTable | None, main: Comparison | None) -> tuple[TensorRow, ...]:
    if table is None:
        return ()
    errors = {error.tensor: error for error in main.tensors} if main else {}
    others = {name: {row.tensor: row for row in other.rows} for name, other in parts.tables.items()}
    rows = []
    for i, row in enumerate(table.rows):
        found = {name: known[row.tensor] for name, known in others.items() if row.tensor in known}
        rows.append(_tensor(i + 1, row, errors.get(row.tensor), found, parts.histograms))
    return tuple(rows)


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


def _floats(reasons: Mapping[str, str]) -> tuple[FloatGroup, ...]:
    """Return the groups, the largest first, names in graph order."""
    groups: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        groups.setdefault(reason, []).append(name)
    return tuple(FloatGroup(reason, tuple(names)) for reason, names in sorted(groups.items(), key=lambda g: -len(g[1])))


def _sizes(main: Comparison | None) -> dict[str, int]:
    return {"fp32": main.sizes.fp32, "int8": main.sizes.int8} if main and main.sizes else {}


def _data(parts: RunParts) -> tuple[DataRow, ...]:
    """Return every set once, with all that it was used for."""
    uses: dict[str, tuple[DataIdentity, dict[str, None]]] = {}

    def note(identity: DataIdentity, use: str) -> None:
        uses.setdefault(identity.digest, (identity, {}))[1][use] = None

    for identity in parts.histograms.provenance.chosen_on if parts.histograms else ():
        note(identity, "calibrated the scales")
    counted = set(uses)
    for comparison in parts.tuning.values():
        note(comparison.data, "compared the methods")
    tuned = set(uses)
    for identity in _chosen_on(parts):
        if identity.digest not in counted:
            note(identity, "chose one of them" if identity.digest in tuned else "had a say in the scales")
    for scored in filter(None, (parts.final, parts.ort)):
        note(scored.data, "scored the result")
    return tuple(DataRow(identity, ", ".join(listed)) for identity, listed in uses.values())


def _chosen_on(parts: RunParts) -> tuple[DataIdentity, ...]:
    tables = [table.provenance.chosen_on for table in parts.tables.values() if table.provenance]
    scored = [parts.final.chosen_on] if parts.final else []
    return tuple(dict.fromkeys(identity for several in [*tables, *scored] for identity in several))


def _provenance(parts: RunParts) -> Provenance | None:
    """Return the scales' own provenance, or the histograms'."""
    found = [table.provenance for table in parts.tables.values() if table.provenance]
    found += [parts.histograms.provenance] if parts.histograms else []
    models = {one.model for one in found}
    if len(models) > 1:
        raise InputError(
            f"The parts of this run are of {len(models)} models ({', '.join(sorted({p.model_name for p in found}))}): "
            "give those of one run."
        )
    chosen = parts.tables.get(parts.chosen) if parts.chosen else None
    return (chosen.provenance if chosen else None) or (found[0] if found else None)
