"""What every threshold of a tensor would cost: KL divergence, mean squared error or SQNR."""

from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from quantlab.calibration.expected_error import expected_sqnr_db
from quantlab.calibration.methods.entropy import Entropy
from quantlab.calibration.methods.minmax import MinMax
from quantlab.calibration.methods.percentile import Percentile
from quantlab.calibration.methods.squared_error import SquaredError, squared_errors
from quantlab.calibration.ranges import Range
from quantlab.calibration.schemes import LARGEST_SCALE, Symmetric
from quantlab.errors import UsageError
from quantlab.numerics.arrays import F64
from quantlab.numerics.divergence import DivergenceCurve, divergence_curve
from quantlab.numerics.histogram import Histogram
from quantlab.numerics.tensorrt_histogram import TensorRTHistogram
from quantlab.plots.canvas import BLUE, LINES, canvas, plain, say
from quantlab.plots.thresholds import AnyHistogram, Choice, Threshold

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Measure: TypeAlias = Literal["kl", "mse", "sqnr"]
MEASURES: dict[str, str] = {
    "kl": "KL divergence, nats",
    "mse": "mean squared error, unit²",
    "sqnr": "expected SQNR, dB",
}
METHODS = (MinMax(), Percentile(99.99), Entropy(), SquaredError())

_STEPS = 256
_MARKERS = "os^Dvp"


def curves(seen: AnyHistogram, *choices: Choice, measure: Measure = "kl", ax: "Axes | None" = None) -> "Axes":
    """Draw the error over every candidate threshold, and each choice as a mark on the curve.

    Parameters
    ----------
    seen
        Its histogram; on TensorRT's grid only the divergence is known.
    choices
        As for `histogram`; by default min-max, percentile, entropy and squared error.
    measure
        kl: Kullback–Leibler divergence in nats, as the entropy search has it; mse: expected mean squared error;
        sqnr: expected SQNR in dB. The latter two of symmetric INT8.
    ax
        Where to draw; a new figure by default.

    Raises
    ------
    UsageError
        For another measure, or one that this grid does not know.
    """
    if measure not in MEASURES:
        raise UsageError(f"The measures are {', '.join(MEASURES)}, not «{measure}».")
    wanted = choices or (() if isinstance(seen, TensorRTHistogram) else METHODS)
    return draw_curve(canvas(ax), seen, curve_of(seen, measure), wanted, measure)


def draw_curve(
    axes: "Axes", seen: AnyHistogram, curve: tuple[F64, F64], choices: tuple[Choice, ...], measure: Measure
) -> "Axes":
    """Draw a curve that is computed already; see `curves`."""
    thresholds, errors = curve
    if not thresholds.size:
        return say(axes, "The tensor has no value but zero: there is no threshold to choose.")
    known = np.isfinite(errors)
    axes.plot(thresholds, np.where(known, errors, np.nan), color=BLUE, linewidth=1.4)
    # A candidate that ends in an empty bin has an infinite divergence.
    axes.plot(thresholds[known], errors[known], color=BLUE, linewidth=0.8, linestyle=":", label="_across")
    for i, choice in enumerate(choices):
        found = Threshold.of(seen, choice)
        height = _height(found.amax, thresholds[known], errors[known])
        axes.plot(
            [found.amax], [height], linestyle="", marker=_MARKERS[i % len(_MARKERS)], markersize=7,
            markeredgecolor="white", color=LINES[i % len(LINES)][0], label=plain(f"{found.name}: ±{found.amax:.4g}", 60),
        )  # fmt: skip
    if measure != "sqnr":
        axes.set_yscale("log" if (errors[known] > 0).all() and known.any() else "linear")
    axes.set_xlim(0, 1.04 * max(seen.amax, float(thresholds[-1])))
    axes.set_xlabel("threshold, in the tensor's unit")
    axes.set_ylabel(MEASURES[measure])
    if choices:
        axes.legend(fontsize="x-small")
    return axes


def curve_of(seen: AnyHistogram, measure: Measure) -> tuple[F64, F64]:
    """Return candidate thresholds, rising, in the tensor's unit, and the measure at each; empty where all is zero."""
    nothing = np.zeros(0), np.zeros(0)
    if isinstance(seen, TensorRTHistogram):
        if measure != "kl":
            raise UsageError("On TensorRT's grid only the divergence is known: collect without TensorRTGrid.")
        if not (seen.width > 0 and seen.counts.any()):
            return nothing
        return _finite(divergence_curve(seen.counts, seen.width, dialect="tensorrt"))
    if not seen.counts.any():
        return nothing
    if measure == "kl":
        return _finite(Entropy().curve(seen))
    if measure == "mse":
        thresholds, sums = squared_errors(seen)
        kept = np.append(np.diff(thresholds) > 0, True) & (thresholds > 0)
        return thresholds[kept], sums[kept] / seen.total
    at = candidates(seen)
    return at, np.array([sqnr_at(seen, float(threshold)) for threshold in at])


def candidates(seen: Histogram, steps: int = _STEPS) -> F64:
    """Return so many thresholds, rising, evenly up to the largest magnitude; empty where every value is zero."""
    top = min(seen.amax, 127 * LARGEST_SCALE)
    return np.linspace(top / steps, top, steps) if seen.counts.any() else np.zeros(0)


def sqnr_at(seen: Histogram, threshold: float) -> float:
    """Return the SQNR, dB, that symmetric INT8 with this threshold is expected to have."""
    return expected_sqnr_db(seen, Symmetric().params(Range(-threshold, threshold)))


def _height(threshold: float, thresholds: F64, errors: F64) -> float:
    """Return where a mark lies on the drawn line, which is straight on a logarithmic axis where all errors are > 0."""
    if not errors.size:
        return float("nan")
    if (errors > 0).all():
        return float(np.exp(np.interp(threshold, thresholds, np.log(errors))))
    return float(np.interp(threshold, thresholds, errors))


def _finite(found: DivergenceCurve) -> tuple[F64, F64]:
    return found.thresholds, found.divergences
