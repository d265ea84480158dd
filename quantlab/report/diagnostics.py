"""What is odd about the calibration data: what the histograms tell alone, and what `quantlab diagnose` found."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from quantlab.calibration.histogram_set import HistogramSet
from quantlab.diagnosis.diagnosis import Diagnosis
from quantlab.numerics.histogram import Histogram, LinearGrid
from quantlab.report import formats

Kind = Literal["nonfinite", "constant", "zeros", "few", "dead"]

_FEW = 1e-5
"""A maximum hangs on few values where no more than this share of all reaches half of it."""

_MOSTLY = 0.99
"""A tensor is mostly zero from this share on: INT8 has little to do there, and a percentile sees zeros alone."""


@dataclass(frozen=True, slots=True)
class Oddity:
    """Tensors of which one thing holds; each with the figure that says so."""

    kind: Kind
    tensors: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Diagnostics:
    """What was found.

    Attributes
    ----------
    data
        The set that was looked at, and how many tensors; empty and 0 where no histogram was kept.
    oddities
        What the histograms and the INT8 weights tell.
    findings
        The sentences of `quantlab diagnose`; empty where it was not run.
    setters
        (sample, tensors whose range it alone sets, largest share by which they fall without it), the most tensors first.
    drifts
        (tensor, distance over noise, dB lost by scales of the calibration data), the most lost first.
    """

    data: str = ""
    tensors: int = 0
    oddities: tuple[Oddity, ...] = ()
    findings: tuple[str, ...] = ()
    setters: tuple[tuple[str, int, float], ...] = ()
    drifts: tuple[tuple[str, float, float], ...] = ()


MOST = 12
"""Samples and tensors listed of each finding."""


def diagnostics(
    histograms: HistogramSet | None,
    diagnosis: Diagnosis | None,
    dead: Mapping[str, int],
    quantized: Collection[str] | None = None,
) -> Diagnostics | None:
    """Return what was found; None where nothing was looked at.

    Parameters
    ----------
    dead
        Weight → output channels whose INT8 weights are all 0.
    quantized
        The tensors whose range matters, as INT8 stores them; None: all.
    """
    if histograms is None and diagnosis is None:
        return None
    names = [identity.name for identity in histograms.provenance.chosen_on] if histograms else []
    found = tuple(_oddities(histograms, dead, quantized)) if histograms else ()
    if diagnosis is None:
        return Diagnostics(formats.listed(names), len(histograms or ()), found)
    setters = tuple((one.sample, len(one.tensors), one.largest) for one in diagnosis.setters[:MOST])
    drifted = diagnosis.drift.drifted if diagnosis.drift else ()
    worst = sorted(drifted, key=lambda one: -one.lost_db)[:MOST]
    drifts = tuple((one.tensor, one.times_noise, one.lost_db) for one in worst)
    data = formats.listed(names) or diagnosis.data.name
    return Diagnostics(data, len(histograms or ()), found, diagnosis.findings, setters, drifts)


def _oddities(histograms: HistogramSet, dead: Mapping[str, int], quantized: Collection[str] | None) -> Iterator[Oddity]:
    counted = {name: h for name, h in histograms.histograms.items() if isinstance(h, Histogram)}
    nonfinite = [(name, _nonfinite(h)) for name, h in counted.items()]
    constant = [(name, f"always {formats.number(h.low)}") for name, h in counted.items() if h.total and h.low == h.high]
    ranged = {name: h for name, h in counted.items() if quantized is None or name in quantized}
    zeros = [(name, f"{formats.share(h.zeros / h.total)} zeros") for name, h in ranged.items() if _mostly_zero(h)]
    few = [(name, text) for name, h in ranged.items() if (text := _few(h))]
    channels = [(name, f"{count:,} channel{'s' if count != 1 else ''}") for name, count in dead.items()]
    kinds: tuple[tuple[Kind, list[tuple[str, str]]], ...] = (
        ("nonfinite", [(name, text) for name, text in nonfinite if text]),
        ("constant", constant),
        ("dead", channels),
        ("few", few),
        ("zeros", zeros),
    )
    for kind, tensors in kinds:
        if tensors:
            yield Oddity(kind, tuple(tensors))


def _nonfinite(histogram: Histogram) -> str:
    counts = {
        "NaN": histogram.nan,
        "+∞": histogram.positive_infinite,
        "−∞": histogram.negative_infinite,
    }
    return ", ".join(f"{count:,} × {what}" for what, count in counts.items() if count)


def _mostly_zero(histogram: Histogram) -> bool:
    return histogram.total > 0 and histogram.low != histogram.high and histogram.zeros / histogram.total >= _MOSTLY


def _few(histogram: Histogram) -> str:
    """Return how few values reach half the maximum; empty where it is no small share."""
    if histogram.total == 0 or histogram.amax == 0 or histogram.low == histogram.high:
        return ""
    half = histogram.amax / 2
    if histogram.total < 1 / _FEW or half == 0:
        return ""
    upper = int(histogram.rebin(LinearGrid(2, half))[1])
    if upper > _FEW * histogram.total:
        return ""
    return f"{upper:,} of {histogram.total:,} values above half of {formats.number(histogram.amax, 3)}"
