"""What a candidate may cost beside its baseline: limits as values, each a warning or a failure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from quantlab.errors import UsageError

Level: TypeAlias = Literal["warn", "fail"]
LEVELS: tuple[Level, ...] = ("warn", "fail")

LABEL = "label"
"""The slicing by class label."""


@dataclass(frozen=True, slots=True)
class DropLimit:
    """How much of a metric may be lost.

    Attributes
    ----------
    maximum
        The loss that is allowed, at least 0: percentage points for a metric of right and wrong samples and for shares (mAP,
        F1 …), the metric's own unit otherwise. More than that, beyond chance, breaks the limit. 0: no significant loss. None: 0 points, or 1 % of the
        baseline's score in another unit, whose smallest change is significant.
    resolution
        How far beyond `maximum` a loss must be excluded before the check passes; samples that cannot do that leave it
        inconclusive. None: 1 point, or 1 % of the baseline's score in another unit.
    level
        What breaking it means.
    """

    maximum: float | None = None
    resolution: float | None = None
    level: Level = "fail"

    def __post_init__(self) -> None:
        _check_level(self.level)
        if self.maximum is not None:
            _check_number("A maximum drop", self.maximum, 0.0)
        if self.resolution is not None:
            _check_number("A resolution", self.resolution, 0.0)
            if self.maximum == self.resolution == 0:
                raise UsageError("No samples can show a loss of exactly 0: give a maximum or a resolution above 0.")


@dataclass(frozen=True, slots=True)
class SliceLimit:
    """How much a part of the samples may lose; all parts are corrected together for being many.

    Attributes
    ----------
    by
        «label»: one slice a class. Anything else is the name of `members`.
    members
        Slice of a sample, by the sample's key or name; a sample that is not in it is in no slice. Not for «label».
    maximum
        As in `DropLimit`, of each slice.
    resolution
        None: a slice that loses no more than chance explains passes, however few its samples; the check says what loss
        they could have shown. A number: as in `DropLimit`, and too few samples are inconclusive.
    level
        What breaking it means.
    least
        Slices of fewer samples are not judged.
    """

    by: str = LABEL
    members: Mapping[str, str] = field(default_factory=dict, hash=False)
    maximum: float | None = None
    resolution: float | None = None
    level: Level = "fail"
    least: int = 5

    def __post_init__(self) -> None:
        _check_level(self.level)
        if self.maximum is not None:
            _check_number("A slice's maximum drop", self.maximum, 0.0)
        if self.resolution is not None:
            _check_number("A slice's resolution", self.resolution, 0.0)
        if self.least < 1:
            raise UsageError(f"A slice that is judged has at least 1 sample, not {self.least}.")
        if not self.by:
            raise UsageError("A slicing has a name: «label», or that of the slices given.")
        if (self.by == LABEL) == bool(self.members):
            raise UsageError(
                f"Slices «{self.by}» {'are the labels' if self.members else 'name no sample'}: give each sample's slice."
            )


@dataclass(frozen=True, slots=True)
class Limit:
    """A number that must not be passed, in the unit that the policy's field says, and what passing it means."""

    value: float
    level: Level = "fail"

    def __post_init__(self) -> None:
        _check_level(self.level)
        _check_number("A limit", self.value, 0.0)


@dataclass(frozen=True, slots=True)
class Policy:
    """All that is asked of a candidate; None leaves a check out.

    Attributes
    ----------
    alpha
        Share, 0 … 1, of unchanged networks that may fail by chance: the level of the whole verdict, all checks of samples
        together, one-sided.
    power
        Probability of a decision that the numbers of samples asked for are to give.
    metrics
        By the metric's name, what the candidate's INT8 may lose against the baseline's INT8; empty: the first metric of
        the runs at `DropLimit()`. Where the runs have no metric, their agreement with FP32 takes its place.
    fp32
        By the metric's name, what the candidate's INT8 may lose against its own FP32.
    slices
        What parts of the samples may lose, of the first metric.
    agreement
        Least share, 0 … 1, of samples for which the candidate chooses FP32's class.
    coverage
        Least share, 0 … 1, of the operators that run INT8.
    coverage_macs
        Least share, 0 … 1, of the multiply-accumulates that run INT8.
    latency
        Largest INT8 time a batch, candidate over baseline; judged where both ran on the same hardware alone.
    size
        Largest INT8 model, candidate over baseline, in bytes over bytes.
    scale
        Largest change of a tensor's scale, either way, as a ratio ≥ 1. Another calibration set of the same data moves a scale up to
        3.3 times with entropy, and 1.4 times with the other methods (`scale_drift`).
    drift
        Level of an alarm that the calibration saw other data: that its values as a whole moved further than another set of
        the same kind of data moves them.
    output_noise_db
        Most that the signal-to-noise ratio of the network's output may fall, in dB.
    """

    alpha: float = 0.05
    power: float = 0.8
    metrics: Mapping[str, DropLimit] = field(default_factory=dict, hash=False)
    fp32: Mapping[str, DropLimit] = field(default_factory=dict, hash=False)
    slices: tuple[SliceLimit, ...] = ()
    agreement: Limit | None = None
    coverage: Limit | None = None
    coverage_macs: Limit | None = None
    latency: Limit | None = None
    size: Limit | None = None
    scale: Limit | None = field(default_factory=lambda: Limit(3.5))
    drift: Level | None = "fail"
    output_noise_db: Limit | None = field(default_factory=lambda: Limit(3.0, "warn"))

    def __post_init__(self) -> None:
        for name, value in (("alpha", self.alpha), ("power", self.power)):
            if not 0 < value < 1:
                raise UsageError(f"A policy's {name} lies between 0 and 1, not at {value}.")
        if self.alpha > 0.5 or self.power < 0.5:
            raise UsageError(
                "A policy's alpha is at most 0.5 and its power at least 0.5: beyond, a coin decides as well."
            )
        for name in ("agreement", "coverage", "coverage_macs"):
            limit = getattr(self, name)
            if limit is not None and limit.value > 1:
                raise UsageError(f"A policy's {name} is a share, 0 … 1, not {limit.value:g}.")
        if self.scale is not None and self.scale.value < 1:
            raise UsageError(f"The largest change of a scale is a ratio of at least 1, not {self.scale.value:g}.")
        if self.drift is not None:
            _check_level(self.drift)
        names = [part.by for part in self.slices]
        if len(set(names)) < len(names):
            raise UsageError(f"A policy names each slicing once, not {', '.join(names)}.")


def _check_level(level: str) -> None:
    if level not in LEVELS:
        raise UsageError(f"A level is warn or fail, not «{level}».")


def _check_number(what: str, value: float, least: float) -> None:
    if not least <= value < float("inf"):
        raise UsageError(f"{what} is a number of at least {least:g}, not {value}.")
