"""How two sets of scales differ, tensor by tensor."""

from collections.abc import Mapping
from dataclasses import dataclass

from quantlab.calibration.scale_table import ScaleTable


@dataclass(frozen=True, slots=True)
class CacheDifference:
    """What two caches, or tables, do not share.

    Attributes
    ----------
    headers
        Both first lines; None for a table that was no cache.
    only_first, only_second
        Tensors that one of them has.
    changed
        Tensor → both scales, where they differ by more than the tolerance; the largest relative difference first.
    common
        How many tensors both have.
    """

    headers: tuple[str | None, str | None]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    changed: Mapping[str, tuple[float, float]]
    common: int

    @property
    def same(self) -> bool:
        """Whether tensors and scales agree; headers may differ, as they name a version."""
        return not (self.only_first or self.only_second or self.changed)


def difference(first: ScaleTable, second: ScaleTable, *, tolerance: float = 0.0) -> CacheDifference:
    """Compare the activations of two tables; `tolerance` is relative to the first one's scale."""
    one, two = _scales(first), _scales(second)
    both = [name for name in one if name in two]
    changed = {name: (one[name], two[name]) for name in both if relative(one[name], two[name]) > tolerance}
    ordered = sorted(changed.items(), key=lambda item: -relative(*item[1]))
    return CacheDifference(
        (first.cache_header, second.cache_header),
        tuple(name for name in one if name not in two),
        tuple(name for name in two if name not in one),
        dict(ordered),
        len(both),
    )


def relative(first: float, second: float) -> float:
    """Return |second − first| / first."""
    return abs(second - first) / first


def _scales(table: ScaleTable) -> dict[str, float]:
    return {row.tensor: row.scale[0] for row in table.rows if row.role != "weight" and row.axis is None}
