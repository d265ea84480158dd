"""Samples that INT8 puts into another class, and for each the first tensor where its error leaves the usual."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from quantlab.comparison.agreement import Agreement, Flip
from quantlab.comparison.fixed_batch import cut, fixed_rows, run_filled
from quantlab.comparison.labelled import LabelledBatches
from quantlab.comparison.one_pass import Pair, Progress
from quantlab.comparison.sample_sums import parts, sample_sums
from quantlab.comparison.tensors import TensorProbe
from quantlab.data.batch import Batch, Dataset
from quantlab.errors import InputError, UsageError
from quantlab.graph.model import Model
from quantlab.graph.normalise import normalise
from quantlab.graph.view import Graph
from quantlab.metrics.classes import chosen_classes, find_class_scores
from quantlab.numerics.arrays import F64, AnyArray, Tensors
from quantlab.numerics.markup import card, table

JUMP_DB = 3.0
"""A jump is at least so far below the usual: twice the noise."""

_EXACT_DB = 120.0  # a tensor without an error counts as this good, so that differences stay finite
_SPREADS = 4.0


@dataclass(frozen=True, slots=True)
class FlippedSample:
    """A sample for which INT8 chooses another class than FP32.

    Attributes
    ----------
    flip
        Which sample, and both classes.
    margin
        By how much FP32 preferred its class to INT8's, in the unit of the scores; None where there is no class.
    tensor
        The first tensor, in graph order, where its error jumps; empty where none stands out.
    sqnr_db, usual_sqnr_db
        The sample's own there, and the median of the samples that did not flip; None without a tensor.
    """

    flip: Flip
    margin: float | None
    tensor: str = ""
    sqnr_db: float | None = None
    usual_sqnr_db: float | None = None


@dataclass(frozen=True, slots=True)
class Flips:
    """The flipped samples of a set.

    Attributes
    ----------
    data
        The set's name.
    samples, tensors
        How many were compared.
    flipped
        In the data's order.
    usual_margin
        Median distance of FP32's best two scores among those that did not flip; None if all did.
    """

    data: str
    samples: int
    tensors: int
    flipped: tuple[FlippedSample, ...]
    usual_margin: float | None = None

    def _repr_html_(self) -> str:
        rows = (
            (s.flip.name or s.flip.index, s.flip.label, s.flip.fp32, s.flip.int8, s.margin, s.tensor)
            for s in self.flipped
        )
        columns = ("sample", "label", "FP32", "INT8", "margin", "first seen in")
        return card("Flips", {"finding": self.sentence}, more=table(columns, rows) if self.flipped else "")

    @property
    def sentence(self) -> str:
        """The finding in words."""
        if not self.samples:
            return "Which samples flipped cannot be told: no output is known to hold class scores."
        if not self.flipped:
            return f"None of the {self.samples} samples of «{self.data}» flipped."
        places = Counter(sample.tensor for sample in self.flipped if sample.tensor).most_common(1)
        where = f"most jumps, {places[0][1]}, are first seen in «{places[0][0]}»" if places else "no tensor stands out"
        calm = sum(not sample.tensor for sample in self.flipped)
        margins = [sample.margin for sample in self.flipped if sample.margin is not None]
        close = ""
        if margins and self.usual_margin is not None:
            close = f"; their margin was {np.median(margins):.2g} against the usual {self.usual_margin:.2g}"
        calmly = f", {calm} without a jump anywhere" if places and calm else ""
        return f"{len(self.flipped)} of {self.samples} samples of «{self.data}» flipped: {where}{calmly}{close}."


def find_flips(
    pair: Pair, data: Dataset | Iterable[Tensors], *, output: str | None = None, progress: Progress | None = None
) -> Flips:
    """Return the flipped samples; one batch is in memory at a time.

    A sample's error in a tensor jumps where its SQNR is at least 3 dB, and four robust standard deviations (1.4826 times
    the median absolute deviation), below the median of the samples that did not flip.

    Parameters
    ----------
    pair
        Both engines, with a probe whose engines show inner tensors.
    output
        The class scores; None takes the only output that can be.

    Raises
    ------
    InputError
        When the engines do not fit the data or each other, or there is no sample.
    UsageError
        When the pair has no probe.
    """
    if pair.probe is None:
        raise UsageError("Finding where an error jumps needs a TensorProbe: engines that show inner tensors.")
    source = LabelledBatches(data, None)
    seen = _Seen(pair.probe)
    rows = fixed_rows(pair.fp32, pair.int8, pair.probe.fp32, pair.probe.int8) or pair.probe.batch
    for batch, labels in cut(source.batches(pair.fp32.inputs), rows):
        inner = _inner_db(pair.probe, batch)  # first: an answer is valid until its engine runs again
        seen.add(inner, (run_filled(pair.fp32, batch), run_filled(pair.int8, batch)), batch, labels, output)
        if progress is not None:
            progress(seen.samples, source.total)
    if not seen.samples:
        raise InputError("There is nothing to compare on: the data hold no sample.")
    return seen.flips(source.data.identity.name)


def inner_tensors(fp32: Model, int8: Model) -> tuple[str, ...]:
    """Return the activations that the INT8 model quantizes and the float one has, in graph order.

    A tensor's own rounding is not in it yet, that of everything before it is.

    Raises
    ------
    InputError
        When there is none: one was not made from the other.
    """
    own = Graph(normalise(fp32).model.proto).float_activations()
    nodes = int8.proto.graph.node
    theirs = {node.input[0] for node in nodes if node.op_type == "QuantizeLinear"}
    theirs |= {node.output[0] for node in nodes if node.op_type == "DequantizeLinear"}
    shown = tuple(name for name in own if name in theirs)
    if not shown:
        raise InputError("The INT8 model quantizes no activation of the float model: was it made from another one?")
    return shown


class _Seen:
    """What the pass has seen; mutable, and private to it."""

    def __init__(self, probe: TensorProbe) -> None:
        self.samples = 0
        self._names = probe.names
        self._agreement = Agreement()
        self._errors: list[F64] = []
        self._margins: list[F64] = []
        self._gaps: list[float | None] = []

    def add(
        self, errors: F64, answers: tuple[Tensors, Tensors], batch: Batch, labels: AnyArray | None, output: str | None
    ) -> None:
        one, two = (find_class_scores(found, output) for found in answers)
        self.samples += batch.samples
        if one is None or two is None or len(one) != batch.samples:
            return
        found = Agreement.of(chosen_classes(one), chosen_classes(two), labels, batch.names)
        best = np.sort(one.astype(np.float64), axis=1)
        self._margins.append(best[:, -1] - best[:, -2])
        self._gaps += [_gap(one[flip.index], flip) for flip in found.flips]
        self._errors.append(errors)
        self._agreement = self._agreement.merge(found)

    def flips(self, name: str) -> Flips:
        if not self._errors:
            return Flips(name, 0, len(self._names), ())
        errors, margins = np.concatenate(self._errors), np.concatenate(self._margins)
        turned = np.zeros(len(errors), np.bool_)
        turned[[flip.index for flip in self._agreement.flips]] = True
        usual = errors[~turned]
        limits = None if not len(usual) else _limits(usual)
        flipped = []
        for flip, gap in zip(self._agreement.flips, self._gaps, strict=True):
            place = None if limits is None else _first(errors[flip.index], limits)
            if place is None:
                flipped.append(FlippedSample(flip, gap))
            else:
                own, median = float(errors[flip.index, place]), float(np.nanmedian(usual[:, place]))
                flipped.append(FlippedSample(flip, gap, self._names[place], own, median))
        calm = margins[~turned]
        usual_margin = float(np.median(calm)) if calm.size and np.isfinite(np.median(calm)) else None
        return Flips(name, len(errors), len(self._names), tuple(flipped), usual_margin)


def _inner_db(probe: TensorProbe, batch: Batch) -> F64:
    """Return float64[samples, tensors]: each sample's SQNR in dB, capped; NaN where a tensor has no row a sample."""
    exact, got = run_filled(probe.fp32, batch), run_filled(probe.int8, batch)
    found = np.full((batch.samples, len(probe.names)), np.nan)
    for column, name in enumerate(probe.names):
        if exact[name].shape != got[name].shape:
            raise InputError(
                f"Tensor «{name}» is {list(exact[name].shape)} in FP32 and {list(got[name].shape)} in INT8."
            )
        if parts(exact[name], batch.samples) == batch.samples:
            sums = sample_sums(exact[name], got[name], batch.samples)
            found[:, column] = _decibels(sums[:, 0], sums[:, 3])
    return found


def _decibels(signal: F64, noise: F64) -> F64:
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.where(noise > 0, 10 * np.log10(signal / noise), _EXACT_DB)
    broken = ~np.isfinite(signal) | ~np.isfinite(noise)  # NaN or infinity in a tensor is the worst error
    return np.where(broken, -_EXACT_DB, np.clip(found, -_EXACT_DB, _EXACT_DB))


def _limits(usual: F64) -> F64:
    """Return, for each tensor, the SQNR below which a sample's error has jumped; minus infinity where nothing is known."""
    known = ~np.isnan(usual).all(axis=0)
    limits = np.full(usual.shape[1], -np.inf)
    median = np.nanmedian(usual[:, known], axis=0)
    spread = 1.4826 * np.nanmedian(np.abs(usual[:, known] - median), axis=0)
    limits[known] = median - np.maximum(JUMP_DB, _SPREADS * spread)
    return limits


def _first(errors: F64, limits: F64) -> int | None:
    jumps = np.flatnonzero(errors < limits)
    return int(jumps[0]) if jumps.size else None


def _gap(scores: AnyArray, flip: Flip) -> float | None:
    if flip.fp32 < 0 or flip.int8 < 0:
        return None
    gap = float(scores[flip.fp32]) - float(scores[flip.int8])
    return gap if np.isfinite(gap) else None
