"""A diagnosis's tables, as pandas frames."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from quantlab.diagnosis.convergence import Convergence
from quantlab.diagnosis.drift import Drift
from quantlab.diagnosis.extremes import Extreme
from quantlab.diagnosis.flips import Flips

if TYPE_CHECKING:
    import pandas as pd

_EXTREMES = ("tensor", "set_by", "index", "amax", "second", "second_amax", "amax_falls")
_DRIFT = ("divergence", "times_noise", "drifted", "beyond_observed", "clipped", "sqnr_db", "own_sqnr_db")
_FLIPS = ("index", "name", "label", "fp32", "int8", "margin", "tensor", "sqnr_db", "usual_sqnr_db")


def tensors_frame(extremes: Iterable[Extreme], settling: Iterable[Convergence], drift: Drift | None) -> "pd.DataFrame":
    """Return one line a tensor that had a value, in graph order."""
    methods = [found for found in settling if found.widths]
    drifts = {} if drift is None else {found.tensor: found for found in drift.tensors}
    columns = (*_EXTREMES, *(f"± {found.method}" for found in methods), *(_DRIFT if drifts else ()))
    lines = []
    for e in extremes:
        line: tuple[object, ...] = (e.tensor, e.sample, e.index, e.value, e.second, e.second_value, e.amax_falls)
        line += tuple(found.widths[e.tensor][-1] for found in methods)
        if e.tensor in drifts:
            d = drifts[e.tensor]
            line += (d.distance, d.times_noise, d.drifted, d.beyond_observed, d.clipped, d.sqnr_db, d.own_sqnr_db)
        lines.append(line + (None,) * (len(columns) - len(line)))
    return _frame(columns, lines)


def flips_frame(flips: Flips | None) -> "pd.DataFrame":
    """Return one line a flipped sample, in the data's order."""
    return _frame(
        _FLIPS,
        [
            (
                f.flip.index,
                f.flip.name,
                f.flip.label,
                f.flip.fp32,
                f.flip.int8,
                f.margin,
                f.tensor,
                f.sqnr_db,
                f.usual_sqnr_db,
            )
            for f in (flips.flipped if flips else ())
        ],
    )


def _frame(columns: tuple[str, ...], lines: list[tuple[object, ...]]) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame(lines, columns=pd.Index(columns))
