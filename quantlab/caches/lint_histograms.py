"""Checks of a cache against counted values: ranges that nothing reaches, and ranges that cut off too much."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from quantlab.caches.harm import AnyHistogram, harm, least_harm
from quantlab.caches.lint_lines import about
from quantlab.graph.finding import Finding
from quantlab.numerics.tensorrt_histogram import BINS, TensorRTHistogram

_UNREACHED = 1.5  # the grid of TensorRT's calibrators may end beyond the maximum
_HALF_A_BIN = 1.001
_LOST_DB = 6.0  # one bit


def check_histograms(
    scales: Mapping[str, float], histograms: Mapping[str, AnyHistogram], *, unread: Collection[str] = ()
) -> Iterator[Finding]:
    """Compare each scale with what was counted and with the best scale for it; what nobody reads may clip as it likes."""
    for tensor, scale in scales.items():
        seen = histograms.get(tensor)
        if seen is None or seen.amax == 0:
            continue
        reach = scale * 127
        if reach > _most(seen):
            message = (
                f"It reaches {reach:.4g}, and no value exceeds {seen.amax:.4g}: ×{reach / seen.amax:.3g} too wide."
            )
            yield about("warning", "unreached", tensor, message, "Calibrate it on these data.")
            continue
        if tensor in unread:
            continue
        best = least_harm(seen)
        now, then = harm(seen, scale), harm(seen, best)
        if now.clipped > then.clipped and then.sqnr_db - now.sqnr_db > _LOST_DB:
            message = f"It clips {100 * now.clipped:.3g} % at {reach:.4g} and leaves {now.sqnr_db:.1f} dB; "
            message += f"{best * 127:.4g} would leave {then.sqnr_db:.1f} dB."
            yield about("warning", "lossy", tensor, message, "Calibrate it with squared-error.")


def _most(seen: AnyHistogram) -> float:
    """Return the largest range that a calibrator would give: where TensorRT's grid ends, if that is known."""
    if isinstance(seen, TensorRTHistogram):
        return max(seen.amax, seen.width * BINS) * _HALF_A_BIN
    return seen.amax * _UNREACHED
