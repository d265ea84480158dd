"""A comparison's tables: scores, tensors and flipped samples, as pandas frames."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from quantlab.comparison.agreement import Flip
from quantlab.comparison.metric_score import MetricScore
from quantlab.comparison.tensors import TensorError

if TYPE_CHECKING:
    import pandas as pd

_SCORES = ("metric", "fp32", "int8", "drop", "low", "high", "unit", "worse", "better", "p_value")
_TENSORS = (
    "tensor",
    "place",
    "sqnr_db",
    "cosine",
    "max_error",
    "own_sqnr_db",
    "own_cosine",
    "own_max_error",
    "left_out",
    "position",
    "quantized",
)
_FLIPS = ("index", "name", "label", "fp32", "int8")


def scores_frame(scores: Iterable[MetricScore]) -> "pd.DataFrame":
    """Return one line a metric."""
    return _frame(
        _SCORES,
        [
            (s.name, s.fp32, s.int8, s.drop, s.interval.low, s.interval.high, s.unit, s.worse, s.better, s.p_value)
            for s in scores
        ],
    )


def tensors_frame(outputs: Iterable[TensorError], tensors: Iterable[TensorError]) -> "pd.DataFrame":
    """Return one line a tensor, the networks' outputs first."""
    lines = [_tensor(error, "output") for error in outputs] + [_tensor(error, "inner") for error in tensors]
    return _frame(_TENSORS, lines)


def flips_frame(flips: Iterable[Flip]) -> "pd.DataFrame":
    """Return one line a sample of which the two networks choose different classes."""
    return _frame(_FLIPS, [(flip.index, flip.name, flip.label, flip.fp32, flip.int8) for flip in flips])


def _tensor(error: TensorError, place: str) -> tuple[object, ...]:
    own = (error.own.sqnr_db, error.own.cosine, error.own.largest) if error.own else (None, None, None)
    return (
        error.tensor,
        place,
        error.sqnr_db,
        error.cosine,
        error.max_error,
        *own,
        error.left_out,
        error.position,
        error.quantized,
    )


def _frame(columns: tuple[str, ...], lines: list[tuple[object, ...]]) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame(lines, columns=pd.Index(columns))
