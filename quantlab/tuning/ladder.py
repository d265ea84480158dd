"""The search itself: rung after rung, each trial measured against the best so far, until the target holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from math import inf
from time import perf_counter

from quantlab.errors import InputError, MachineError, QuantlabError, StaleError, UsageError
from quantlab.tuning.candidate import Candidate
from quantlab.tuning.ground import Ground, Methods, Watch
from quantlab.tuning.journal import Journal
from quantlab.tuning.mixed_precision import MixedPrecision
from quantlab.tuning.score import Score
from quantlab.tuning.sensitivity import Sensitivity
from quantlab.tuning.target import Standing
from quantlab.tuning.trial import Trial

__all__ = ["Ground", "Ladder", "Methods", "Watch"]

LEAST_DB = 0.05
"""A trial that gains less is noise, and not kept."""

BEHIND_DB = 0.5
"""What is behind the best by more on the first samples is not measured on the others."""

BEHIND_RANKED_DB = 0.3
"""Likewise of trials that only rank."""

WHOLE = "all samples"
"""Rung of the best's measurement where it was far from the target on the first samples."""

RANKED, STOPPED, FAR = "ranking only", "behind on these samples", "far from the target on these samples"
"""Notes of trials that were not measured on all samples."""

RANKED_SAMPLES = 32
"""Calibration samples that are counted anew for a candidate that is only ranked."""

_ENDING = (UsageError, StaleError, MachineError, MemoryError)
"""Errors that end the search: any other is one way that a network does not allow."""


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
        self.ground, self.best = ground, first
        self.scores: tuple[Score, ...] = ()
        self._named = ""
        self.journal, self.trials = journal, list[Trial]()
        self.methods = Methods(None)
        self.smoothed = False
        self._kept = list[tuple[Score, ...]]()
        self.sensitivity: Sensitivity | None = None
        self.mixed: MixedPrecision | None = None
        self._on_trial = on_trial

    @property
    def score(self) -> Score:
        """The best's, on as many samples as it was measured on."""
        return self.scores[-1] if self.scores else Score(0, {"": float("-inf")})

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
        except Exception as error:  # noqa: BLE001 - a bug in one rung is no reason to lose what the others found
            self.skip(rung, self._why(error))
        if not self.score.samples:
            why = next((trial.note for trial in self.trials if trial.note), "nothing was tried")
            raise InputError(f"No INT8 form of the network can be measured: {why}")

    def attempt(self, rung: str, label: str, change: str, make: Callable[[], Candidate]) -> bool:
        """Measure a candidate and keep it if it is better; tell whether it was.

        One that is far behind the best on the first samples is not measured on the others.
        """
        known = self.journal.known(rung, label)
        if known is not None:
            known = self._judged(known)
            if known.kept:
                self._keep(known.key, self.journal.candidate(known), known.scores)
            self._note(known)
            if known.kept and not self.ground.target.far(self.score):
                self.finish()  # another target was far from it
            return known.kept
        began, scorer = perf_counter(), self.ground.scorer
        try:
            candidate = make()
            self._watch(f"{rung}: {label}")
            scores = scorer.staged(
                candidate, scorer.stages, self._worth_more,
                lambda done, total: self.ground.watch(f"{rung}: {label}", done, total),
            )  # fmt: skip
        except _ENDING:
            raise
        except Exception as error:  # noqa: BLE001 - see climb
            self._record(Trial(rung, label, change, seconds=perf_counter() - began, note=self._why(error)), None)
            return False
        behind = self._behind(scores)
        kept = not behind and self._better(scores)
        note = STOPPED if behind else "" if scores[-1].samples == len(scorer.data) else FAR
        if kept:
            self._keep((rung, label), candidate, scores)
        trial = Trial(
            rung, label, change, scores[-1], kept, self.ground.target.judged(scores[-1]), self.score.mean_sqnr_db,
            len(candidate.options.keep_float), perf_counter() - began, note, scores[:-1],
        )  # fmt: skip
        self._record(trial, candidate if kept else None)
        return kept

    def rank(
        self,
        rung: str,
        label: str,
        change: str,
        make: Callable[[], Candidate],
        *,
        rivals: tuple[tuple[Score, ...], float] = ((), 0.0),
    ) -> Trial:
        """Measure a candidate on the ranking samples alone.

        Parameters
        ----------
        rivals
            Another's scores on the first samples: what is behind it by more than so many dB is not measured on the others.
        """
        known = self.journal.known(rung, label)
        if known is not None:
            known = self._judged(known)
            self._note(known)
            return known
        began = perf_counter()
        self._watch(f"{rung}: {label}")
        steps = self.ground.ranks
        try:
            candidate = make()
            scores = self.ground.scorer.staged(candidate, steps, partial(_goes_on, *rivals))
        except _ENDING:
            raise
        except Exception as error:  # noqa: BLE001 - see climb
            trial = Trial(rung, label, change, seconds=perf_counter() - began, note=self._why(error))
        else:
            trial = Trial(
                rung, label, change, scores[-1], False, self.ground.target.judged(scores[-1]), self.score.mean_sqnr_db,
                len(candidate.options.keep_float), perf_counter() - began,
                RANKED if len(scores) == len(steps) else STOPPED, scores[:-1],
            )  # fmt: skip
        self._record(trial, None)
        return trial

    @property
    def ranked(self) -> tuple[Score, ...]:
        """The best's scores on the samples that rank, ever more of them; empty if nothing is kept."""
        return self.scores[: len(self.ground.ranks)]

    def finish(self) -> None:
        """Measure the best on all samples if it was far from the target on the first ones."""
        if not 0 < self.score.samples < len(self.ground.scorer.data):
            return
        rung, label = WHOLE, self._named
        trial = self.journal.known(rung, label)
        began = perf_counter()
        if trial is None:
            self._watch(rung)
            score = self.ground.scorer.score(self.best)
            trial = Trial(
                rung, label, "", score, False, "misses", score.mean_sqnr_db,
                len(self.best.options.keep_float), perf_counter() - began, "the best",
            )  # fmt: skip
            self.journal.add(trial, None)
        self.scores = (*self.scores, *trial.scores)
        self._note(self._judged(trial))

    def attempt_best(self, rung: str, ways: Mapping[str, tuple[str, Callable[[int | None], Candidate]]]) -> str | None:
        """Rank several ways and attempt the best, if it ranks above the best so far; return its label if it was kept.

        Parameters
        ----------
        ways
            Label → what changes, and what makes it, of so many calibration samples (None: all).
        """
        best, leader, least = "", self.ranked, LEAST_DB
        for label, (change, make) in ways.items():
            trial = self.rank(
                rung, f"{label}, ranked", change, partial(make, RANKED_SAMPLES), rivals=(leader, BEHIND_RANKED_DB)
            )
            if trial.leads(leader, least):
                best, leader, least = label, trial.scores, 0.0
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

    def _why(self, error: Exception) -> str:
        """Return what a trial's note says of an error; one inside quantlab ends a search that has found nothing yet."""
        if isinstance(error, QuantlabError):
            return str(error)
        if not self.scores:
            raise error
        return f"an error inside quantlab: {type(error).__name__}: {error}"

    def _judged(self, known: Trial) -> Trial:
        """Return a trial from the journal as this target judges it."""
        return known if known.score is None else replace(known, standing=self.ground.target.judged(known.score))

    def _worth_more(self, scores: tuple[Score, ...]) -> bool:
        """Tell whether a candidate is to be measured on more samples: not if it is behind, nor if it misses by far."""
        if self._behind(scores):
            return False
        return len(scores) <= len(self.ground.ranks) or not self.ground.target.far(scores[-1])

    def _behind(self, scores: tuple[Score, ...]) -> bool:
        return scores[-1].samples < len(self.ground.scorer.data) and not _goes_on(self.scores, BEHIND_DB, scores)

    def _better(self, scores: tuple[Score, ...]) -> bool:
        """Tell whether a candidate is better than the best so far, on the samples that both were measured on."""
        if not self.scores:
            return True
        at = min(len(scores), len(self.scores)) - 1
        drops = [kept[min(at, len(kept) - 1)].drop for kept in self._kept]
        least = min((drop for drop in drops if drop is not None), default=inf)
        return scores[at].better_than(self.scores[at], LEAST_DB, least_drop=least)

    def _keep(self, key: tuple[str, str], candidate: Candidate, scores: tuple[Score, ...]) -> None:
        self.best, self.scores, self._named = candidate, scores, ": ".join(key)
        self._kept.append(scores)

    def _record(self, trial: Trial, candidate: Candidate | None) -> None:
        self.journal.add(trial, candidate)
        self._note(trial)

    def _note(self, trial: Trial) -> None:
        self.trials.append(trial)
        self._on_trial(trial)

    def _watch(self, what: str) -> None:
        self.ground.watch(what, 0, None)


def _goes_on(rival: tuple[Score, ...], by_db: float, scores: tuple[Score, ...]) -> bool:
    """Tell whether a candidate with these scores so far is worth more samples."""
    return len(rival) < len(scores) or not scores[-1].behind(rival[len(scores) - 1], by_db)
