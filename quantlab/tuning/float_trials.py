"""Candidates that differ only in what stays float: each is measured once, and nobody loses it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import fsum, isnan, log10, nan
from types import MappingProxyType
from typing import TypeAlias

from quantlab import engines
from quantlab.errors import InputError
from quantlab.graph.model import Model
from quantlab.graph.multiply_accumulates import (
    MultiplyAccumulates,
    int8_coverage,
    integer_nodes,
    multiply_accumulates,
)
from quantlab.graph.normalise import normalise
from quantlab.graph.view import Graph
from quantlab.tuning.candidate import Candidate
from quantlab.tuning.restoring import restored
from quantlab.tuning.score import Score
from quantlab.tuning.scoring import Scorer

EQUAL_DB = 200.0
"""Stands for outputs without any noise: float32 itself ends near 150 dB."""


@dataclass(frozen=True, slots=True)
class FloatTrial:
    """One measured candidate.

    Attributes
    ----------
    key
        Candidate, number of samples and operators, hashed: the same for the same question.
    floats
        Operators that the candidate quantizes otherwise, kept in float; in graph order.
    score
        What was measured.
    """

    key: str
    floats: tuple[str, ...]
    score: Score


@dataclass(frozen=True, slots=True)
class Memory:
    """What is measured already, and who is told of the rest: so an interrupted search goes on where it was.

    Attributes
    ----------
    scores
        `FloatTrial.key` → score; keys of other candidates or numbers of samples are ignored, those of other samples are not.
    on_trial
        Called after each new measurement, before the next begins.
    """

    scores: Mapping[str, Score] = field(default_factory=lambda: MappingProxyType({}))
    on_trial: Callable[[FloatTrial], None] | None = None


Prepare: TypeAlias = Callable[[Candidate], Candidate]
"""Corrects weights, biases or scales of a candidate anew, from its exact model on, for the operators it quantizes."""


class FloatTrials:
    """One candidate, one set of samples, and all that was measured of its operators in float.

    `prepare` makes each candidate anew; without it what is left in INT8 keeps its corrections.
    """

    def __init__(
        self, scorer: Scorer, candidate: Candidate, memory: Memory | None = None, prepare: Prepare | None = None
    ) -> None:
        self.scorer, self.candidate, self._prepare = scorer, candidate, prepare
        self.found: dict[str, FloatTrial] = {}
        self._memory = memory or Memory()
        self._of = _digest(
            candidate.model.digest, repr(candidate.table.rows), repr(candidate.options), *(["anew"] if prepare else [])
        )

    @cached_property
    def model(self) -> Model:
        """The normalised model, whose operators are named."""
        return normalise(self.candidate.model).model

    @cached_property
    def operators(self) -> tuple[str, ...]:
        """The weighted operators that the candidate runs on integers, in graph order."""
        integer = integer_nodes(self.candidate.quantized().model)
        return tuple(node.name for node in Graph(self.model.proto).nodes if node.name in integer)

    @cached_property
    def macs(self) -> MultiplyAccumulates:
        """Multiply-accumulates of every weighted operator whose number is known, for a batch of 1."""
        first = next(iter(self.scorer.data))
        return multiply_accumulates(self.model, {name: values.shape for name, values in first.items()})

    def share(self, names: Collection[str]) -> float:
        """Return the share, 0 … 1, of the network's known multiply-accumulates that these operators do."""
        return int8_coverage(self.macs, names)

    def coverage(self, floats: Collection[str]) -> float:
        """Return the share, 0 … 1, that runs on integers when these operators stay float."""
        return self.share([name for name in self.operators if name not in floats])

    def kept(self, floats: Collection[str]) -> Candidate:
        """Return the candidate with these operators in float too, their weights and biases as they were."""
        names = tuple(name for name in self.operators if name in floats)
        if not names:
            return self.candidate
        if self._prepare is None:
            return restored(self.candidate, names).with_floats(self._wished(names))
        return self._prepare(self.candidate.with_floats(self._wished(names)))

    def trial(self, floats: Collection[str]) -> FloatTrial:
        """Measure the candidate with these of its operators in float; each set once."""
        names = tuple(name for name in self.operators if name in floats)
        key = self._key(names)
        if key in self.found:
            return self.found[key]
        known = self._memory.scores.get(key)
        trial = FloatTrial(key, names, self._score(names) if known is None else known)
        decibels(trial.score)
        self.found[key] = trial
        if known is None and self._memory.on_trial is not None:
            self._memory.on_trial(trial)
        return trial

    def _wished(self, names: tuple[str, ...]) -> tuple[str, ...]:
        return (*self.candidate.options.keep_float, *names)

    def _score(self, names: tuple[str, ...]) -> Score:
        if len(names) < len(self.operators):
            return self.scorer.score(self.kept(names))
        with engines.ort(self.candidate.start, threads=self.scorer.threads) as engine:  # nothing is left to quantize
            return self.scorer.score_engine(engine)

    def _key(self, names: Sequence[str]) -> str:
        return _digest(self._of, str(len(self.scorer.data)), *sorted(names))


def _digest(*texts: str) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]


def noise(score: Score) -> float:
    """Return noise over signal, as power, averaged over the outputs: what operators add, where decibels do not.

    An output that an operator does not reach has none, and counts as that; the mean of decibels would be infinite.

    Raises
    ------
    InputError
        An output holds no values.
    """
    found = [score.sqnr_db[name] for name in sorted(score.sqnr_db)]
    if not found or any(isnan(value) for value in found):
        raise InputError("An output of the network holds no value on these samples: nothing tells what INT8 costs.")
    return fsum(10 ** (-max(value, -EQUAL_DB) / 10) for value in found) / len(found)


def decibels(score: Score) -> float:
    """Return the `noise` in dB, upside down: larger is better; at most 200."""
    power = noise(score)
    return EQUAL_DB if power == 0 else min(-10 * log10(power), EQUAL_DB)


def number(value: float | None) -> float:
    """Return NaN for None: in a frame, a column of None alone would be one of objects."""
    return nan if value is None else value
