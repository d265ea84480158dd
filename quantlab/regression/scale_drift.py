"""Whether the scales moved further than another calibration set of the same data would move them.

Measured (`python -m tests.benchmarks.calibration_drift`), what sets of whole samples of one kind show, and sets of another kind:

- A tensor's divergence, less what chance makes of as many values, over 1/m + 1/n for sets of m and n samples: nine of ten
  tensors stay below 0.046 between random halves of six networks' data (FashionNet, digits, EfficientNet-Lite0 and Lite1,
  YOLOv3-tiny, PP-OCRv4) and below 0.027 between disjoint Fashion-MNIST sets; a set of one class of ten shows 0.38 at least.
- The median tensor's |log2| of the scales' ratio: 0.11 at most, over five methods and sets of 100 and 512; one class shows
  0.02 … 0.22, which is why histograms judge where there are any.
- The largest ratio of any tensor: 2.01 with entropy, whose minimum is not unique (3.3 once, among sets of 100 drawn from all 60,000
  training images); 1.35 with the other methods.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from quantlab.calibration.histogram_set import HistogramSet
from quantlab.calibration.scale_table import Scale, ScaleTable
from quantlab.diagnosis.drift import chance_divergence, divergence
from quantlab.numerics.histogram import Histogram
from quantlab.regression.check import Check, State, unmeasured
from quantlab.regression.differences import methods_of, model_of
from quantlab.regression.policy import Limit, Policy
from quantlab.regression.regression import ScaleDrift
from quantlab.regression.run import Run

OTHER_DATA = 0.12
"""Divergence of the ninth tensor of ten, over 1/m + 1/n, beyond which the calibration saw other data."""

MOVED = 0.17
"""Median |log2| of the scales' ratio beyond which they moved as a whole: a factor of 1.13."""

_SHARE = 0.9


@dataclass(frozen=True, slots=True)
class OtherData:
    """How unlike two calibration sets are.

    Attributes
    ----------
    distance
        Of the tensor that nine of ten stay below, in bits a sample; `OTHER_DATA` is allowed.
    samples
        Of either set.
    divergences
        By tensor, in bits, 0 … 1.
    """

    distance: float
    samples: tuple[int, int]
    divergences: Mapping[str, float]

    @property
    def alarm(self) -> bool:
        """Whether they are further apart than two sets of the same data."""
        return self.distance > OTHER_DATA


def other_data(baseline: HistogramSet, candidate: HistogramSet) -> OtherData | None:
    """Return how unlike the values are that two calibrations saw; None where their histograms cannot be compared.

    A divergence that chance alone makes falls as 1/m + 1/n (Grosse et al., Phys. Rev. E 65, 2002, 041905); what values of one
    sample have in common makes it larger, and that is what the measured bound is for.
    """
    sizes = [sum(data.count for data in found.provenance.chosen_on) for found in (baseline, candidate)]
    pairs = [(name, baseline[name], candidate[name]) for name in baseline if name in candidate]
    found = {
        n: (a, b) for n, a, b in pairs if isinstance(a, Histogram) and isinstance(b, Histogram) and a.total and b.total
    }
    if not found or not all(sizes):
        return None
    divergences = {name: divergence(one, two) for name, (one, two) in found.items()}
    excess = [divergences[name] - chance_divergence(one, two) for name, (one, two) in found.items()]
    distance = float(np.quantile(excess, _SHARE)) / (1 / sizes[0] + 1 / sizes[1])
    return OtherData(max(distance, 0.0), (sizes[0], sizes[1]), divergences)


def scale_drifts(baseline: Run, candidate: Run, policy: Policy) -> tuple[tuple[Check, ...], tuple[ScaleDrift, ...]]:
    """Return the checks of the scales, and each tensor's, the farthest moved first; none where a run tells no scales."""
    if policy.scale is None and policy.drift is None:
        return (), ()
    if baseline.scales is None or candidate.scales is None:
        return tuple(_unknown(baseline, policy)), ()
    seen = _seen(baseline, candidate)
    drifts = _drifts(baseline.scales, candidate.scales, seen)
    why = _not_comparable(baseline, candidate)
    checks: list[Check] = []
    if policy.scale is not None:
        one, drifts = _largest(drifts, policy.scale, why)
        checks += one
    if policy.drift is not None:
        checks += _data(drifts, seen, policy, why) if not _other_model(baseline, candidate) else ()
    return tuple(checks), drifts


def _unknown(baseline: Run, policy: Policy) -> Iterator[Check]:
    """Yield that a limit of the user's own could not be held; the default one stands for runs that tell their scales."""
    if policy.scale is not None and policy.scale != Policy().scale:
        who = "baseline" if baseline.scales is None else "candidate"
        yield unmeasured("scale of a tensor", "ratio", policy.scale, f"the {who} tells no scales; give its run folder")


def _seen(baseline: Run, candidate: Run) -> OtherData | None:
    if baseline.histograms is None or candidate.histograms is None or _other_model(baseline, candidate):
        return None
    one, two = baseline.histograms(), candidate.histograms()
    return None if one is None or two is None else other_data(one, two)


def _drifts(one: ScaleTable, two: ScaleTable, seen: OtherData | None) -> tuple[ScaleDrift, ...]:
    ours, theirs = ({row.tensor: row for row in table.rows} for table in (one, two))
    found = [_drift(name, ours.get(name), theirs.get(name), seen) for name in dict.fromkeys([*ours, *theirs])]
    return tuple(sorted(found, key=lambda drift: -_distance(drift)))


def _drift(tensor: str, one: Scale | None, two: Scale | None, seen: OtherData | None) -> ScaleDrift:
    row = one or two
    ratio = None
    if one is not None and two is not None and len(one.scale) == len(two.scale):
        ratios = np.array(two.scale) / np.array(one.scale)
        ratio = float(ratios[np.argmax(np.abs(np.log2(ratios)))])
    elif one is not None and two is not None:
        ratio = max(two.scale) / max(one.scale)
    return ScaleDrift(
        tensor,
        row.role if row is not None else "unknown",
        max(one.scale) if one is not None else None,
        max(two.scale) if two is not None else None,
        ratio,
        seen.divergences.get(tensor) if seen is not None else None,
        "pass",
    )


def _distance(drift: ScaleDrift) -> float:
    return abs(float(np.log2(drift.ratio))) if drift.ratio is not None else 0.0


def _other_model(baseline: Run, candidate: Run) -> bool:
    return bool(model_of(baseline) and model_of(candidate)) and model_of(baseline) != model_of(candidate)


def _not_comparable(baseline: Run, candidate: Run) -> str:
    if _other_model(baseline, candidate):
        return "the model is another"
    one, two = methods_of(baseline, candidate)
    return f"the method was {one} and is {two}" if one != two else ""


def _largest(drifts: tuple[ScaleDrift, ...], limit: Limit, why: str) -> tuple[list[Check], tuple[ScaleDrift, ...]]:
    known = [drift for drift in drifts if drift.ratio is not None]
    if not known:
        return [], drifts
    worst = known[0]
    if why:
        sentence = f"Scales are not judged one by one, as {why}; the largest change is {worst.ratio:.3g} times, of «{worst.tensor}»."
        return [
            Check("scale of a tensor", "pass", worst.ratio, None, None, None, sentence, None, "ratio", limit.level)
        ], drifts
    allowed = float(np.log2(limit.value)) + 1e-9
    broken = [drift for drift in known if _distance(drift) > allowed]
    state: State = limit.level if broken else "pass"
    more = f", and {len(broken) - 1} more" if len(broken) > 1 else ""
    sentence = (
        f"The scale of «{worst.tensor}» is {worst.ratio:.3g} times the baseline's{more}; {limit.value:g} times is allowed, either way."
        if broken
        else f"No tensor's scale changed by more than {limit.value:g} times; the most is {worst.ratio:.3g} times, of «{worst.tensor}»."
    )
    check = Check(
        "scale of a tensor", state, worst.ratio, limit.value, None, None, sentence, None, "ratio", limit.level, worst.baseline, worst.candidate,
    )  # fmt: skip
    names = {drift.tensor for drift in broken}
    marked = (_marked(drift, limit) if drift.tensor in names else drift for drift in drifts)
    return [check], tuple(marked)


def _marked(drift: ScaleDrift, limit: Limit) -> ScaleDrift:
    return ScaleDrift(
        drift.tensor, drift.role, drift.baseline, drift.candidate, drift.ratio, drift.divergence, limit.level
    )


def _data(drifts: tuple[ScaleDrift, ...], seen: OtherData | None, policy: Policy, why: str) -> Iterator[Check]:
    level = policy.drift or "fail"
    moves = [_distance(drift) for drift in drifts if drift.role != "weight" and drift.ratio is not None]
    if seen is not None:
        farthest = max(seen.divergences, key=lambda name: seen.divergences[name])
        times = seen.distance / OTHER_DATA
        sets = f"{seen.samples[0]:,} and {seen.samples[1]:,} calibration samples"
        sentence = (
            f"The calibration saw other data than the baseline's: the values of {sets} are {times:.1f} times as far apart as two sets of "
            f"the same data may be, most in «{farthest}»."
            if seen.alarm
            else f"The values of {sets} look like the same data ({times:.2f} of the distance that two sets of one kind may have)."
        )
        state: State = level if seen.alarm else "pass"
        yield Check(
            "calibration data", state, seen.distance, OTHER_DATA, None, None, sentence, None, "bits a sample", level
        )
    elif moves and not why:
        middle = float(np.median(moves))
        state = level if middle > MOVED else "pass"
        sentence = f"Half of the scales changed by {2**middle:.3g} times or more; {2**MOVED:.3g} times is what other sets of the same data explain."
        yield Check("scales as a whole", state, 2**middle, 2**MOVED, None, None, sentence, None, "ratio", level)
