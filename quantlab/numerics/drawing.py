"""Draws a histogram with thresholds; imports matplotlib only when called."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from quantlab.numerics.histogram import Histogram


def plot(histogram: "Histogram", *methods: Any, ax: "Axes | None" = None) -> "Axes":
    """Draw the density of |x| on a log scale, and each method's threshold as a line.

    Parameters
    ----------
    methods
        Histogram → Range functions; the legend shows their repr.
    ax
        Where to draw; a new figure by default.
    """
    from matplotlib import pyplot as plt

    axes = ax if ax is not None else plt.subplots(figsize=(7, 3.2), layout="constrained")[1]
    edges = histogram.edges()
    density = histogram.magnitudes()[1:] / np.diff(edges[1:])
    if density.any():
        axes.stairs(density, edges[1:], fill=True, alpha=0.5, color="tab:blue")
        axes.set_yscale("log")
        axes.set_xlim(0, histogram.amax * 1.05)
    for i, method in enumerate(methods):
        axes.axvline(method(histogram).amax, color=f"C{i + 1}", label=f"{method!r}: {method(histogram).amax:.4g}")
    if methods:
        axes.legend(fontsize="small")
    axes.set_xlabel("|x|, in the tensor's unit")
    axes.set_ylabel("values per unit")
    return axes
