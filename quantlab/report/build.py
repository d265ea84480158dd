"""The values of a run become what the page shows."""

import statistics
from collections.abc import Mapping
from dataclasses import replace

from quantlab import __version__
from quantlab.calibration.provenance import Provenance
from quantlab.calibration.scale_table import ScaleTable
from quantlab.comparison.comparison import Comparison
from quantlab.report.choice import explain
from quantlab.report.diagnostics import diagnostics
from quantlab.report.engines import engines_of
from quantlab.report.flips import flipped
from quantlab.report.hurts import hurts
from quantlab.report.ladder import Ladder, climb
from quantlab.report.precision import Precision
from quantlab.report.report_data import FloatGroup, ReportData, Verdict
from quantlab.report.report_score import MethodRow, Score
from quantlab.report.run_parts import RunParts
from quantlab.report.sets import provenance_of, sets_of
from quantlab.report.tensor_table import activations, tensor_rows
from quantlab.report.verdict import judge, judge_search

_INSIDE = "inside one kernel: "
_OF_TENSORS = (_INSIDE, "read by ", "output of the model")
"""How the reasons for tensors begin; operators have others."""


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
    score = _score(main, parts)
    others = (Score.of("ONNX Runtime model", parts.ort),) if parts.ort else ()
    methods = _methods(parts, chosen)
    ladder = _ladder(parts, methods, score)
    errors = main.tensors if main else ()
    tensors = tensor_rows(table, parts.tables, errors, parts.histograms) if table is not None else ()
    inner = activations(errors, tensors)
    samples = parts.samples if main is parts.final and parts.samples else main.samples_table if main else None
    changed = flipped(main.flips, samples, parts.class_names) if main else None
    provenance = provenance_of(parts)
    return ReportData(
        title=parts.title or _title(provenance),
        verdict=_verdict(parts, score, ladder),
        quantlab=__version__,
        score=score,
        others=others,
        sizes=dict(parts.sizes) or _sizes(main),
        methods=methods,
        choice=explain(methods),
        tensors=tensors,
        unused=len(whole or ()) - len(table or ()),
        floats=_floats(parts.floats),
        hurts=hurts(score, changed, tensors, inner, parts.search),
        ladder=ladder,
        activations=inner,
        precision=parts.precision,
        engine_precision=Precision.of_audit(parts.audit) if parts.audit else None,
        engines=engines_of(parts.lineup, [one for one in (score, *others) if one]),
        flipped=changed,
        diagnostics=diagnostics(parts.histograms, parts.diagnosis, _dead(parts), {row.name for row in tensors} or None),
        model=provenance.model if provenance else "",
        model_name=provenance.model_name if provenance else "",
        grid=provenance.grid if provenance else "",
        data=sets_of(parts),
        versions=provenance.versions if provenance else {},
        artefacts=parts.artefacts,
    )


def _score(main: Comparison | None, parts: RunParts) -> Score | None:
    if main is not None:
        return Score.of("Q/DQ model", main)
    return Score.of_search(parts.search) if parts.search else None


def _verdict(parts: RunParts, score: Score | None, ladder: Ladder | None) -> Verdict:
    random = any(row.identity.random for row in sets_of(parts))
    if parts.search is not None and score is not None and parts.final is None and parts.training is None:
        return judge_search(parts.search, score, random=random)
    found = judge(score, max_drop=parts.max_drop, random=random)
    better = ladder.better if ladder else None
    if better is None:
        return found
    return replace(
        found, reason=f"{found.reason} «{better.name}» of the ladder keeps the limit: ship that one instead."
    )


def _ladder(parts: RunParts, methods: tuple[MethodRow, ...], score: Score | None) -> Ladder | None:
    own = parts.training is not None and parts.training_is_result
    return climb(
        methods,
        score if parts.final is not None and not own else None,
        limit=parts.max_drop,
        search=parts.search,
        training=parts.training,
        coverages=parts.coverages,
    )


def _used(table: ScaleTable, parts: RunParts, main: Comparison | None) -> ScaleTable:
    """Return the rows of tensors that the model quantizes: a table may also serve a second target.

    An operator may bear the name of a tensor, so one that was measured is kept whatever `floats` says of its name. Where
    nobody noted what stays float, the model tells.
    """
    if not parts.floats and parts.precision is not None and parts.precision.quantized:
        known = set(parts.precision.quantized)
        return replace(table, rows=tuple(row for row in table.rows if row.role == "weight" or row.tensor in known))
    measured = {error.tensor for error in main.tensors if error.quantized is not False} if main else set()
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


def _floats(reasons: Mapping[str, str]) -> tuple[FloatGroup, ...]:
    """Return the groups, the largest first, names in graph order."""
    groups: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        groups.setdefault(reason, []).append(name)
    return tuple(
        FloatGroup(
            reason,
            tuple(names),
            "inside" if reason.startswith(_INSIDE) else "tensors" if reason.startswith(_OF_TENSORS) else "operators",
        )
        for reason, names in sorted(groups.items(), key=lambda group: -len(group[1]))
    )


def _sizes(main: Comparison | None) -> dict[str, int]:
    return {"fp32": main.sizes.fp32, "int8": main.sizes.int8} if main and main.sizes else {}


def _dead(parts: RunParts) -> Mapping[str, int]:
    return (parts.precision.dead if parts.precision else None) or {}
