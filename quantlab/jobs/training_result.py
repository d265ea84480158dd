"""What training tells while it goes on, and what each rung of PTQ → tuned PTQ → QAT gained and cost."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from quantlab.errors import InputError
from quantlab.jobs.step import Made
from quantlab.storage.text import read_text
from quantlab.tuning.ladder import Watch
from quantlab.tuning.score import Score
from quantlab.tuning.target import Standing, Target
from quantlab.tuning.trial import Trial

if TYPE_CHECKING:
    from quantlab.qat.callbacks import Progress

RungName: TypeAlias = Literal["PTQ", "tuned PTQ", "QAT"]


def _nothing(*_told: object) -> None:
    """Take no note."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """Told what goes on inside a step.

    Attributes
    ----------
    trial
        Of each trial of the search.
    watch
        Of what the search is doing.
    learnt
        Of each training step.
    """

    trial: Callable[[Trial], None] = _nothing
    watch: Watch = _nothing
    learnt: Callable[[Progress], None] = _nothing


@dataclass(frozen=True, slots=True)
class Rung:
    """One way to INT8, and what it came to on the evaluation set.

    Attributes
    ----------
    name
        PTQ, tuned PTQ or QAT.
    model
        The Q/DQ model.
    score
        Against the float network, on samples that chose nothing.
    standing
        To the target: holds; likely, as far as one can see; undecided, where it is missed but the interval holds what is
        allowed, so that more samples would tell; or misses.
    seconds
        What making it took, in the process that finished it; what came before it not counted.
    """

    name: RungName
    model: Path
    score: Score
    standing: Standing
    seconds: float

    @property
    def is_enough(self) -> bool:
        """Whether nothing more has to be tried."""
        return self.standing in ("holds", "likely")

    def to_json(self, before: Rung | None) -> dict[str, Any]:
        """Return the figures as JSON values; `gain` is in points, against the rung before."""
        score = self.score
        gain = None if before is None or None in (before.score.drop, score.drop) else _points(before) - _points(self)
        return {
            "rung": self.name,
            "model": self.model.name,
            "standing": self.standing,
            "metric": score.metric,
            "fp32": score.fp32,
            "points_lost": score.drop,
            "interval": None if score.drop_interval is None else asdict(score.drop_interval),
            "gain": gain,
            "agreement": score.agreement,
            "sqnr_db": _number(score.worst_sqnr_db),
            "samples": score.samples,
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What a job came to.

    Attributes
    ----------
    folder
        Where all of it is.
    target
        What was asked for.
    rungs
        In the order in which they were climbed; as many as were needed.
    artefacts
        What every step left.
    notes
        Sentences that the user should read.
    """

    folder: Path
    target: Target
    rungs: tuple[Rung, ...]
    artefacts: tuple[Made, ...]
    notes: tuple[str, ...] = ()

    @property
    def best(self) -> Rung:
        """The first rung that keeps to the target, or else the one that loses least."""
        kept = [rung for rung in self.rungs if rung.is_enough]
        return kept[0] if kept else min(self.rungs, key=_points)

    @property
    def report(self) -> Path:
        """The figures as a file."""
        return self.folder / "report.json"

    @property
    def verdict(self) -> str:
        """What it comes to, in a sentence or two."""
        best = self.best
        reach = f"{best.name} loses {_points(best):.2f} points of {best.score.metric} on {best.score.samples:,} samples"
        asked = f"what was asked ({self.target.sentence()})"
        if best.standing == "undecided":
            return (
                f"{reach}, the least of all rungs: whether {asked} holds is undecided, as the interval holds it and so few "
                "samples cannot tell. Give more of them, or train longer."
            )
        if best.standing == "misses":
            return f"{reach}, the least of all rungs: {asked} is missed. Train longer, or keep more operators in float."
        sure = "holds" if best.standing == "holds" else "holds as far as so many samples can tell"
        return f"{reach}: {asked} {sure}."

    def to_json(self) -> dict[str, Any]:
        """Return everything but the models, as JSON values."""
        befores = (None, *self.rungs)
        return {
            "schema": "quantlab-training",
            "version": 1,
            "verdict": self.verdict,
            "standing": self.best.standing,
            "best": self.best.name,
            "target": asdict(self.target),
            "rungs": [rung.to_json(before) for rung, before in zip(self.rungs, befores, strict=False)],
        }


def read_seconds(path: Path) -> dict[str, float]:
    """Return the seconds of each rung in a file; empty where there is none.

    Raises
    ------
    InputError
        When it holds something else.
    """
    if not path.exists():
        return {}
    try:
        return {str(name): float(value) for name, value in json.loads(read_text(path, "times")).items()}
    except (AttributeError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InputError(f"'{path}' does not hold the seconds of rungs: remove it.") from error


def _points(rung: Rung) -> float:
    return math.inf if rung.score.drop is None else rung.score.drop


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
