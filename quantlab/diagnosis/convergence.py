"""How a tensor's threshold settles with the number of samples, and how many are enough."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import reduce
from math import ceil, exp, log, sqrt
from typing import TYPE_CHECKING

import numpy as np

from quantlab.calibration.ranges import Range
from quantlab.calibration.schemes import SMALLEST_SCALE
from quantlab.diagnosis.survey import Part, Survey
from quantlab.numerics.arrays import I64
from quantlab.numerics.histogram import Histogram
from quantlab.numerics.markup import card, table

if TYPE_CHECKING:
    import pandas as pd

SHARE = 0.95
"""Share of the tensors that has to be within the tolerance."""

_LEAST_PARTS = 4
_SUBSETS = 24
_Z = 1.959963984540054  # of a two-sided 95 % interval
_SEED = 0
_MOST = 100  # an expectation beyond so many times the data says nothing


@dataclass(frozen=True, slots=True)
class Convergence:
    """The spread of thresholds over sets of n samples, for one method.

    Attributes
    ----------
    method
        Its repr.
    samples
        All that were seen.
    tolerance
        The relative half-width that is small enough.
    sizes
        Numbers of samples, rising, the last one `samples`; empty where there are too few to tell.
    widths
        By tensor, the half-width of the threshold's 95 % interval at each size, relative to the threshold.
    """

    method: str
    samples: int
    tolerance: float
    sizes: tuple[int, ...]
    widths: dict[str, tuple[float, ...]] = field(hash=False)

    def curve(self, share: float = SHARE) -> tuple[float, ...]:
        """Return, at each size, the half-width that this share (0 … 1) of the tensors stays within."""
        if not self.widths:
            return ()
        table = np.array(list(self.widths.values()))
        return tuple(float(width) for width in np.quantile(table, share, axis=0, method="inverted_cdf"))

    @property
    def enough(self) -> int | None:
        """The smallest number of samples for which 95 % of the tensors are within the tolerance; None if all are too few.

        Between two sizes it is interpolated on logarithmic scales; the smallest size stands for anything below it.
        """
        return _crossing(self.sizes, self.curve(), self.tolerance)

    @property
    def enough_for_all(self) -> int | None:
        """The same for every tensor."""
        return _crossing(self.sizes, self.curve(1.0), self.tolerance)

    @property
    def expected(self) -> int | None:
        """Where the data are too few: how many it would take, if the spread goes on falling as 1/√n; None beyond 100 times."""
        if not self.sizes or self.enough is not None:
            return None
        factor = (self.curve()[-1] / self.tolerance) ** 2
        return ceil(self.samples * factor) if factor <= _MOST else None

    @property
    def sentence(self) -> str:
        """The finding in words."""
        within = f"95 % of the thresholds within {100 * self.tolerance:g} %"
        if not self.sizes:
            return f"{self.samples} samples are too few to tell how the thresholds of {self.method} settle."
        if self.enough is not None:
            least = " or fewer" if self.enough == self.sizes[0] else ""
            every = f", {self.enough_for_all} for all" if self.enough_for_all is not None else ""
            return f"{self.enough}{least} of {self.samples} samples are enough for {self.method}: {within}{every}."
        more = f"; some {_rounded(self.expected)} would be" if self.expected else ""
        width = f"95 % of the thresholds are within {100 * self.curve()[-1]:.2g} % only"
        return f"{self.samples} samples are not enough for {self.method}: {width}{more}."

    def frame(self) -> "pd.DataFrame":
        """Return one line a tensor and size: the half-width of the threshold's 95 % interval, a share of the threshold."""
        import pandas as pd

        lines = [(name, n, w) for name, widths in self.widths.items() for n, w in zip(self.sizes, widths, strict=True)]
        return pd.DataFrame(lines, columns=pd.Index(["tensor", "samples", "half_width"]))

    def _repr_html_(self) -> str:
        rows = ((name, *(100 * width for width in widths)) for name, widths in self.widths.items())
        columns = ("tensor", *(f"± % of {size:,} samples" for size in self.sizes))
        return card("Convergence", {"finding": self.sentence}, more=table(columns, rows) if self.sizes else "")


def convergence(survey: Survey, method: Callable[[Histogram], Range], tolerance: float = 0.02) -> Convergence:
    """Return how a method's thresholds settle.

    The delete-d jackknife over disjoint parts (Shao and Wu, «A general theory for jackknife variance estimation»,
    Annals of Statistics 17, 1989, 1176-1197): a threshold from r of k parts, drawn without replacement, varies about
    that from all by (1 − r/k) times the variance of a threshold from as many fresh samples. For all samples it is taken
    from halves, as consistent for maxima and quantiles as for means, and falls from there as 1/√n. Merging parts is
    exact, so nothing runs again. The draws are of a fixed seed, and parts follow from the samples' content.
    """
    parts = survey.parts
    whole = {name: found for name, found in survey.whole.items() if found.total}
    if len(parts) < _LEAST_PARTS:
        return Convergence(repr(method), len(survey.samples), tolerance, (), {})
    steps = [1 << i for i in range(len(parts).bit_length()) if 1 << i <= len(parts) // 2]
    if steps[-1] != len(parts) // 2:
        steps.append(len(parts) // 2)
    final = {name: method(found).amax for name, found in whole.items()}
    squares = [_mean_squares(parts, step, method, final) for step in steps]
    widths = {}
    for i, name in enumerate(final):
        spread = [_Z * sqrt(s[i] / (1 - r / len(parts))) for r, s in zip(steps, squares, strict=True)]
        widths[name] = (*spread, spread[-1] * sqrt(steps[-1] / len(parts)))
    sizes = (*(round(r * len(survey.samples) / len(parts)) for r in steps), len(survey.samples))
    return Convergence(repr(method), len(survey.samples), tolerance, sizes, widths)


def subsets(parts: int, size: int, count: int = _SUBSETS) -> list[I64]:
    """Return at least `count` subsets of `size` of so many parts, disjoint as far as they go, always the same ones."""
    draw = np.random.default_rng(_SEED)
    found: list[I64] = []
    while len(found) < count:
        order = draw.permutation(parts)
        found += [np.sort(order[start : start + size]) for start in range(0, parts - size + 1, size)]
    return found


def together(parts: Sequence[Part], chosen: I64, tensor: str) -> Histogram:
    """Return the histogram of a tensor over some parts."""
    return reduce(Histogram.merge, (parts[i].histograms[tensor] for i in chosen))


def _mean_squares(
    parts: Sequence[Part], size: int, method: Callable[[Histogram], Range], final: dict[str, float]
) -> list[float]:
    """Return, for each tensor, the mean squared relative distance of the subsets' thresholds from the final one."""
    drawn = subsets(len(parts), size)
    found = []
    for tensor, threshold in final.items():
        gaps = [_gap(method, together(parts, chosen, tensor), threshold) for chosen in drawn]
        found.append(float(np.mean(np.square(gaps))))
    return found


def _gap(method: Callable[[Histogram], Range], histogram: Histogram, threshold: float) -> float:
    """Return the relative distance, 0 of thresholds too small for a scale; without a finite value a threshold is 0."""
    if threshold <= 127 * SMALLEST_SCALE:
        return 0.0
    return (method(histogram).amax if histogram.total else 0.0) / threshold - 1


def _crossing(sizes: tuple[int, ...], curve: Sequence[float], tolerance: float) -> int | None:
    below = [width <= tolerance for width in curve]
    if not below or not below[-1]:
        return None
    last = len(below) - 1
    while last > 0 and below[last - 1]:
        last -= 1
    if last == 0:
        return sizes[0]
    one, two = curve[last - 1], max(curve[last], 1e-12)
    share = (log(one) - log(tolerance)) / (log(one) - log(two))
    return ceil(exp(log(sizes[last - 1]) + share * (log(sizes[last]) - log(sizes[last - 1]))))


def _rounded(count: int | None) -> str:
    """Return a number to two digits: an expectation is no measurement."""
    return f"{int(float(f'{count or 0:.2g}')):,}"
