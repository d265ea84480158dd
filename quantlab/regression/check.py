"""One question of the policy, answered."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from quantlab.comparison.statistics import Interval
from quantlab.regression.policy import Level, Limit

State: TypeAlias = Literal["pass", "warn", "fail", "inconclusive"]

EXIT_CODES: dict[State, int] = {"pass": 0, "warn": 0, "fail": 1, "inconclusive": 3}


@dataclass(frozen=True, slots=True)
class Check:
    """What one check came to.

    Attributes
    ----------
    name
        For instance «top-1», «top-1 by label», «scale of a tensor».
    state
        pass, warn (significant but allowed, or a limit of level warn was broken), fail, or inconclusive.
    value, limit
        What was measured, and what is allowed, in `unit`; None where nothing was measured, or nothing is a number.
    interval
        Of `value`; its `level` is 1 − 2·alpha, so that each end holds with 1 − alpha.
    p_value
        That chance alone shows as much beyond the limit, corrected for all checks of samples together; None where
        nothing is left to chance.
    sentence
        The finding in words.
    needed_samples
        How many samples would decide an inconclusive check; None if it is decided, or no number can be told.
    unit
        points, dB, ratio, share, or empty: the metric's own.
    level
        What breaking the limit means.
    baseline, candidate
        The two measured numbers behind `value`, where there are two.
    """

    name: str
    state: State
    value: float | None
    limit: float | None
    interval: Interval | None
    p_value: float | None
    sentence: str
    needed_samples: int | None = None
    unit: str = ""
    level: Level = "fail"
    baseline: float | None = None
    candidate: float | None = None


def verdict_of(checks: tuple[Check, ...]) -> State:
    """Return the worst state: fail, then inconclusive, then warn; an inconclusive check of level warn counts as a warning."""
    states = {"warn" if c.state == "inconclusive" and c.level == "warn" else c.state for c in checks}
    for state in ("fail", "inconclusive", "warn"):
        if state in states:
            return state
    return "pass"


def unmeasured(name: str, unit: str, limit: Limit, why: str) -> Check:
    """Return the check of a limit that nothing was measured for."""
    sentence = f"The {name} cannot be judged: {why}."
    return Check(name, "inconclusive", None, limit.value, None, None, sentence, None, unit, limit.level)
