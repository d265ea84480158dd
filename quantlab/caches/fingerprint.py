"""Which calibrator made a cache, told from the scales themselves: TensorRT's leave marks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from quantlab.caches.grid import Mark, mark
from quantlab.caches.network import CacheNetwork
from quantlab.calibration.methods.entropy import Entropy
from quantlab.calibration.methods.minmax import MinMax
from quantlab.calibration.methods.percentile import Percentile
from quantlab.calibration.methods.squared_error import SquaredError
from quantlab.calibration.methods.tensorrt import TensorRTEntropy2, TensorRTLegacy, TensorRTMinMax
from quantlab.calibration.trt_cache import CalibrationCache
from quantlab.graph.view import operator
from quantlab.numerics.divergence import entropy_threshold
from quantlab.numerics.histogram import Histogram
from quantlab.numerics.tensorrt_histogram import TensorRTHistogram

Certainty: TypeAlias = Literal["certain", "likely", "unknown"]
AnyHistogram: TypeAlias = Histogram | TensorRTHistogram
Histograms: TypeAlias = Mapping[str, AnyHistogram]

MAXIMUM = "MinMaxCalibration"
OTHER = "no calibrator of TensorRT"
_MOST = 0.9  # of the tensors have to agree
_SOME = 0.2  # of them, where others leave no mark
_ENOUGH = 3
_EQUAL = 1e-6  # relative; TensorRT's own scales differ from the formulas by up to 7e-7
_GRID: Mapping[str, Callable[[Any], float]] = {
    "EntropyCalibration2": lambda h: TensorRTEntropy2()(h).amax,
    "MinMaxCalibration": lambda h: TensorRTMinMax()(h).amax,
    "LegacyCalibration": lambda h: TensorRTLegacy()(h).amax,
    "entropy of pytorch-quantization": lambda h: entropy_threshold(
        h.counts, h.width or 1.0, dialect="pytorch-quantization"
    ),
}
_LOG_LINEAR: Mapping[str, Callable[[Any], float]] = {
    "MinMaxCalibration": lambda h: MinMax()(h).amax,
    "percentile 99.99": lambda h: Percentile(99.99)(h).amax,
    "percentile 99.999": lambda h: Percentile(99.999)(h).amax,
    "squared error": lambda h: SquaredError()(h).amax,
    "entropy": lambda h: Entropy()(h).amax,
}


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """A guess, and what it rests on.

    Attributes
    ----------
    algorithm
        A name as in headers, another method's, or «no calibrator of TensorRT»; None if nothing tells.
    certainty
        certain: the histograms give these very scales; likely: their marks are the algorithm's; unknown.
    evidence
        A sentence.
    """

    algorithm: str | None
    certainty: Certainty
    evidence: str


def fingerprint(
    cache: CalibrationCache, network: CacheNetwork | None = None, histograms: Histograms | None = None
) -> Fingerprint:
    """Guess the algorithm: by computing each on the histograms if they are given, else by the marks it leaves.

    Marks need tensors whose largest magnitude the operators tell (a ReLU6 that reaches 6): there Entropy2 gives
    (i + 0.5)·6/2048, MinMax 6 and Legacy the upper edge of a bin.
    """
    shared = {name: one for name, one in (histograms or {}).items() if name in cache.scales and one.amax > 0}
    return _by_histograms(cache, shared) if shared else _by_marks(cache, network)


def _by_histograms(cache: CalibrationCache, shared: Histograms) -> Fingerprint:
    hits: Counter[str] = Counter()
    for name, one in shared.items():
        methods = _GRID if isinstance(one, TensorRTHistogram) else _LOG_LINEAR
        hits.update(label for label, method in methods.items() if _equal(cache.scales[name] * 127, method(one)))
    best, count = max(hits.items(), key=lambda item: item[1], default=("", 0))
    if count >= _MOST * len(shared):
        return Fingerprint(best, "certain", f"It gives {count} of {len(shared)} scales on these histograms.")
    words = f"On these histograms no known method gives more than {count} of {len(shared)} scales."
    return Fingerprint(OTHER, "likely", words)


def _by_marks(cache: CalibrationCache, network: CacheNetwork | None) -> Fingerprint:
    if cache.algorithm == "LegacyCalibration":
        return Fingerprint("LegacyCalibration", "certain", "The first line, with cutoff and quantile, is its own.")
    if network is None:
        return _without_network(cache)
    scales = network.scales(cache.scales)
    fused = bool(network.inner) and network.inner.isdisjoint(scales)
    places = [(mark(scale * 127, ceiling), cut) for scale, ceiling, cut in _ceilings(scales, network)]
    return _judged(places, _breaks_maximum(scales, network), cache.algorithm, fused=fused)


def _ceilings(scales: Mapping[str, float], network: CacheNetwork) -> Iterator[tuple[float, float, bool]]:
    """Yield scale, bound, and whether what was read reaches further; what only passes values on says nothing new."""
    for node in network.graph.nodes:
        output = node.output[0]
        if operator(node) == "Clip" and output in network.bounds and output in scales:
            bound = network.bounds[output]
            yield scales[output], bound, scales.get(node.input[0], 0.0) * 127 > bound


def _judged(places: Sequence[tuple[Mark, bool]], impossible: str, header: str, *, fused: bool) -> Fingerprint:
    """Judge by the marks; `fused`: the keys are the tensors that remain after fusion, as Legacy's and those made of Q/DQ.

    Values that never reach the bound leave no mark, whoever calibrated; a middle is found by chance once in 125 times.
    """
    total, marks = len(places), Counter(kind for kind, _ in places)
    if total == 0:
        return Fingerprint(None, "unknown", "No operator of the network tells how large a tensor gets.")
    words = (
        f"Of {total} tensors behind a Clip, {marks['middle']} end in the middle of a bin, {marks['top']} at the bound, "
    )
    words += f"{marks['edge']} at another edge and {marks['none']} off the grid.{impossible}"
    strangers = marks["top"] + marks["edge"]
    if marks["middle"] >= min(_MOST * total, max(2, _SOME * total)) and strangers <= (1 - _MOST) * total:
        return Fingerprint("EntropyCalibration2", "likely", words)
    if marks["top"] >= total / 2 and marks["middle"] + marks["edge"] <= (1 - _MOST) * total and not impossible:
        # A percentile that cuts nothing off there leaves the same marks: the header decides.
        return Fingerprint(MAXIMUM if header == MAXIMUM else f"{MAXIMUM} or a percentile", "likely", words)
    if strangers >= _MOST * total and marks["edge"]:
        if fused:
            return Fingerprint(
                "LegacyCalibration", "likely", f"{words} Its keys are the tensors that remain after fusion."
            )
        # Legacy's keys are those after fusion, and here are others.
        return Fingerprint(OTHER, "likely", f"{words} Another program's entropy search ends at edges.")
    cut = [kind for kind, beyond in places if beyond]
    if len(cut) >= _ENOUGH and cut.count("none") >= _MOST * len(cut):
        return Fingerprint(
            OTHER, "likely", f"{words} What the Clips read reaches further, so their bounds were reached."
        )
    return Fingerprint(None, "unknown", f"{words} Histograms would tell.")


def _breaks_maximum(scales: Mapping[str, float], network: CacheNetwork) -> str:
    """Return a sentence if a Relu or Clip reaches further than what it reads, which maxima cannot."""
    for node in network.graph.nodes:
        if operator(node) in ("Clip", "Relu") and node.input[0] in scales and node.output[0] in scales:
            before, after = scales[node.input[0]], scales[node.output[0]]
            if after > before * (1 + 10 * _EQUAL):
                return f" «{node.output[0]}» reaches further than «{node.input[0]}», which no maximum can."
    return ""


def _without_network(cache: CalibrationCache) -> Fingerprint:
    """Look for the bounds that networks have: inputs in 0 … 1, ReLU6."""
    marks = Counter(
        kind
        for scale in set(cache.scales.values())
        for ceiling in (1.0, 6.0)
        if (kind := _at_top(scale * 127, ceiling)) != "none"
    )
    if not marks:
        return Fingerprint(None, "unknown", "No scale lies at a bound that is known without the model: give it.")
    best, _ = marks.most_common(1)[0]
    if len(marks) > 1:
        return Fingerprint(OTHER, "likely", "Some scales reach 1 or 6 exactly, and others half a bin further.")
    if best == "middle":
        return Fingerprint(
            "EntropyCalibration2", "likely", "Scales reach half a bin further than 1 or 6, as its own do."
        )
    return Fingerprint(None, "unknown", "Scales reach 1 or 6 exactly, as MinMax's and others' do: give the model.")


def _at_top(threshold: float, ceiling: float) -> Mark:
    kind = mark(threshold, ceiling)
    return kind if kind == "top" or (kind == "middle" and threshold > ceiling) else "none"


def _equal(one: float, other: float) -> bool:
    return abs(one - other) <= _EQUAL * abs(other)
