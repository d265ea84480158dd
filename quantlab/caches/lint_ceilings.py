"""Check of what the entropy search kept: everything, so that nothing is clipped, or as little as it ever keeps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from quantlab.caches.grid import entropy_bins
from quantlab.caches.harm import AnyHistogram
from quantlab.caches.lint_lines import about
from quantlab.caches.network import CacheNetwork
from quantlab.caches.words import counted, listed
from quantlab.graph.finding import Finding
from quantlab.numerics.divergence import LEVELS
from quantlab.numerics.tensorrt_histogram import BINS, TensorRTHistogram


def check_ceilings(
    scales: Mapping[str, float],
    network: CacheNetwork | None,
    histograms: Mapping[str, AnyHistogram],
    *,
    by_entropy: bool = False,
) -> Iterator[Finding]:
    """Note where the entropy search kept all, and warn where it ended at its very first candidate.

    Told by the bins of the grid that the search had: that of a histogram on TensorRT's grid, else the grid up to what the
    operators allow. Other histograms have another grid: with `by_entropy`, a range that no counted value exceeds is one
    that was kept whole.
    """
    whole = []
    grids = _grids(network, histograms)
    for tensor, scale in scales.items():
        seen = histograms.get(tensor)
        kept = entropy_bins(scale * 127, grids[tensor]) if tensor in grids else None
        if kept == LEVELS:
            message = f"The entropy search kept {kept} of {BINS} bins, its first candidate: it clips at {scale * 127:.4g} of {grids[tensor]:.4g}."
            yield about(
                "warning", "floor", tensor, message, "Compare with squared-error; zeros may have led the search."
            )
        elif (kept is not None and kept >= BINS - 1) or (
            by_entropy and seen is not None and 0 < seen.amax <= scale * 127
        ):
            whole.append(tensor)
    if whole:
        message = f"At {counted(len(whole), 'tensor')} the entropy search kept everything, so nothing is clipped: {listed(whole)}."
        yield about("note", "ceiling", "", message, "Nothing needs to be done.")


def _grids(network: CacheNetwork | None, histograms: Mapping[str, AnyHistogram]) -> dict[str, float]:
    """Return tensor → where the last of its 2,048 bins ended; of tensors that hold the same values, the first."""
    bounds = {} if network is None else {t: b for t, b in network.bounds.items() if network.root(t) == t}
    seen = {t: h.width * BINS for t, h in histograms.items() if isinstance(h, TensorRTHistogram) and h.width > 0}
    return bounds | seen
