"""How two sets of scales differ, tensor by tensor, and what the difference costs on counted values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from quantlab.caches.harm import AnyHistogram, Harm, harm, least_harm
from quantlab.calibration.scale_table import Scale, ScaleTable


@dataclass(frozen=True, slots=True)
class Change:
    """One tensor's two scales, and what each does to the counted values; None where none were counted."""

    tensor: str
    first: float
    second: float
    before: Harm | None = None
    after: Harm | None = None

    @property
    def relative(self) -> float:
        """|second − first| / first."""
        return relative(self.first, self.second)

    @property
    def lost_db(self) -> float | None:
        """How much the expected signal-to-noise ratio falls, in dB; below 0 where it rises."""
        if self.before is None or self.after is None:
            return None
        return 0.0 if self.before.sqnr_db == self.after.sqnr_db else self.before.sqnr_db - self.after.sqnr_db

    @property
    def more_clipped(self) -> float | None:
        """How much larger the share, 0 … 1, of clipped values becomes."""
        return None if self.before is None or self.after is None else self.after.clipped - self.before.clipped


@dataclass(frozen=True, slots=True)
class CacheDifference:
    """What two caches, or tables, do not share.

    Attributes
    ----------
    headers
        Both first lines; None for a table that was no cache.
    only_first, only_second
        Tensors that one of them has.
    changes
        Where the scales differ by more than the tolerance: what loses most first, by dB, then by relative difference.
    common
        How many tensors both have.
    """

    headers: tuple[str | None, str | None]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    changes: tuple[Change, ...]
    common: int

    @property
    def same(self) -> bool:
        """Whether tensors and scales agree; headers may differ, as they name a version."""
        return not (self.only_first or self.only_second or self.changes)

    @property
    def related(self) -> bool:
        """Whether they may be of one network: they share at least half of the smaller one's tensors."""
        return self.common >= min(len(self.only_first), len(self.only_second))

    @property
    def changed(self) -> dict[str, tuple[float, float]]:
        """Tensor → both scales, in the order of `changes`."""
        return {change.tensor: (change.first, change.second) for change in self.changes}


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What counts as no difference.

    Attributes
    ----------
    relative
        Difference of the scales by the first one.
    lost_db
        Fall of the expected signal-to-noise ratio in dB, where values were counted; None asks for the scales alone.
    """

    relative: float = 0.0
    lost_db: float | None = None


def difference(
    first: ScaleTable,
    second: ScaleTable,
    *,
    tolerance: float | Tolerance = 0.0,
    histograms: Mapping[str, AnyHistogram] | None = None,
) -> CacheDifference:
    """Compare the activations of two tables."""
    limit = tolerance if isinstance(tolerance, Tolerance) else Tolerance(tolerance)
    one, two = _scales(first), _scales(second)
    both = [name for name in one if name in two]
    pairs = {name: (one[name], two[name]) for name in both if relative(one[name], two[name]) > limit.relative}
    changes = [_change(name, pair, (histograms or {}).get(name)) for name, pair in pairs.items()]
    return CacheDifference(
        (first.cache_header, second.cache_header),
        tuple(name for name in one if name not in two),
        tuple(name for name in two if name not in one),
        tuple(sorted((c for c in changes if _counts(c, limit)), key=_harm_first)),
        len(both),
    )


def against(
    table: ScaleTable, histograms: Mapping[str, AnyHistogram], *, tolerance: Tolerance | None = None
) -> CacheDifference:
    """Compare a table with the best scales for counted values: `first` of a change is the best, `second` the table's.

    The best is that of the least expected squared error. By default tensors count that lose more than 1 dB.
    """
    counted = {name: one for name, one in histograms.items() if one.amax > 0}
    rows = [Scale(name, (least_harm(one),)) for name, one in counted.items() if name in set(table)]
    ideal = difference(
        ScaleTable(tuple(rows)), table, tolerance=tolerance or Tolerance(lost_db=1.0), histograms=counted
    )
    missing = tuple(name for name in counted if name not in set(table))
    return CacheDifference((None, table.cache_header), missing, ideal.only_second, ideal.changes, ideal.common)


def relative(first: float, second: float) -> float:
    """Return |second − first| / first."""
    return abs(second - first) / first


def _change(name: str, pair: tuple[float, float], seen: AnyHistogram | None) -> Change:
    if seen is None or seen.amax == 0:
        return Change(name, *pair)
    return Change(name, *pair, harm(seen, pair[0]), harm(seen, pair[1]))


def _counts(change: Change, limit: Tolerance) -> bool:
    return limit.lost_db is None or change.lost_db is None or change.lost_db > limit.lost_db


def _harm_first(change: Change) -> tuple[float, float]:
    lost = change.lost_db
    return (0.0 if lost is None else -lost, -change.relative)


def _scales(table: ScaleTable) -> dict[str, float]:
    return {row.tensor: row.scale[0] for row in table.rows if row.role != "weight" and row.axis is None}
