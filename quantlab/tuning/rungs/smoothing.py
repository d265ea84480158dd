"""Transformers: outliers of the inputs of matrix products become part of their weights (SmoothQuant).

What decides whether it helps is tried with it: attention's averages in float, whose error hides what smoothing gains, and
the method that chooses ranges, since tensors without outliers want another one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

from quantlab.graph.attention import averaging_products
from quantlab.graph.model import Model
from quantlab.graph.normalise import normalise
from quantlab.graph.smooth import Smoothed, SmoothOptions, smooth, wanted
from quantlab.graph.view import Graph
from quantlab.numerics.arrays import F32
from quantlab.tuning.candidate import Candidate
from quantlab.tuning.ladder import BEHIND_RANKED_DB, LEAST_DB, Ladder, Methods
from quantlab.tuning.peaks import channel_peaks
from quantlab.tuning.recollect import Counts, recollected
from quantlab.tuning.rungs.thresholds import METHODS
from quantlab.tuning.trial import Trial

RUNG = "smoothing"
_FIRST, *_OTHERS = 0.9, (0.8, 0.65, 0.5), (0.95,)  # from the first to where it gets better
_COUNTED = 32  # calibration samples, of many tokens each, for a candidate that is only ranked
_LEAST = 3  # a classifier's last product alone is no transformer
_FLOAT_DB = 0.5
"""Operators in float cost time: they have to gain that much."""


@dataclass(frozen=True, slots=True)
class Way:
    """What a candidate differs in from the best so far.

    Attributes
    ----------
    alpha
        Strength of smoothing; None: none.
    method
        Which chooses all ranges; «»: those so far.
    floats
        Attention's averages, in float too.
    """

    alpha: float | None = None
    method: str = ""
    floats: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """What tells it from others."""
        parts = ["" if self.alpha is None else f"alpha {self.alpha:g}", self.method]
        return ", ".join(part for part in [*parts, "attention's averages in float" if self.floats else ""] if part)


def climb(ladder: Ladder) -> None:
    """Find the strength, then the method for it, then whether attention's averages have to be in float; try the best."""
    model, quantized = normalise(ladder.best.start).model, ladder.best.quantized()
    products = tuple(name for name in averaging_products(Graph(model.proto)) if name not in quantized.floats)
    tensors = wanted(model)
    if len(tensors) < _LEAST and not products:
        ladder.skip(RUNG, f"{len(tensors)} inputs of matrix products: this is for transformers")
        return
    race = _Race(ladder, model)
    if products:
        race.run(Way(floats=products))
    if len(tensors) >= _LEAST:
        race.peaks = channel_peaks(model, dict.fromkeys(tensors, -1), ladder.ground.data, threads=ladder.ground.threads)
        _strength(race, products)
    if race.best.alpha is not None:
        for name, method in METHODS.items():
            if method != ladder.methods.default:
                race.run(Way(race.best.alpha, name, products))
    if race.best.floats:
        race.run_cheaper(Way(race.best.alpha, race.best.method))
    best = race.best
    if best.label and ladder.attempt(RUNG, best.label, race.change(best), partial(race.candidate, best)):
        ladder.methods, ladder.smoothed = race.methods(best), best.alpha is not None


def _strength(race: _Race, products: tuple[str, ...]) -> None:
    """Go from the first strength down or up, as long as it gets better."""
    first = race.run(Way(_FIRST, floats=products))
    for alphas in _OTHERS:
        last = first
        for alpha in alphas:
            trial = race.run(Way(alpha, floats=products))
            if not trial.leads(last.scores, 0.0):
                break
            last = trial
        if last is not first:
            return


@dataclass(slots=True)
class _Race:
    """The best way so far, and its scores on the samples that rank; the empty way is the ladder's best."""

    ladder: Ladder
    model: Model
    peaks: Mapping[str, F32] = field(default_factory=dict)
    best: Way = field(default_factory=Way)
    counts: Counts = field(default_factory=Counts)
    _leader: Trial | None = None
    _smoothed: dict[float, Smoothed] = field(default_factory=dict)

    def run(self, way: Way) -> Trial:
        """Rank a way, and take it for the best if it leads."""
        leader = self._leader.scores if self._leader else self.ladder.ranked
        trial = self._ranked(way, BEHIND_RANKED_DB)
        if trial.leads(leader, 0.0 if self._leader else LEAST_DB):
            self.best, self._leader = way, trial
        return trial

    def run_cheaper(self, way: Way) -> None:
        """Take a way for the best that has less in float, if that costs little."""
        if self._leader is not None:
            trial = self._ranked(way, _FLOAT_DB)
            if trial.leads(self._leader.scores, -_FLOAT_DB):
                self.best, self._leader = way, trial

    def _ranked(self, way: Way, behind_db: float) -> Trial:
        rivals = (self._leader.scores if self._leader else self.ladder.ranked, behind_db)
        make = partial(self.candidate, way, _COUNTED)
        return self.ladder.rank(RUNG, f"{way.label}, ranked", self.change(way), make, rivals=rivals)

    def candidate(self, way: Way, samples: int | None = None) -> Candidate:
        """Return the ladder's best, changed that way."""
        best = self.ladder.best
        if way.alpha is not None:
            made = self.smoothed(way.alpha)
            changed = None if way.method else made.changed
            best = recollected(self.ladder, made.model, changed, self.methods(way), samples=samples, counts=self.counts)
        return best.with_floats((*best.options.keep_float, *way.floats)) if way.floats else best

    def smoothed(self, alpha: float) -> Smoothed:
        """Return the network smoothed with this strength."""
        if alpha not in self._smoothed:
            # Not the nearest powers of two: 0.5 … 0.9 dB more on a sentence transformer, and FP32 the same to 1e-6.
            options = SmoothOptions(alpha=alpha, steps="any")
            self._smoothed[alpha] = smooth(self.model, self.peaks, options=options)
        return self._smoothed[alpha]

    def methods(self, way: Way) -> Methods:
        """Return what chooses the ranges."""
        return Methods(METHODS[way.method]) if way.method else self.ladder.methods

    def change(self, way: Way) -> str:
        """Return what the way changes, in words."""
        parts = [f"{len(way.floats)} averages of attention in float"] if way.floats else []
        if way.alpha is not None:
            made = self.smoothed(way.alpha).migrations
            inserted = sum(migration.cost != "nothing" for migration in made)
            parts.insert(0, f"{len(made)} inputs scaled, {inserted} of them by a Mul of its own")
        if way.method:
            parts.append(f"ranges by {way.method}")
        return "; ".join(parts)
