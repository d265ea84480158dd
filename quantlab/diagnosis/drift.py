"""Whether evaluation data look like calibration data, tensor by tensor, and what a difference costs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np

from quantlab.calibration.expected_error import clipped_share, expected_sqnr_db
from quantlab.calibration.provenance import DataIdentity
from quantlab.calibration.ranges import Range
from quantlab.calibration.scale_table import ScaleTable
from quantlab.calibration.schemes import Symmetric
from quantlab.diagnosis.convergence import subsets, together
from quantlab.diagnosis.survey import Part, Survey
from quantlab.errors import InputError
from quantlab.numerics.affine import QuantParams
from quantlab.numerics.arrays import F64, I64
from quantlab.numerics.histogram import BINS, COARSE_OCTAVES, COARSE_PARTS, Histogram

ALARM = 3.0
"""A tensor has drifted when its distance is so many times the largest that halves of either set show."""

COSTLY_DB = 1.0
"""A drift is costly when the calibration's scale loses so much against the evaluation data's own."""

_COARSE = 1 + COARSE_OCTAVES * COARSE_PARTS
_FINE_GROUP, _COARSE_GROUP = 32, 16
_SMALLEST = 1e-6  # bits; a distance below it is rounding
_Method = Callable[[Histogram], Range]


@dataclass(frozen=True, slots=True)
class TensorDrift:
    """How far one tensor's evaluation values are from its calibration values.

    Attributes
    ----------
    tensor
        Its name in the user's model.
    distance
        Jensen–Shannon divergence of both distributions, in bits, 0 … 1.
    noise
        The largest divergence that halves of one of the sets show, brought to both sets' sizes, in bits.
    beyond_observed, clipped
        Shares, 0 … 1, of the evaluation values beyond all that calibration saw, and beyond the threshold.
    sqnr_db, own_sqnr_db
        Expected on the evaluation data with the calibration's scale, and with the scale the same method would choose
        there, in dB; None where there is no signal or no noise.
    """

    tensor: str
    distance: float
    noise: float
    beyond_observed: float
    clipped: float
    sqnr_db: float | None
    own_sqnr_db: float | None

    @property
    def times_noise(self) -> float:
        """Distance over noise; infinite where neither set varies at all."""
        if self.distance <= _SMALLEST:
            return 0.0
        return self.distance / self.noise if self.noise else float("inf")

    @property
    def drifted(self) -> bool:
        """Whether the distance is more than chance makes it."""
        return self.times_noise > ALARM

    @property
    def lost_db(self) -> float:
        """What the calibration's scale loses against the evaluation data's own; 0 where either is unknown."""
        return 0.0 if self.sqnr_db is None or self.own_sqnr_db is None else self.own_sqnr_db - self.sqnr_db


@dataclass(frozen=True, slots=True)
class Drift:
    """Both sets and every tensor, the farthest beyond chance first.

    Attributes
    ----------
    calibration, evaluation
        Names of the sets.
    samples
        How many of each.
    tensors
        None of them where the calibration data are too few to be halved.
    """

    calibration: str
    evaluation: str
    samples: tuple[int, int]
    tensors: tuple[TensorDrift, ...]

    @property
    def drifted(self) -> tuple[TensorDrift, ...]:
        """The tensors that differ by more than chance."""
        return tuple(tensor for tensor in self.tensors if tensor.drifted)

    @property
    def sentence(self) -> str:
        """The finding in words."""
        sets = f"«{self.evaluation}» and «{self.calibration}»"
        if not self.tensors:
            return f"Whether {sets} differ cannot be told: {self.samples[0]} calibration samples give no two halves."
        found = self.drifted
        if not found:
            most = max(tensor.times_noise for tensor in self.tensors)
            return (
                f"{sets} look alike: none of {len(self.tensors)} tensors differs more than halves of one set "
                f"may (the farthest by {most:.1f} times their distance, {ALARM:g} are allowed)."
            )
        costly = sum(tensor.lost_db >= COSTLY_DB for tensor in found)
        worst = max(found, key=lambda tensor: tensor.lost_db)
        cost = f"{costly} of them lose 1 dB or more by it, «{worst.tensor}» {worst.lost_db:.1f} dB" if costly else (
            f"it costs no tensor more than {max(worst.lost_db, 0.0):.1f} dB"
        )  # fmt: skip
        first = found[0]
        times = f"{first.times_noise:.0f} times" if isfinite(first.times_noise) else "where they do not at all,"
        return (
            f"{sets} differ in {len(found)} of {len(self.tensors)} tensors, most in «{first.tensor}», {times} what "
            f"halves of one set do; {100 * first.clipped:.2g} % of its values are clipped; {cost}."
        )


def find_drift(calibration: Survey, evaluation: Survey, method: _Method, table: ScaleTable | None = None) -> Drift:
    """Return how far the evaluation data are from the calibration data.

    The yardstick is chance: how far random halves of the calibration data, and of the evaluation data, cut by whole samples,
    are apart: of either, as a set without a rare kind of sample knows nothing of it. A divergence
    that chance alone makes falls as the sum of both sizes' inverses (Grosse et al., «Analysis of symbolic sequences using the
    Jensen-Shannon divergence», Phys. Rev. E 65, 2002, 041905), which brings it to the sizes at hand.

    Parameters
    ----------
    method
        Chooses thresholds, where the table has none.
    table
        The scales in use; None takes the method's.

    Raises
    ------
    InputError
        When the surveys are of different tensors.
    """
    if calibration.tensors != evaluation.tensors:
        raise InputError("The calibration and the evaluation data were seen on different tensors: use one engine.")
    sizes = (len(calibration.samples), len(evaluation.samples))
    names = _name(calibration.data, "calibration"), _name(evaluation.data, "evaluation")
    if len(calibration.parts) < 2:
        return Drift(*names, sizes, ())
    ours, theirs = calibration.whole, evaluation.whole
    found = []
    for tensor in calibration.tensors:
        if ours[tensor].total and theirs[tensor].total:
            noise = max(_noise(s.parts, tensor, 1 / sizes[0] + 1 / sizes[1]) for s in (calibration, evaluation))
            row = table[tensor] if table is not None and tensor in table else None
            params = row.params if row is not None and row.axis is None else _params(method, ours[tensor])
            found.append(_drift(tensor, (ours[tensor], theirs[tensor]), noise, params, _params(method, theirs[tensor])))
    return Drift(*names, sizes, tuple(sorted(found, key=lambda one: -one.times_noise)))


def divergence(one: Histogram, two: Histogram) -> float:
    """Return the Jensen–Shannon divergence, 0 … 1 bits, of two tensors' finite values (Lin, IEEE Trans. Inf. Theory 37, 1991).

    On common bins: eight to sixteen an octave below the larger maximum, thirteen octaves, each sign apart, zeros for
    themselves. 0 where either has no value.
    """
    if not one.total or not two.total:
        return 0.0
    top = max(one.top, two.top)
    p, q = _shares(one, top), _shares(two, top)
    middle = (p + q) / 2
    return max(0.0, (_relative(p, middle) + _relative(q, middle)) / 2)


def chance_divergence(one: Histogram, two: Histogram) -> float:
    """Return the divergence to expect of as many independent values from one distribution, in bits.

    (bins in use − 1) / (8 ln 2) · (1/m + 1/n) for m and n values (Grosse et al., Phys. Rev. E 65, 2002, 041905); 0 where
    either has none.
    """
    if not one.total or not two.total:
        return 0.0
    top = max(one.top, two.top)
    used = np.count_nonzero(_shares(one, top) + _shares(two, top))
    return float((used - 1) / (8 * np.log(2)) * (1 / one.total + 1 / two.total))


def _drift(
    tensor: str, pair: tuple[Histogram, Histogram], noise: float, params: QuantParams, own: QuantParams
) -> TensorDrift:
    ours, theirs = pair
    return TensorDrift(
        tensor,
        divergence(ours, theirs),
        noise,
        _beyond(theirs, ours),
        clipped_share(theirs, params),
        _finite(expected_sqnr_db(theirs, params)),
        _finite(expected_sqnr_db(theirs, own)),
    )


def _noise(parts: Sequence[Part], tensor: str, inverse_sizes: float) -> float:
    """Return the largest divergence of random halves, brought to two sets the inverses of whose sizes add up to this."""
    if len(parts) < 2:
        return 0.0
    largest = 0.0
    every = set(range(len(parts)))
    for half in subsets(len(parts), len(parts) // 2):
        other = np.array(sorted(every - set(half.tolist())), np.int64)
        distance = divergence(together(parts, half, tensor), together(parts, other, tensor))
        spread = 1 / _samples(parts, half) + 1 / _samples(parts, other)
        largest = max(largest, distance * inverse_sizes / spread)
    return largest


def _samples(parts: Sequence[Part], chosen: I64) -> int:
    return sum(parts[i].samples for i in chosen)


def _params(method: _Method, histogram: Histogram) -> QuantParams:
    return Symmetric().params(method(histogram))


def _beyond(values: Histogram, limits: Histogram) -> float:
    """Return the share of values in bins wholly outside the observed range, and of the exact extremes otherwise."""
    edges = values.edges()[:-1]
    above = int(values.counts[1][edges > max(limits.high, 0.0)].sum()) if values.high > limits.high else 0
    below = int(values.counts[0][edges > max(-limits.low, 0.0)].sum()) if values.low < limits.low else 0
    return (above + below) / values.total


def _shares(histogram: Histogram, top: int) -> F64:
    empty = Histogram(np.zeros((2, BINS), np.int64), top, 0, 0, 0, 0, float("nan"), float("nan"))
    counts = empty.merge(histogram).counts
    coarse = counts[:, 1:_COARSE].reshape(2, -1, _COARSE_GROUP).sum(axis=2)
    fine = counts[:, _COARSE:].reshape(2, -1, _FINE_GROUP).sum(axis=2)
    grouped = np.concatenate([counts[:, :1], coarse, fine], axis=1).ravel()
    return np.append(grouped, histogram.zeros) / histogram.total


def _relative(p: F64, q: F64) -> float:
    used = p > 0
    return float(p[used] @ np.log2(p[used] / q[used]))


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None


def _name(data: DataIdentity, fallback: str) -> str:
    return data.name or fallback
