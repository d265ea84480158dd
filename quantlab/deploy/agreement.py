"""Whether a calibration cache and a scale table say the same."""

from __future__ import annotations

from quantlab.calibration.scale_table import ScaleTable
from quantlab.calibration.trt_cache import CalibrationCache
from quantlab.errors import StaleError


def check_agreeing(cache: CalibrationCache, table: ScaleTable) -> None:
    """Refuse a cache and a table of which not every tensor in both has the same scale, or no tensor is in both.

    Raises
    ------
    StaleError
        Naming a tensor.
    """
    rows = {row.tensor: row for row in table.rows if row.role != "weight"}
    both = [name for name in cache.scales if name in rows]
    if not both:
        raise StaleError("The cache and the scale table have no tensor in common: one of them is of another model.")
    for name in both:
        if rows[name].scale != (cache.scales[name],):
            raise StaleError(
                f"Tensor «{name}» has the scale {cache.scales[name]:.6g} in the cache and {max(rows[name].scale):.6g} in the scale "
                "table: one was made from other scales; write the cache anew from the table."
            )
