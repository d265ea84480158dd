"""Drawings of quantlab's values on matplotlib: each returns its Axes and takes `ax=`; `plot` chooses by type."""

from quantlab.plots.by_type import plot
from quantlab.plots.candidates import curves
from quantlab.plots.effect import Effect
from quantlab.plots.engines import audit, lineup
from quantlab.plots.explorer import Explorer, explore
from quantlab.plots.flipped import flips, margins, sample_sqnr
from quantlab.plots.network import three_way, waterfall
from quantlab.plots.pairs import scatter
from quantlab.plots.settling import convergence
from quantlab.plots.tables import channel_scales, ranges, scales
from quantlab.plots.thresholds import histogram
from quantlab.plots.training import training
from quantlab.plots.trends import trend, trends
from quantlab.plots.tuned import front, ladder, sensitivity
from quantlab.plots.weight_ranges import channels

__all__ = [
    "Effect", "Explorer", "audit", "channel_scales", "channels", "convergence", "curves", "explore", "flips", "front", "histogram", "ladder", "lineup",
    "margins", "plot", "ranges", "sample_sqnr", "scales", "scatter", "sensitivity", "three_way", "training", "trend", "trends",
    "waterfall",
]  # fmt: skip
