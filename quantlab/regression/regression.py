"""Two runs compared: the verdict, what it rests on, and which samples pay for it."""

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Literal

from quantlab.comparison.statistics import Interval
from quantlab.regression.check import EXIT_CODES, Check, State
from quantlab.storage.dataclass_json import Form

if TYPE_CHECKING:
    import pandas as pd

FORM = Form("quantlab-regression", "regression", "regress again")

HEADLINES: dict[State, str] = {
    "pass": "May ship",
    "warn": "May ship, with a warning",
    "fail": "Must not ship",
    "inconclusive": "Cannot be told yet",
}


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two runs, for people.

    Attributes
    ----------
    name
        The run's.
    samples
        Of its evaluation set.
    data
        The evaluation set's name.
    backend
        What ran the INT8 network.
    final
        Whether its score is the last word.
    """

    name: str
    samples: int
    data: str
    backend: str
    final: bool


@dataclass(frozen=True, slots=True)
class Slice:
    """What one part of the samples lost.

    Attributes
    ----------
    by, name
        The slicing, and the slice: a label, or the name given.
    samples
        How many are in it.
    metric
        The metric's name.
    baseline, candidate
        INT8 scores; shares 0 … 1 where every sample is right or wrong.
    drop, interval
        What the candidate loses, and its interval, in `unit`.
    unit
        points, or empty: the metric's own.
    worse, better
        Samples on which the candidate does worse and better.
    p_value
        That chance alone shows as much anywhere in all that was asked of the samples.
    q_value
        Share of the slices up to this one, by p-value, that would be chance (Benjamini and Hochberg); for looking, not for
        the verdict.
    state
        pass, or the level of the limit that is broken; inconclusive where too few samples were to exclude more.
    """

    by: str
    name: str
    samples: int
    metric: str
    baseline: float
    candidate: float
    drop: float
    interval: Interval
    unit: Literal["points", ""]
    worse: int
    better: int
    p_value: float
    q_value: float
    state: State


@dataclass(frozen=True, slots=True)
class ScaleDrift:
    """How one tensor's scale moved.

    Attributes
    ----------
    tensor, role
        Its name in the user's model; activation, weight or unknown.
    baseline, candidate
        Scales, in the tensor's unit; the largest where a channel has its own. None where one run has no row.
    ratio
        Candidate over baseline; of several channels the one that is farthest from 1. None where one run has no row.
    divergence
        Jensen–Shannon divergence of both runs' calibration values, in bits, 0 … 1; None without histograms.
    state
        pass, or the level of the limit that is broken.
    """

    tensor: str
    role: str
    baseline: float | None
    candidate: float | None
    ratio: float | None
    divergence: float | None
    state: State


@dataclass(frozen=True, slots=True)
class RegressionFlip:
    """A sample for which the two INT8 networks do not choose the same.

    Attributes
    ----------
    index
        Its row in the candidate's samples (whose pictures are by row).
    key, name
        Hash of its source; its name, empty if it has none.
    label
        None without labels.
    baseline, candidate
        The INT8 networks' classes; −1 for none.
    effect
        worse: the baseline's was right and the candidate's is not; better: the reverse; other: neither is right, or
        there is no label.
    """

    index: int
    key: str
    name: str
    label: int | None
    baseline: int
    candidate: int
    effect: Literal["worse", "better", "other"]


@dataclass(frozen=True, slots=True)
class Regression:
    """The verdict on a candidate beside its baseline.

    Attributes
    ----------
    verdict
        The worst of the checks' states: fail, inconclusive, warn, pass.
    checks
        All that the policy asks, the failed ones first; at least one.
    differences
        What changed between the runs, a phrase each; empty if nothing that is known of.
    baseline, candidate
        The two runs.
    samples
        How many both runs share; all statistics are of these.
    left_out
        Samples of the baseline, and of the candidate, that the other lacks.
    alpha
        Level of the whole verdict.
    identical
        Whether both INT8 networks gave the same outputs, bit for bit, on all shared samples.
    slices
        Each slice of each slicing, the worst first.
    drifts
        Each tensor, the farthest moved first.
    flips
        Where the INT8 networks disagree, in the candidate's order.
    """

    verdict: State
    checks: tuple[Check, ...]
    differences: tuple[str, ...]
    baseline: Side
    candidate: Side
    samples: int
    left_out: tuple[int, int]
    alpha: float
    identical: bool
    slices: tuple[Slice, ...] = ()
    drifts: tuple[ScaleDrift, ...] = ()
    flips: tuple[RegressionFlip, ...] = ()

    @property
    def exit_code(self) -> int:
        """What the command line returns: 0 for pass and warn, 1 for fail, 3 for inconclusive."""
        return EXIT_CODES[self.verdict]

    @property
    def needed_samples(self) -> int | None:
        """How many samples would decide all inconclusive checks; None if there are none, or no number can be told."""
        needed = [check.needed_samples for check in self.checks if check.state == "inconclusive"]
        known = [count for count in needed if count is not None]
        return max(known) if known and len(known) == len(needed) else None

    @property
    def headline(self) -> str:
        """The verdict in a few words: «Must not ship»."""
        return HEADLINES[self.verdict]

    @property
    def sentence(self) -> str:
        """The verdict, and the one thing that decides it."""
        if self.identical and self.verdict == "pass":
            names = f"«{self.candidate.name}» gives the same outputs as «{self.baseline.name}»"
            return f"{self.headline}: {names}, bit for bit, on {self.samples:,} samples."
        deciding = [check for check in self.checks if check.state == self.verdict]
        if not deciding:  # an inconclusive check of level warn warns
            deciding = [check for check in self.checks if check.state != "pass"]
        others = len(deciding) - 1
        more = (
            f" ({others} more {'check' if others == 1 else 'checks'} so)" if others and self.verdict != "pass" else ""
        )
        return f"{self.headline}: {deciding[0].sentence}{more}"

    @property
    def words(self) -> tuple[str, ...]:
        """Verdict, what changed, what was left out and every check that did not pass, a sentence each."""
        changed = "; ".join(self.differences)
        lines = [
            self.sentence,
            f"Between these runs changed: {changed}." if changed else "Nothing that is known of changed.",
        ]
        if any(self.left_out):
            one, two = self.left_out
            lines.append(
                f"Judged on {self.samples:,} samples; left out: {one:,} of the baseline alone, {two:,} of the candidate alone."
            )
        return (*lines, *(check.sentence for check in self.further))

    @property
    def further(self) -> tuple[Check, ...]:
        """The checks that did not pass and that the verdict's sentence does not tell."""
        told = self.sentence
        return tuple(check for check in self.checks if check.state != "pass" and check.sentence not in told)

    def frame(self) -> "pd.DataFrame":
        """Return one line a check; `value`, `limit`, `low`, `high`, `baseline` and `candidate` are in `unit`."""
        from quantlab.regression.frames import checks_frame

        return checks_frame(self.checks)

    def slices_frame(self) -> "pd.DataFrame":
        """Return one line a slice; `drop`, `low` and `high` are in `unit`."""
        from quantlab.regression.frames import slices_frame

        return slices_frame(self.slices)

    def drifts_frame(self) -> "pd.DataFrame":
        """Return one line a tensor: scales in the tensor's unit, `ratio` without one, `divergence` in bits."""
        from quantlab.regression.frames import drifts_frame

        return drifts_frame(self.drifts)

    def flips_frame(self) -> "pd.DataFrame":
        """Return one line a sample for which the INT8 networks choose different classes."""
        from quantlab.regression.frames import flips_frame

        return flips_frame(self.flips)

    def to_json(self) -> dict[str, Any]:
        """Return all fields as JSON values."""
        return FORM.write(self)

    @classmethod
    def from_json(cls, value: object) -> "Regression":
        """Read what `to_json` returned, as JSON values or as text.

        Raises
        ------
        InputError
            When it is no regression, or a field is missing, unknown or of another type.
        """
        return FORM.read(cls, value)

    def _repr_html_(self) -> str:
        paragraph = "<br>".join(escape(line) for line in self.words)
        table = str(self.frame().to_html(escape=True, index=False))
        return f"<p>{paragraph}</p>{table}"
