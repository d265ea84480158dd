"""The search itself: rung after rung, each trial measured against the best so far, until the target holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from math import inf
from time import perf_counter
from typing import Any

from quantlab.calibration.calibrate import calibrate
from quantlab.calibration.histogram_set import HistogramSet
from quantlab.calibration.rules import Rule
from quantlab.calibration.scale_table import ScaleTable
from quantlab.data.batch import Dataset
from quantlab.errors import InputError, MachineError, QuantlabError, StaleError, UsageError
from quantlab.tuning.candidate import Candidate
from quantlab.tuning.journal import Journal
from quantlab.tuning.mixed_precision import MixedPrecision
from quantlab.tuning.score import Score
from quantlab.tuning.scoring import Scorer
from quantlab.tuning.sensitivity import Sensitivity
from quantlab.tuning.target import Standing, Target
from quantlab.tuning.trial import Trial

LEAST_DB = 0.05
"""A trial that gains less is noise, and not kept."""

RANKED_SAMPLES = 64
"""Calibration samples that are counted anew for a candidate that is only ranked."""

_ENDING = (UsageError, StaleError, MachineError)
"""Errors that end the search: any other is one way that a network does not allow."""

Watch = Callable[[str, int, int | None], None]
"""Told what is going on, how much of it is done, and of how much."""


@dataclass(frozen=True, slots=True, eq=False)
class Methods:
    """Which method chooses each activation's range."""

    default: Any
    single: Mapping[str, Any] = field(default_factory=dict)

    def table(self, histograms: HistogramSet) -> ScaleTable:
        """Return the scales."""
        rules = tuple(Rule(tensor, method) for tensor, method in self.single.items() if tensor in histograms)
        return calibrate(histograms, self.default, rules=rules)


@dataclass(frozen=True, slots=True, eq=False)
class Ground:
    """What the ladder stands on.

    Attributes
    ----------
    data
        Calibration samples.
    histograms
        Of the user's float model.
    scorer, ranking
        Candidates are measured on the first; the second is the same on fewer samples, for ranking alone.
    target
        What is asked for.
    walk
        Samples and memory of walks.
    threads
        Of ONNX Runtime.
    watch
        Told what is going on.
    """

    data: Dataset
    histograms: HistogramSet
    scorer: Scorer
    ranking: Scorer
    target: Target
    walk: Mapping[str, int]
    threads: int | None = None
    watch: Watch = lambda _what, _done, _total: None


class Ladder:
    """The best candidate so far, and every trial that led there.

    Parameters
    ----------
    ground, first
        What it stands on, and the candidate that it starts from.
    journal
        Trials in it are not run again.
    on_trial
        Told of each trial, also of those from the journal.
    """

    def __init__(self, ground: Ground, first: Candidate, journal: Journal, on_trial: Callable[[Trial], None]) -> None:
        self.ground, self.best, self.score = ground, first, Score(0, {"": float("-inf")})
        self.journal, self.trials = journal, list[Trial]()
        self.methods = Methods(None)
        self._least_drop = inf
        self.sensitivity: Sensitivity | None = None
        self.mixed: MixedPrecision | None = None
        self._on_trial = on_trial

    @property
    def standing(self) -> Standing:
        """How the best so far stands to the target."""
        return self.ground.target.judged(self.score) if self.score.samples else "misses"

    @property
    def done(self) -> bool:
        """Whether no further rung is needed.

        Where so few samples cannot show a drop so small, the likely one has to do.
        """
        if self.standing == "likely":
            return not self.ground.target.can_be_shown(self.score)
        return self.standing == "holds"

    def climb(self, rung: str, climb: Callable[[Ladder], None]) -> None:
        """Climb a rung; one that the network does not allow is noted and left.

        Raises
        ------
        InputError
            When not one candidate could be measured so far.
        """
        try:
            climb(self)
        except _ENDING:
            raise
        except QuantlabError as error:
            self.skip(rung, str(error))
        if not self.score.samples:
            why = next((trial.note for trial in self.trials if trial.note), "nothing was tried")
            raise InputError(f"No INT8 form of the network can be measured: {why}")

    def attempt(self, rung: str, label: str, change: str, make: Callable[[], Candidate]) -> bool:
        """Measure a candidate on all samples and keep it if it is better; tell whether it was."""
        known = self.journal.known(rung, label)
        if known is not None:
            if known.kept and known.score is not None:
                self._keep(self.journal.candidate(known), known.score)
            self._note(known)
            return known.kept
        began, scorer = perf_counter(), self.ground.scorer
        try:
            candidate = make()
            self._watch(f"{rung}: {label}")
            score = scorer.score(candidate, lambda done, total: self.ground.watch(f"{rung}: {label}", done, total))
        except _ENDING:
            raise
        except QuantlabError as error:
            self._record(Trial(rung, label, change, seconds=perf_counter() - began, note=str(error)), None)
            return False
        kept = not self.score.samples or score.better_than(self.score, LEAST_DB, least_drop=self._least_drop)
        if kept:
            self._keep(candidate, score)
        trial = Trial(
            rung, label, change, score, kept, self.ground.target.judged(score), self.score.mean_sqnr_db,
            len(candidate.options.keep_float), perf_counter() - began,
        )  # fmt: skip
        self._record(trial, candidate if kept else None)
        return kept

    def look(self, rung: str, label: str, change: str, make: Callable[[], Candidate]) -> Score | None:
        """Measure a candidate on the ranking samples alone; None if it cannot be made."""
        known = self.journal.known(rung, label)
        if known is not None:
            self._note(known)
            return known.score
        began = perf_counter()
        self._watch(f"{rung}: {label}")
        try:
            candidate = make()
            score = self.ground.ranking.score(candidate)
        except _ENDING:
            raise
        except QuantlabError as error:
            self._record(Trial(rung, label, change, seconds=perf_counter() - began, note=str(error)), None)
            return None
        trial = Trial(
            rung, label, change, score, False, self.ground.target.judged(score), self.score.mean_sqnr_db,
            len(candidate.options.keep_float), perf_counter() - began, "ranking only",
        )  # fmt: skip
        self._record(trial, None)
        return score

    def attempt_best(self, rung: str, ways: Mapping[str, tuple[str, Callable[[int | None], Candidate]]]) -> str | None:
        """Rank several ways and attempt the best, if it ranks above the best so far; return its label if it was kept.

        Parameters
        ----------
        ways
            Label → what changes, and what makes it, of so many calibration samples (None: all).
        """
        now = self.look(rung, "the best so far, ranked", "", lambda: self.best)
        best, level = "", now.worth_db + LEAST_DB if now else float("-inf")
        for label, (change, make) in ways.items():
            score = self.look(rung, f"{label}, ranked", change, partial(make, RANKED_SAMPLES))
            if score is not None and score.worth_db > level:
                best, level = label, score.worth_db
        kept = bool(best) and self.attempt(rung, best, ways[best][0], partial(ways[best][1], None))
        return best if kept else None

    def skip(self, rung: str, why: str) -> None:
        """Note that a rung has nothing to try."""
        if self.journal.known(rung, "–") is None:
            self._record(Trial(rung, "–", "", note=why), None)
        else:
            self._note(Trial(rung, "–", "", note=why))

    def note(self, trial: Trial, *, known: bool = False) -> None:
        """Take up a trial that a rung measured itself; `known` ones are in the journal already."""
        if not known:
            self.journal.add(trial, None)
        self._note(trial)

    def _keep(self, candidate: Candidate, score: Score) -> None:
        self.best, self.score = candidate, score
        self._least_drop = min(self._least_drop, inf if score.drop is None else score.drop)

    def _record(self, trial: Trial, candidate: Candidate | None) -> None:
        self.journal.add(trial, candidate)
        self._note(trial)

    def _note(self, trial: Trial) -> None:
        self.trials.append(trial)
        self._on_trial(trial)

    def _watch(self, what: str) -> None:
        self.ground.watch(what, 0, None)
