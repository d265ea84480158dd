"""Which operators lose most by INT8: each alone, each left out, and the worst ones left out together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from statistics import median
from typing import TYPE_CHECKING, Any, TypeAlias

from typing_extensions import Self

from quantlab.errors import UsageError
from quantlab.numerics.markup import card, frame_table
from quantlab.storage.dataclass_json import Form
from quantlab.tuning.blocks import blocks, units
from quantlab.tuning.candidate import Candidate
from quantlab.tuning.float_trials import FloatTrial, FloatTrials, Memory, decibels, number
from quantlab.tuning.scoring import Scorer

if TYPE_CHECKING:
    import pandas as pd

FORM = Form("quantlab-sensitivity", "sensitivity", "measure it again")

Progress: TypeAlias = Callable[[int, int], None]
"""(trials done, trials in all)."""

MOST_ONE_BY_ONE = 64
"""Operators up to which each is measured by itself; a larger network is measured by block."""


@dataclass(frozen=True, slots=True)
class SensitivityRow:
    """One operator, or one block of them.

    Attributes
    ----------
    name
        The operator's or the block's.
    nodes
        Its quantized weighted operators, in graph order.
    macs
        Their multiply-accumulates for a batch of 1; None where one's number is not known.
    share
        That of all known multiply-accumulates of the network, 0 … 1.
    alone_db
        SQNR, dB, with only these in INT8 and all else float; 200 if no output changes.
    without_db, gain_db
        SQNR, dB, of the full candidate with these in float, and by how much that is more than the full candidate's.
    alone_drop, without_drop
        The task's drop then, in percentage points; None without a metric.
    """

    name: str
    nodes: tuple[str, ...]
    macs: int | None
    share: float
    alone_db: float
    without_db: float
    gain_db: float
    alone_drop: float | None = None
    without_drop: float | None = None


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """The candidate with the first rows in float, measured together.

    Attributes
    ----------
    rows, operators
        How many rows, and how many operators these hold.
    coverage
        Share of the known multiply-accumulates that still runs on integers, 0 … 1.
    sqnr_db, drop
        As in `SensitivityRow`.
    """

    rows: int
    operators: int
    coverage: float
    sqnr_db: float
    drop: float | None = None


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """Operators or blocks, the one first whose stay in float buys most.

    Noise over signal, as power, averaged over the outputs, is what is compared; «SQNR» is this in dB.

    Attributes
    ----------
    rows
        By noise alone for each multiply-accumulate: noise that operators add is nearly the sum of what each adds alone,
        while what leaving one out gains varies with how all others happen to round. On EfficientNet-Lite0 and
        YOLOv3-tiny this order gives the higher SQNR for the same share of multiply-accumulates.
    curve
        The full candidate, then with the first 1, 2, 4, … rows in float.
    samples
        How many it was measured on.
    metric
        What `drop` is of; «» where there is none.
    """

    rows: tuple[SensitivityRow, ...]
    curve: tuple[CurvePoint, ...]
    samples: int
    metric: str = ""

    @property
    def full_db(self) -> float:
        """SQNR of the full candidate, dB."""
        return self.curve[0].sqnr_db

    @property
    def by_gain(self) -> tuple[SensitivityRow, ...]:
        """The rows by noise that leaving out takes away, for each multiply-accumulate."""
        return _ranked(self.rows, lambda row: _power(self.full_db) - _power(row.without_db))

    @property
    def by_noise(self) -> tuple[SensitivityRow, ...]:
        """The rows by noise alone, whatever they cost."""
        return tuple(sorted(self.rows, key=lambda row: row.alone_db))

    def frame(self) -> pd.DataFrame:
        """Return one line a row, ranked: SQNR and gain in dB, drops in percentage points, shares 0 … 1."""
        import pandas as pd

        lines = [
            {
                "name": row.name,
                "operators": len(row.nodes),
                "macs": number(row.macs),
                "share": row.share,
                "alone_db": row.alone_db,
                "noise_share": _power(row.alone_db) / _power(self.full_db),
                "without_db": row.without_db,
                "gain_db": row.gain_db,
                "alone_drop": number(row.alone_drop),
                "without_drop": number(row.without_drop),
            }
            for row in self.rows
        ]
        return pd.DataFrame(lines)

    def curve_frame(self) -> pd.DataFrame:
        """Return one line a point of the curve, with the units of `CurvePoint`."""
        import pandas as pd

        columns = ("rows", "operators", "coverage", "sqnr_db", "drop")
        return pd.DataFrame([{name: number(getattr(point, name)) for name in columns} for point in self.curve])

    def _repr_html_(self) -> str:
        facts = {
            "rows": len(self.rows),
            "samples": self.samples,
            "all in INT8": f"{self.full_db:.1f} dB",
            "metric": self.metric,
        }
        return card("Sensitivity", facts, more=frame_table(self.frame()))

    def to_json(self) -> dict[str, Any]:
        """Return all fields as JSON values."""
        return FORM.write(self)

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Read what `to_json` returned, as JSON values or as text.

        Raises
        ------
        InputError
            When it is no sensitivity, or a field is missing, unknown or of another type.
        """
        return FORM.read(cls, value)


def measure_sensitivity(
    scorer: Scorer,
    candidate: Candidate,
    *,
    groups: Mapping[str, Sequence[str]] | None = None,
    samples: int = 64,
    progress: Progress | None = None,
    memory: Memory | None = None,
) -> Sensitivity:
    """Measure what INT8 costs at every weighted operator that the candidate quantizes.

    Two candidates run for each row, and one for each point of the curve: the same inputs give the same result.

    Parameters
    ----------
    groups
        Block → names of operators of the normalised model, measured together; other operators stand for themselves.
        None: up to 64 operators stand for themselves, more are put together by `blocks`.
    samples
        About so many of the scorer's, spread evenly.
    memory
        What is measured already, and who is told of each measurement: give it back to resume.

    Raises
    ------
    UsageError
        For groups that share an operator, or fewer than one sample.
    QuantlabError
        As `Scorer.score`.
    """
    if samples < 1:
        raise UsageError(f"Sensitivity is measured on at least one sample, not {samples}.")
    trials = FloatTrials(scorer.first(samples), candidate, memory)
    if groups is None and len(trials.operators) > MOST_ONE_BY_ONE:
        groups = blocks(trials.model)
    parts = units(trials.operators, groups)
    steps = _doubling(len(parts))
    total, done = 1 + 2 * len(parts) + len(steps), 0

    def measured(floats: Sequence[str]) -> FloatTrial:
        nonlocal done
        found = trials.trial(floats)
        done += 1
        if progress is not None:
            progress(done, total)
        return found

    full = measured(())
    rows = []
    for name, nodes in parts.items():
        alone = measured([other for other in trials.operators if other not in nodes])
        rows.append(_row(trials, name, nodes, (full, alone, measured(nodes))))
    ranked = _ranked(rows, lambda row: _power(row.alone_db))
    curve = [_point(trials, 0, full)]
    curve += [_point(trials, k, measured([n for row in ranked[:k] for n in row.nodes])) for k in steps]
    return Sensitivity(ranked, tuple(curve), full.score.samples, full.score.metric)


def _row(
    trials: FloatTrials, name: str, nodes: tuple[str, ...], scored: tuple[FloatTrial, FloatTrial, FloatTrial]
) -> SensitivityRow:
    full, alone, without = (trial.score for trial in scored)
    known = [trials.macs.by_node.get(node) for node in nodes]
    row = SensitivityRow(
        name,
        nodes,
        macs=None,
        share=trials.share(nodes),
        alone_db=decibels(alone),
        without_db=decibels(without),
        gain_db=decibels(without) - decibels(full),
        alone_drop=alone.drop,
        without_drop=without.drop,
    )
    return row if None in known else replace(row, macs=sum(count for count in known if count is not None))


def _point(trials: FloatTrials, rows: int, trial: FloatTrial) -> CurvePoint:
    score = trial.score
    return CurvePoint(rows, len(trial.floats), trials.coverage(trial.floats), decibels(score), score.drop)


def _doubling(count: int) -> list[int]:
    """Return 1, 2, 4, … below the number of rows: with all of them in float nothing is left to measure."""
    return [1 << i for i in range(count.bit_length()) if 1 << i < count]


def _ranked(rows: Sequence[SensitivityRow], worth: Callable[[SensitivityRow], float]) -> tuple[SensitivityRow, ...]:
    """Sort by worth for each multiply-accumulate; where these are unknown, those of the middle row stand for them."""
    middle = median(shares) if (shares := [row.share for row in rows if row.macs]) else 1.0
    order = {row.name: i for i, row in enumerate(rows)}

    def key(row: SensitivityRow) -> tuple[float, int]:
        value = worth(row)
        cost = middle if row.macs is None else row.share
        return (-value / cost if cost else (-inf if value > 0 else 0.0)), order[row.name]

    return tuple(sorted(rows, key=key))


def _power(db: float) -> float:
    return float(10 ** (-db / 10))
