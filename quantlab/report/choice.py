"""Why a method was chosen, in words that follow from the numbers."""

from collections.abc import Callable, Sequence

from quantlab.report import formats
from quantlab.report.report_score import MethodRow

_Measure = Callable[[MethodRow], "float | None"]


def _agreement(row: MethodRow) -> float | None:
    return row.score.agreement if row.score else None


def _output_db(row: MethodRow) -> float | None:
    return row.score.output_db if row.score else None


def _kept(row: MethodRow) -> float | None:
    return -row.score.main.drop if row.score and row.score.main else None


_MEASURES: tuple[tuple[str, _Measure], ...] = (
    ("the highest output SQNR", _output_db),
    ("the highest agreement", _agreement),
    ("the smallest drop", _kept),
    ("the highest median of expected SQNR", lambda row: row.median_expected_db),
)


def explain(methods: Sequence[MethodRow]) -> str:
    """Return which method the result uses, and where it is the best of those compared and where not."""
    chosen = next((row for row in methods if row.chosen), None)
    if chosen is None:
        return f"{len(methods)} methods were compared; none is marked as the result's." if methods else ""
    if len(methods) == 1:
        return f"«{chosen.name}» is the only method of this run."
    best = [what for what, measure in _MEASURES if _leads(chosen, methods, measure)]
    others = [_better(methods, what, measure) for what, measure in _MEASURES if _loses(chosen, methods, measure)]
    first = f"The result uses «{chosen.name}»" + (
        f", which has {_joined(best)} of {len(methods)} methods" if best else ""
    )
    return f"{first}. {_sentence(others)}".strip()


def _leads(chosen: MethodRow, methods: Sequence[MethodRow], measure: _Measure) -> bool:
    mine, known = measure(chosen), [value for row in methods if (value := measure(row)) is not None]
    return mine is not None and len(known) > 1 and mine >= max(known)


def _loses(chosen: MethodRow, methods: Sequence[MethodRow], measure: _Measure) -> bool:
    mine, known = measure(chosen), [value for row in methods if (value := measure(row)) is not None]
    return mine is not None and mine < max(known)


def _better(methods: Sequence[MethodRow], what: str, measure: _Measure) -> str:
    best = max((row for row in methods if measure(row) is not None), key=lambda row: measure(row) or 0.0)
    return f"{what} belongs to «{best.name}»"


def _sentence(clauses: Sequence[str]) -> str:
    text = formats.listed(clauses)
    return f"{text[0].upper()}{text[1:]}." if text else ""


def _joined(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
