"""Whether the inputs were prepared as the network expects, told from their statistics and from what the network does."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import log
from typing import Any

import numpy as np

from quantlab.diagnosis.sample_choice import Chosen
from quantlab.diagnosis.transformations import Candidate, candidates
from quantlab.diagnosis.witness import Heard, Witness, gain, information, probabilities
from quantlab.engines.ort_session import OrtOptions
from quantlab.graph.model import Model
from quantlab.numerics.arrays import AnyArray

LEAST_SAMPLES = 8
"""Fewer tell nothing."""

_SURE = 4.0  # standard errors of the paired gain
_GAIN = 0.1  # nats a sample
_CONVINCING = 0.25  # of the most that answers could tell: a network that knows nothing gives no evidence
_ALL_ON, _SCREENED_ON, _FINALISTS = 64, 32, 4  # samples, samples, candidates
_ALIKE = 0.02  # nats a sample in which two candidates count as equals
_WRONG_NORM, _BETTER_NORM = 0.5, 4.0  # nats, and times


@dataclass(frozen=True, slots=True)
class ChannelStatistics:
    """Mean, standard deviation, smallest and largest value of one channel of an input, in the input's unit."""

    mean: float
    std: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Tried:
    """What the network does with the inputs as given, or as another preprocessing would have made them.

    Attributes
    ----------
    name
        The preprocessing; «as given».
    top
        Mean probability of the class chosen, 0 … 1; None without class scores.
    information
        What an answer tells of the sample, in nats a sample: the entropy of the mean answer less the mean entropy of the
        answers. None without class scores.
    gain, sureness
        By how many nats a sample the answers tell more than those to the inputs as given, and in how many standard errors
        of that; scores that are merely larger gain nothing.
    accuracy
        0 … 1; None without labels.
    mismatch
        How far the inputs of the first BatchNorms are from training's, in nats; None where none is left in the graph.
    """

    name: str
    top: float | None = None
    information: float | None = None
    gain: float = 0.0
    sureness: float = 0.0
    accuracy: float | None = None
    mismatch: float | None = None


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """The verdict on one input.

    Attributes
    ----------
    input
        Its name; empty where there is no image among the inputs.
    samples
        How many were looked at.
    channels
        Statistics in the order in which the network gets them.
    looks
        What the values look like, in words.
    tried
        As given first, then the candidates: all, or of more than 64 samples those that 32 of them speak for most.
    better
        The candidate that the evidence is strongly for; empty if there is none.
    unjudged
        Why the network could not be asked; empty if it was.
    """

    input: str
    samples: int
    channels: tuple[ChannelStatistics, ...] = ()
    looks: str = ""
    tried: tuple[Tried, ...] = ()
    better: str = ""
    unjudged: str = ""

    @property
    def suspicious(self) -> bool:
        """Whether another preprocessing fits far better."""
        return bool(self.better)

    @property
    def sentence(self) -> str:
        """The finding in words."""
        if self.unjudged:
            return f"The preprocessing was not judged: {self.unjudged}."
        if not self.better:
            return f"Nothing speaks against the preprocessing of «{self.input}» (it looks {self.looks})."
        given, found = self.tried[0], next(t for t in self.tried if t.name == self.better)
        return f"Input «{self.input}» looks {self.looks}, but {_evidence(given, found)}: check the preprocessing."


def check_preprocessing(
    model: Model, chosen: Chosen, declared: Mapping[str, Any], options: OrtOptions | None = None
) -> Preprocessing:
    """Return whether another preprocessing fits far better.

    Two witnesses are heard. A trained classifier's answers differ from sample to sample and are sure; with a wrong scale or
    channel order they become unsure, or all the same. The mutual information of sample and answer (Bridle, Heading and
    MacKay, «Unsupervised classifiers, mutual information and phantom targets», NIPS 4, 1991) falls in either case, and is
    compared sample by sample, at equal spread of the scores. BatchNorms that are still in the graph tell the mean and variance of training. A candidate
    that makes labelled samples more often wrong is not believed.

    Parameters
    ----------
    chosen
        A few samples as the network gets them.
    declared
        Their preprocessing as JSON; empty if nobody declared one.
    """
    images = [n for n, v in chosen.inputs.items() if v.ndim == 4 and v.dtype.kind == "f" and _axis(v) is not None]
    if not images:
        return Preprocessing(
            "", len(chosen), unjudged="no float image [samples, 1 or 3 channels, …] is among the inputs"
        )
    name = images[0]
    values = chosen.inputs[name]
    axis = _axis(values) or 1
    statistics = _statistics(values, axis)
    if len(chosen) < LEAST_SAMPLES or not np.isfinite(values).all() or values.min() == values.max():
        why = "the inputs are constant or not finite" if len(chosen) >= LEAST_SAMPLES else (
            f"{len(chosen)} samples are too few, {LEAST_SAMPLES} are needed"
        )  # fmt: skip
        return Preprocessing(name, len(chosen), statistics, unjudged=why)
    looks, others = candidates(values, axis, declared if len(images) == 1 else {})
    with Witness(model, options) as witness:
        given = witness.hear(chosen.inputs)
        if not given:
            why = "the network has neither class scores nor a BatchNorm left"
            return Preprocessing(name, len(chosen), statistics, looks, unjudged=why)
        others = _promising(witness, chosen.inputs, name, others, axis)
        heard = [given, *(witness.hear({**chosen.inputs, name: c.apply(values, axis)}) for c in others)]
    names = ("as given", *(candidate.name for candidate in others))
    tried = tuple(_tried(n, h, given, chosen) for n, h in zip(names, heard, strict=True))
    return Preprocessing(name, len(chosen), statistics, looks, tried, _better(tried, _convincing(given)))


def _promising(
    witness: Witness, inputs: Mapping[str, AnyArray], name: str, others: tuple[Candidate, ...], axis: int
) -> tuple[Candidate, ...]:
    """Return the candidates worth asking about with all samples, in their order."""
    if len(inputs[name]) <= _ALL_ON:
        return others
    few = {key: value[:_SCREENED_ON] for key, value in inputs.items()}
    given = witness.hear(few)
    heard = [witness.hear({**few, name: other.apply(few[name], axis)}) for other in others]

    def rank(i: int) -> float:
        scores = heard[i].scores
        if given.scores is None or scores is None:
            return heard[i].mismatch or 0.0
        return -gain(given.scores, scores)[0]

    best = sorted(range(len(others)), key=rank)[:_FINALISTS]
    return tuple(others[i] for i in sorted(best))


def _axis(values: AnyArray) -> int | None:
    """Return which dimension holds the channels, where that is clear."""
    if values.shape[1] in (1, 3):
        return 1
    return 3 if values.shape[3] in (1, 3) else None


def _statistics(values: AnyArray, axis: int) -> tuple[ChannelStatistics, ...]:
    found = []
    for channel in np.moveaxis(values, axis, 0):
        finite = channel[np.isfinite(channel)].astype(np.float64)
        numbers = (finite.mean(), finite.std(), finite.min(), finite.max()) if finite.size else (0.0, 0.0, 0.0, 0.0)
        found.append(ChannelStatistics(*map(float, numbers)))
    return tuple(found)


def _tried(name: str, heard: Heard, given: Heard, chosen: Chosen) -> Tried:
    if heard.scores is None or given.scores is None:
        return Tried(name, mismatch=heard.mismatch)
    right = None
    if chosen.labels is not None:
        right = float(np.mean(np.argmax(heard.scores, axis=1) == chosen.labels))
    top = float(probabilities(heard.scores).max(axis=1).mean())
    more, sureness = gain(given.scores, heard.scores)
    return Tried(name, top, float(information(heard.scores).mean()), more, sureness, right, heard.mismatch)


def _convincing(heard: Heard) -> float:
    """Return how many nats a sample the answers of a network that knows its classes tell at least."""
    return 0.0 if heard.scores is None else _CONVINCING * log(min(heard.scores.shape))


def _better(tried: tuple[Tried, ...], convincing: float) -> str:
    given = tried[0]
    strong = [
        i for i, other in enumerate(tried) if i and (_by_answers(given, other, convincing) or _by_norms(given, other))
    ]
    if not strong:
        return ""
    if tried[strong[0]].information is None:
        return min((tried[i] for i in strong), key=lambda t: t.mismatch or 0.0).name
    best = max(strong, key=lambda i: tried[i].information or 0.0)
    most = tried[best].information or 0.0
    # Equals are named in the order of the candidates, the plainest first.
    return next(tried[i].name for i in strong if (tried[i].information or 0.0) >= most - _ALIKE)


def _by_answers(given: Tried, other: Tried, convincing: float) -> bool:
    if given.information is None or other.information is None:
        return False
    if given.accuracy is not None and other.accuracy is not None and other.accuracy < given.accuracy:
        return False
    return other.sureness >= _SURE and other.gain >= _GAIN and other.information >= convincing


def _by_norms(given: Tried, other: Tried) -> bool:
    if given.mismatch is None or other.mismatch is None:
        return False
    if given.information is not None and other.information is not None and other.information < given.information:
        return False
    return given.mismatch >= _WRONG_NORM and other.mismatch * _BETTER_NORM <= given.mismatch


def _evidence(given: Tried, found: Tried) -> str:
    right = ""
    if given.accuracy is not None and found.accuracy is not None:
        right = f", {100 * found.accuracy:.0f} % right instead of {100 * given.accuracy:.0f} %"
    if given.top is not None and found.top is not None and found.top > 1.05 * given.top:
        return (
            f"the network answers {found.top / given.top:.1f}x more surely with {found.name}: top class probability "
            f"{found.top:.2f} instead of {given.top:.2f}{right}"
        )
    if given.information is not None and found.information is not None:
        return (
            f"the network tells the samples apart better with {found.name}: {found.information:.2f} nats a sample instead "
            f"of {given.information:.2f}{right}"
        )
    return (
        f"the first BatchNorms get what they expect with {found.name}: {found.mismatch or 0.0:.2g} nats from training's "
        f"mean and variance instead of {given.mismatch or 0.0:.2g}"
    )
